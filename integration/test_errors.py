"""Whatever is wrong with a request or behind the gateway, the answer is a clear one in OpenAI's shape."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from .conftest import REQUEST_BYTES
from .harness import BACKENDS, BEDROCK, CHAT, MODELS, PROMPT, Answer, Gate, say

USER = {"role": "user", "content": PROMPT}

JSON = {"content-type": "application/json"}


def refused(answer: Answer, status: int, code: str | None, param: str | None = None) -> str:
    """Checks a refusal and gives its message."""
    error = answer.error
    assert (answer.status, error["code"], error["param"]) == (status, code, param), error
    assert answer.headers["x-request-id"]
    assert int(answer.headers["content-length"]) == len(answer.body)
    return error["message"]


# What clients send that cannot be served


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"nonsense", b'{"model": "x",}', b'{"model": NaN}', b'{"a": 1} {"b": 2}', b"\x00",
     b'{"messages": ' + b"[" * 5000],
    ids=["open", "empty", "word", "comma", "nan", "two", "zero", "deep"],
)  # fmt: skip
def test_what_is_no_json_is_refused(gate: Gate, body: bytes) -> None:
    message = refused(gate.post(body), 400, "invalid_json")
    assert "body" in message
    gate.nothing_was_sent()


def test_what_is_not_utf_8_is_refused_with_its_place(gate: Gate) -> None:
    body = json.dumps({"model": BEDROCK, "messages": [{"role": "user", "content": "@"}]}).encode()
    message = refused(gate.post(body.replace(b"@", b"\xff")), 400, "invalid_json")
    assert f"byte {body.index(b'@')}" in message
    latin = json.dumps({"model": BEDROCK, "messages": [USER]}).encode("utf-16")
    refused(gate.post(latin), 400, "invalid_json")
    gate.nothing_was_sent()


def test_a_request_without_a_body_is_refused_at_once(gate: Gate) -> None:
    assert "no body" in refused(gate.call("POST", CHAT), 400, "invalid_json")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_told_the_right_one(gate: Gate, method: str) -> None:
    answer = gate.call(method, CHAT, b"{}" if method != "GET" else None)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


#: Body without the model, the code and the path of what is wrong.
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("no-messages", {}, "missing_required_parameter", "messages"),
    ("null-messages", {"messages": None}, "missing_required_parameter", "messages"),
    ("no-message", {"messages": []}, "invalid_value", "messages"),
    ("messages-object", {"messages": {}}, "invalid_type", "messages"),
    ("message-string", {"messages": [USER, "hello"]}, "invalid_type", "messages[1]"),
    ("no-role", {"messages": [{"content": "x"}]}, "missing_required_parameter", "messages[0].role"),
    ("strange-role", {"messages": [{"role": "robot", "content": "x"}]}, "invalid_value", "messages[0].role"),
    ("number-role", {"messages": [{"role": 1, "content": "x"}]}, "invalid_type", "messages[0].role"),
    ("blank", {"messages": [{"role": "user", "content": " \n"}]}, "invalid_value", "messages[0].content"),
    ("number-content", {"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages[0].content"),
    ("only-system", {"messages": [{"role": "system", "content": "x"}]}, "invalid_value", "messages"),
    ("assistant-first", {"messages": [{"role": "assistant", "content": "x"}, USER]}, "invalid_value", "messages"),
    ("part-string", {"messages": [{"role": "user", "content": ["x"]}]}, "invalid_type", "messages[0].content[0]"),
    ("part-kind", {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "unsupported_parameter",
     "messages[0].content[0].type"),
    ("part-no-text", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "missing_required_parameter",
     "messages[0].content[0].text"),
    ("image-no-url", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
     "missing_required_parameter", "messages[0].content[0].image_url.url"),
    ("image-number-url",
     {"messages": [USER, USER, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": 7}}]}]},
     "invalid_type", "messages[2].content[0].image_url.url"),
    ("image-nonsense",
     {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png"}}]}]},
     "invalid_value", "messages[0].content[0].image_url.url"),
    ("image-address",
     {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example/b"}}]}]},
     "unsupported_parameter", "messages[0].content[0].image_url.url"),
    ("audio", {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
     "missing_required_parameter", "messages[0].content[0].input_audio.data"),
    ("temperature-text", {"messages": [USER], "temperature": "hot"}, "invalid_type", "temperature"),
    ("temperature-high", {"messages": [USER], "temperature": 2.5}, "invalid_value", "temperature"),
    ("top_p-negative", {"messages": [USER], "top_p": -0.1}, "invalid_value", "top_p"),
    ("max-fraction", {"messages": [USER], "max_tokens": 1.5}, "invalid_type", "max_tokens"),
    ("max-negative", {"messages": [USER], "max_tokens": -1}, "invalid_type", "max_tokens"),
    ("stream-text", {"messages": [USER], "stream": "yes"}, "invalid_type", "stream"),
    ("stop-number", {"messages": [USER], "stop": 5}, "invalid_type", "stop"),
    ("stop-inside", {"messages": [USER], "stop": ["a", 5]}, "invalid_type", "stop[1]"),
    ("tools-object", {"messages": [USER], "tools": {}}, "invalid_type", "tools"),
    ("tool-kind", {"messages": [USER], "tools": [{"type": "custom"}]}, "unsupported_parameter", "tools[0].type"),
    ("tool-no-name", {"messages": [USER], "tools": [{"type": "function", "function": {}}]},
     "missing_required_parameter", "tools[0].function.name"),
    ("choice-strange", {"messages": [USER], "tool_choice": "maybe"}, "invalid_value", "tool_choice"),
    ("format-strange", {"messages": [USER], "response_format": {"type": "xml"}}, "invalid_value",
     "response_format.type"),
    ("format-no-schema", {"messages": [USER], "response_format": {"type": "json_schema", "json_schema": {}}},
     "missing_required_parameter", "response_format.json_schema.schema"),
    ("result-alone", {"messages": [USER, {"role": "tool", "tool_call_id": "c", "content": "x"}]}, "invalid_value",
     "messages[1].tool_call_id"),
    ("call-unanswered",
     {"messages": [USER, {"role": "assistant", "tool_calls": [
         {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, USER]},
     "invalid_value", "messages[1].tool_calls[0]"),
    ("call-arguments",
     {"messages": [USER, {"role": "assistant", "tool_calls": [
         {"id": "c", "type": "function", "function": {"name": "f", "arguments": "[1"}}]}]},
     "invalid_value", "messages[1].tool_calls[0].function.arguments"),
    ("n", {"messages": [USER], "n": 2, "stream": True}, "unsupported_parameter", "n"),
    ("logprobs", {"messages": [USER], "logprobs": True, "stream": True}, "unsupported_parameter", "logprobs"),
    ("logit_bias", {"messages": [USER], "logit_bias": {"1": 5}}, "unsupported_parameter", "logit_bias"),
    ("functions", {"messages": [USER], "functions": [{"name": "f"}]}, "unsupported_parameter", "functions"),
    ("function_call", {"messages": [USER], "function_call": "auto"}, "unsupported_parameter", "function_call"),
    ("audio-out", {"messages": [USER], "modalities": ["text", "audio"]}, "unsupported_parameter", "modalities"),
    ("search",
     {"messages": [USER], "web_search_options": {}, "tools": [{"type": "function", "function": {"name": "f"}}]},
     "unsupported_parameter", "web_search_options"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "param"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_what_is_wrong_is_named_by_its_path(
    gate: Gate, where: str, body: dict[str, Any], code: str, param: str
) -> None:
    answer = gate.post({"model": MODELS[where], **body})
    message = refused(answer, 400, code, param)
    assert message.startswith(f"{param}: ") and len(message) > len(param) + 10
    gate.nothing_was_sent()


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b"17"])
def test_json_that_is_no_object_is_refused(gate: Gate, body: bytes) -> None:
    answer = gate.post(body)
    assert answer.status == 400 and answer.error["code"] == "invalid_type"


def test_a_missing_model_is_asked_for(gate: Gate) -> None:
    refused(gate.post({"messages": [USER]}), 400, "missing_required_parameter", "model")
    refused(gate.post({"model": 4, "messages": [USER]}), 400, "invalid_type", "model")


@pytest.mark.parametrize(
    "model", ["gpt-4o", "", "bedrock/", "bedrock", "Bedrock/x", "x" * 5000, "claude-sonnet\r\nx: y"]
)
def test_an_unknown_model_is_named_as_such(gate: Gate, model: str) -> None:
    refused(gate.post({"model": model, "messages": [USER]}), 404, "model_not_found", "model")
    gate.nothing_was_sent()


def test_the_sdk_raises_what_applications_expect(gate: Gate, where: str) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        gate.completions.create(model="gpt-4o", messages=say())
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        gate.completions.create(model=MODELS[where], messages=say(), logit_bias={"1": 5})
    assert (wrong.value.code, wrong.value.param, wrong.value.type) == (
        "unsupported_parameter", "logit_bias", "invalid_request_error",
    )  # fmt: skip
    assert wrong.value.request_id


def test_a_body_over_the_limit_is_refused_when_it_says_so(gate: Gate) -> None:
    # Nothing of it has to be sent for that.
    with gate.socket() as client:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {REQUEST_BYTES + 1}\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")
    with pytest.raises(openai.APIStatusError) as large:
        gate.completions.create(model=BEDROCK, messages=say(text="x" * REQUEST_BYTES))
    assert (large.value.status_code, large.value.code) == (413, "request_too_large")
    assert str(REQUEST_BYTES) in str(large.value) and "limits.request_bytes" in str(large.value)
    gate.nothing_was_sent()


def test_a_body_over_the_limit_is_refused_when_it_does_not_say_so(gate: Gate) -> None:
    answer = post_chunked(gate, (b" " * 65536 for _ in range(REQUEST_BYTES // 65536 + 2)))
    refused(answer, 413, "request_too_large")
    gate.nothing_was_sent()


def test_a_body_at_the_limit_is_taken(gate: Gate) -> None:
    body = json.dumps({"model": BEDROCK, "messages": say()}).encode()
    assert gate.post(body + b" " * (REQUEST_BYTES - len(body))).status == 200


def post_chunked(gate: Gate, chunks: Iterator[bytes]) -> Answer:
    """Sends chunks until all are sent or the gateway has had enough; reads the answer either way."""
    with gate.socket() as client:
        client.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        try:
            for chunk in chunks:
                client.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            client.sendall(b"0\r\n\r\n")
        except OSError:
            pass
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers["content-length"]):
            body += client.recv(65536)
    return Answer(int(status.split()[1]), headers, body)


def test_a_compressed_body_is_refused(gate: Gate) -> None:
    body = gzip.compress(json.dumps({"model": BEDROCK, "messages": [USER]}).encode())
    refused(gate.post(body, {"content-encoding": "gzip"}), 415, "unsupported_encoding")
    plain = {"model": BEDROCK, "messages": [USER]}
    assert gate.post(plain, {"content-encoding": "identity"}).status == 200


def test_what_is_no_route_of_ours_is_a_404_in_json(gate: Gate) -> None:
    for method, path in [("POST", "/v1/nothing"), ("GET", "/"), ("POST", CHAT + "/"), ("POST", "/V1/chat/completions")]:
        answer = gate.call(method, path, b"{}" if method == "POST" else None)
        assert (answer.status, answer.error["code"]) == (404, "unknown_url"), path


def test_a_browsers_question_is_left_to_envoys_cors_filter(gate: Gate) -> None:
    answer = gate.call("OPTIONS", CHAT, None, {"origin": "https://a.example", "access-control-request-method": "POST"})
    # No CORS filter is configured here, so Envoy's own route answers.
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")


# What clouds answer

#: Word of the stand-in, status, code, whether the cloud's own words are for clients; per cloud.
ANSWERS = [
    ("bedrock", "throttle", 429, "rate_limit_exceeded", True), ("vertex", "throttle", 429, "rate_limit_exceeded", True),
    ("bedrock", "quota", 429, "rate_limit_exceeded", True), ("vertex", "quota", 429, "rate_limit_exceeded", True),
    ("bedrock", "invalid", 400, None, True), ("vertex", "invalid", 400, None, True),
    ("bedrock", "denied", 403, "upstream_denied", False), ("vertex", "denied", 403, "upstream_denied", False),
    ("bedrock", "expired", 503, "credentials_unavailable", False),
    ("bedrock", "not_found", 404, "model_not_found", True), ("vertex", "not_found", 404, "model_not_found", True),
    ("bedrock", "timeout", 504, "upstream_timeout", True), ("vertex", "timeout", 504, "upstream_timeout", False),
    ("bedrock", "internal", 502, "upstream_error", True), ("vertex", "internal", 502, "upstream_error", False),
    ("bedrock", "unavailable", 503, "upstream_overloaded", True),
    ("vertex", "unavailable", 503, "upstream_overloaded", False),
    ("bedrock", "not_ready", 503, "upstream_overloaded", True), ("bedrock", "model", 502, "upstream_error", True),
    ("bedrock", "InvalidSignatureException", 403, "upstream_denied", False),
    ("bedrock", "UnrecognizedClientException", 403, "upstream_denied", False),
    ("vertex", "FAILED_PRECONDITION", 400, None, True), ("vertex", "ABORTED", 400, None, True),
    ("vertex", "CANCELLED", 502, "upstream_error", False), ("vertex", "DATA_LOSS", 502, "upstream_error", False),
    ("vertex", "UNIMPLEMENTED", 502, "upstream_error", False),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("where", "kind", "status", "code", "quoted"), ANSWERS)
def test_what_a_cloud_refuses_is_mapped(
    gate: Gate, where: str, kind: str, status: int, code: str | None, quoted: bool, stream: bool
) -> None:
    script = f'error type={kind} message="reason {kind} as the cloud tells"'
    answer = gate.post({"model": MODELS[where], "messages": say(script), "stream": stream})
    message = refused(answer, status, code)
    assert answer.headers["x-fairlead-backend"] == BACKENDS[where]
    assert (f"reason {kind} as the cloud tells" in message) == quoted, message
    if where == "bedrock":
        assert "(request id " in message


def test_a_throttled_client_is_told_how_long_to_wait(gate: Gate, where: str) -> None:
    with pytest.raises(openai.RateLimitError) as throttled:
        gate.completions.create(model=MODELS[where], messages=say("error type=throttle retry_after=17"))
    assert throttled.value.response.headers["retry-after"] == "17"
    assert (throttled.value.type, throttled.value.code) == ("rate_limit_error", "rate_limit_exceeded")


def test_the_sdk_tries_again_after_what_passes_by_itself(gate: Gate, where: str) -> None:
    patient = gate.client.with_options(max_retries=2)
    gate.force("error type=throttle retry_after=0", where)
    gate.force("error type=unavailable retry_after=0", where)
    reply = patient.chat.completions.create(model=MODELS[where], messages=say("text say=at-last"))
    assert reply.choices[0].message.content == "at-last"
    assert len(gate.requests(where)) == 3


def test_the_sdk_does_not_try_again_what_stays_wrong(gate: Gate, where: str) -> None:
    patient = gate.client.with_options(max_retries=2)
    with pytest.raises(openai.BadRequestError):
        patient.chat.completions.create(model=MODELS[where], messages=say("error type=invalid"))
    assert len(gate.requests(where)) == 1


def test_a_conversation_too_long_has_a_code_of_its_own(gate: Gate, where: str) -> None:
    reason = {
        "bedrock": "Input is too long for requested model.",
        "vertex": "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
    }[where]
    with pytest.raises(openai.BadRequestError) as long:
        gate.completions.create(model=MODELS[where], messages=say(f'error type=invalid message="{reason}"'))
    assert long.value.code == "context_length_exceeded"


def test_googles_errors_may_come_in_an_array(gate: Gate) -> None:
    answer = gate.post({"model": MODELS["vertex"], "messages": say("error type=throttle array=1"), "stream": True})
    refused(answer, 429, "rate_limit_exceeded")


#: What no cloud writes, and what the client gets instead.
RAW = [
    ("html", 502, "upstream_error"), ("html status=503", 503, "upstream_overloaded"),
    ("html status=504", 504, "upstream_timeout"), ("empty", 502, "upstream_error"),
    ("empty status=200", 502, "upstream_invalid_response"), ("text", 502, "upstream_invalid_response"),
    ("truncated", 502, "upstream_invalid_response"), ("wrong", 502, "upstream_invalid_response"),
    ("html status=200", 502, "upstream_invalid_response"), ("text status=429", 429, "rate_limit_exceeded"),
    ("wrong status=418", 400, None), ("empty status=204", 502, "upstream_invalid_response"),
    ("html status=302", 502, None),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("kind", "status", "code"), RAW, ids=[one[0].replace(" status=", "-") for one in RAW])
def test_what_no_cloud_would_answer_is_an_error_too(
    gate: Gate, where: str, kind: str, status: int, code: str | None, stream: bool
) -> None:
    answer = gate.post({"model": MODELS[where], "messages": say(f"raw kind={kind}"), "stream": stream})
    error = answer.error
    assert answer.status == status
    if code is not None:
        assert error["code"] == code
    assert "<html>" not in error["message"] and "upstream says" not in error["message"]


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_connection_lost_before_the_answer_is_a_503(gate: Gate, where: str, how: str) -> None:
    answer = gate.post({"model": MODELS[where], "messages": say(f"reset how={how}")})
    refused(answer, 503, "upstream_unreachable")
    with pytest.raises(openai.InternalServerError):
        gate.completions.create(model=MODELS[where], messages=say(f"reset how={how}"), stream=True)


@pytest.mark.parametrize("fault", ["reset", "fin", "cut"])
def test_a_whole_reply_that_stops_half_way_is_no_reply(gate: Gate, where: str, fault: str) -> None:
    with pytest.raises(openai.APIError) as broken:
        gate.completions.create(model=MODELS[where], messages=say(f"text size=3000 fault={fault}"))
    if fault == "cut":
        assert isinstance(broken.value, openai.InternalServerError) and broken.value.status_code == 502


def test_a_cloud_that_says_nothing_is_a_504_in_time(gate: Gate, where: str) -> None:
    begin = time.monotonic()
    answer = gate.post({"model": MODELS[where], "messages": say("hang s=30")})
    refused(answer, 504, "upstream_timeout")
    # The route's idle timeout is 1.5 s here.
    assert 1 < time.monotonic() - begin < 8


@pytest.mark.parametrize(("model", "status", "code"), [
    ("unreachable", 503, "upstream_unreachable"), ("empty", 503, "upstream_unreachable"),
    ("missing", 500, "internal_error"),
])  # fmt: skip
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_backend_that_cannot_be_reached(gate: Gate, model: str, status: int, code: str, stream: bool) -> None:
    answer = gate.post({"model": model, "messages": say(), "stream": stream})
    message = refused(answer, status, code)
    assert "127.0.0.1" not in message
    gate.nothing_was_sent()
