"""The Bedrock stand-in takes what botocore sends and refuses everything that is a little wrong."""

from __future__ import annotations

import base64
import copy
import datetime
import http.client
import json
import time
from typing import Any
from urllib.parse import quote

import boto3
import botocore.config
import botocore.exceptions
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from . import keys, sigv4
from .driver import StandIn
from .replies import seal
from .scripts import UNICODE

MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 16).decode()
HELLO = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
TOOL = {"toolSpec": {"name": "weather", "inputSchema": {"json": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}}  # fmt: skip
CLOCK = {"toolSpec": {"name": "clock", "inputSchema": {"json": {
    "type": "object", "properties": {"zone": {"enum": ["utc"]}}}}}}  # fmt: skip


def say(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"text": text}]}]} | more


def sdk(cloud: StandIn, key: keys.Key = keys.KEYS[1]) -> Any:
    """A real boto3 client; the headers that only SDKs send are let through for it."""
    cloud.config(allow_headers=["user-agent", "accept-encoding", "amz-sdk-invocation-id", "amz-sdk-request"])
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{cloud.ports['bedrock']}",
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
        config=botocore.config.Config(retries={"max_attempts": 0}, read_timeout=5),
    )


def post(
    cloud: StandIn,
    body: Any = HELLO,
    *,
    path: str = f"/model/{quote(MODEL, safe='')}/converse",
    key: keys.Key = keys.KEYS[0],
    region: str = "us-east-1",
    service: str = "bedrock",
    host: str = "bedrock-runtime.us-east-1.amazonaws.com",
    more: dict[str, str] | None = None,
    tamper: Any = None,
    late: int = 0,
) -> tuple[int, dict[str, str], bytes]:
    """Send what a gateway would send, signed by botocore; `tamper` may change the headers after signing."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = AWSRequest("POST", f"http://{host}{path}", data=raw, headers={"Content-Type": "application/json", "Host": host})
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=late)
    signer = SigV4Auth(Credentials(key.access_key_id, key.secret_access_key, key.session_token), service, region)
    request.context["timestamp"] = when.strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(request)
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    signer._inject_signature_to_request(request, signature)
    headers = {name.lower(): value for name, value in request.headers.items()} | (more or {})
    if tamper is not None:
        raw = tamper(headers, raw) or raw
    return send(cloud, path, headers, raw)


def send(cloud: StandIn, path: str, headers: dict[str, str], raw: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.ports["bedrock"], timeout=5)
    connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.putheader("content-length", str(len(raw)))
    connection.endheaders(raw)
    reply = connection.getresponse()
    answer = reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
    connection.close()
    return answer


def refused(cloud: StandIn, reply: tuple[int, dict[str, str], bytes], kind: str, about: str, error: str = "ValidationException") -> None:
    status, headers, body = reply
    assert status in (400, 403, 404), body
    assert headers["x-amzn-errortype"] == error, body
    assert about in json.loads(body)["message"]
    assert [one["kind"] for one in cloud.refusals()] == [kind]


def test_boto3_converses_with_and_without_a_session_token(cloud: StandIn) -> None:
    for key in keys.KEYS:
        reply = sdk(cloud, key).converse(modelId=MODEL, messages=HELLO["messages"], system=[{"text": "Be kind"}])
        assert reply["stopReason"] == "end_turn"
        assert "“Hello”" in reply["output"]["message"]["content"][0]["text"]
        assert reply["usage"]["inputTokens"] == 3
    assert cloud.refusals() == []
    assert cloud.counters()["bedrock.sent"] == 2


def test_boto3_reads_a_stream_with_parallel_interleaved_tools(cloud: StandIn) -> None:
    body = say("[[script: tools which=all interleaved=1 before='One moment' after=Done]]", toolConfig={"tools": [TOOL, CLOCK]})
    events = list(sdk(cloud).converse_stream(modelId=MODEL, **body)["stream"])
    texts, inputs, order = {}, {}, []
    for event in events:
        if "contentBlockDelta" in event:
            at, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
            if "toolUse" in delta:
                inputs[at] = inputs.get(at, "") + delta["toolUse"]["input"]
                order.append(at)
            else:
                texts[at] = texts.get(at, "") + delta["text"]
    assert texts == {0: "One moment", 3: "Done"}
    assert json.loads(inputs[1]) == {"city": "sample city Ä😀"} and json.loads(inputs[2]) == {"zone": "utc"}
    assert order[:4] == [1, 2, 1, 2]
    assert [next(iter(event)) for event in events[-2:]] == ["messageStop", "metadata"]
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"


def test_a_stream_cut_into_single_bytes_is_the_same_stream(cloud: StandIn) -> None:
    client = sdk(cloud)
    texts = []
    for cut in ("", "cut=1 drip=0"):
        body = say(f"[[script: text unicode=1 piece=1 {cut}]]")
        stream = client.converse_stream(modelId=MODEL, **body)["stream"]
        texts.append("".join(e["contentBlockDelta"]["delta"]["text"] for e in stream if "contentBlockDelta" in e))
    assert texts == [UNICODE, UNICODE]


def test_every_exception_of_the_stream_arrives_first_and_midway(cloud: StandIn) -> None:
    client = sdk(cloud)
    for name in ("internalServerException", "modelStreamErrorException", "validationException",
                 "throttlingException", "serviceUnavailableException"):  # fmt: skip
        for after in (0, 3):
            body = say(f"[[script: text fault=exception type={name} after={after}]]")
            seen = []
            with pytest.raises(botocore.exceptions.EventStreamError, match=name):
                for event in client.converse_stream(modelId=MODEL, **body)["stream"]:
                    seen.append(event)
            assert len(seen) == after


def test_errors_have_the_documented_status_and_shape(cloud: StandIn) -> None:
    for name, status in (("ThrottlingException", 429), ("AccessDeniedException", 403), ("ModelErrorException", 424),
                         ("ResourceNotFoundException", 404), ("ModelTimeoutException", 408), ("UNAVAILABLE", 503),
                         ("internal", 500), ("not_ready", 429), ("quota", 400)):  # fmt: skip
        got, headers, body = post(cloud, say(f"[[script: error type={name} retry_after=7]]"))
        assert got == status, name
        assert headers["retry-after"] == "7" and json.loads(body)["message"]
        assert ":http://" in headers["x-amzn-errortype"]
    assert cloud.refusals() == []


@pytest.mark.parametrize("fault", ["reset", "fin", "cut", "crc", "error", "junk", "end"])
def test_a_broken_stream_is_never_taken_for_a_whole_one(cloud: StandIn, fault: str) -> None:
    stream = sdk(cloud).converse_stream(modelId=MODEL, **say(f"[[script: text fault={fault} after=3]]"))["stream"]
    seen = []
    try:
        for event in stream:
            seen.append(next(iter(event)))
    except Exception as error:
        seen.append(type(error).__name__)
    assert "messageStop" not in seen
    assert seen[:3] == ["messageStart", "contentBlockDelta", "contentBlockDelta"]


def test_a_connection_can_die_before_the_headers(cloud: StandIn) -> None:
    with pytest.raises(ConnectionError):
        post(cloud, say("[[script: reset]]"))
    assert cloud.requests("bedrock")[-1]["outcome"] == "dropped"


def test_raw_replies_come_as_they_are(cloud: StandIn) -> None:
    assert post(cloud, say("[[script: raw kind=html]]"))[0] == 502
    assert post(cloud, say("[[script: raw kind=empty]]"))[2] == b""
    assert post(cloud, say("[[script: raw kind=empty status=200]]"))[0] == 200
    assert post(cloud, say("[[script: raw kind=text]]"))[2] == b"upstream says hello"


def test_thinking_comes_back_only_with_its_own_signature(cloud: StandIn) -> None:
    body = say("[[script: reasoning tool=1]]", toolConfig={"tools": [TOOL]})
    message = json.loads(post(cloud, body)[2])["output"]["message"]
    assert message["content"][0]["reasoningContent"]["reasoningText"]["signature"]
    call = message["content"][1]["toolUse"]
    result = {"toolUseId": call["toolUseId"], "content": [{"text": "12 °C"}]}
    body["messages"] += [message, {"role": "user", "content": [{"toolResult": result}]}]
    body["inferenceConfig"] = {"maxTokens": 2000}
    body["additionalModelRequestFields"] = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    status, _, answer = post(cloud, body)
    assert status == 200 and "weather returned 12 °C" in answer.decode()
    message["content"][0]["reasoningContent"]["reasoningText"]["text"] += "!"
    refused(cloud, post(cloud, body), "rule", "Invalid `signature`")


def test_a_forced_tool_and_a_schema_are_obeyed_without_a_script(cloud: StandIn) -> None:
    forced = say("Hi", toolConfig={"tools": [TOOL, CLOCK], "toolChoice": {"tool": {"name": "clock"}}})
    assert json.loads(post(cloud, forced)[2])["output"]["message"]["content"][0]["toolUse"]["name"] == "clock"

    def shaped(number: dict[str, Any]) -> dict[str, Any]:
        schema = {"type": "object", "properties": {"n": number}, "additionalProperties": False}
        text_format = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(schema)}}}
        return say("Hi", outputConfig={"textFormat": text_format})

    refused(cloud, post(cloud, shaped({"type": "integer", "enum": [40]})), "rule", "textFormat")
    newer = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    cloud.reset()
    refused(cloud, post(cloud, shaped({"type": "integer", "minimum": 40}), path=newer), "rule", "minimum")
    text = json.loads(post(cloud, shaped({"type": "integer", "enum": [40]}), path=newer)[2])["output"]["message"]["content"][0]["text"]
    assert json.loads(text) == {"n": 40}


def test_usage_is_what_the_script_says(cloud: StandIn) -> None:
    body = say("[[script: text in=10 out=5 cache_read=7 cache_write=3]]")
    usage = json.loads(post(cloud, body)[2])["usage"]
    assert (usage["inputTokens"], usage["outputTokens"], usage["totalTokens"]) == (10, 5, 25)
    assert (usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]) == (7, 3)


def test_a_marker_can_fail_a_given_number_of_times_and_on_one_cloud_only(cloud: StandIn) -> None:
    body = say("[[script: error type=throttle times=2]] [[script: text say=never only=vertex]]")
    assert [post(cloud, body)[0] for _ in range(3)] == [429, 429, 200]
    cloud.script("error type=internal", cloud="bedrock")
    assert [post(cloud)[0] for _ in range(2)] == [500, 200]


def test_a_script_that_does_not_exist_is_a_loud_mistake(cloud: StandIn) -> None:
    refused(cloud, post(cloud, say("[[script: txet]]")), "script", "no script called 'txet'")
    cloud.reset()
    refused(cloud, post(cloud, say("[[script: text sise=3]]")), "script", "unknown argument 'sise'")


VPC = "vpce-0fe5b17a0707d6abc-29p5708s"


def test_hosts_of_every_kind_are_known_by_their_region(cloud: StandIn) -> None:
    cloud.config(regions=["us-east-1", "us-gov-west-1", "cn-north-1"])
    for host, region in (
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        (f"{VPC}.bedrock-runtime.us-east-1.vpce.amazonaws.com", "us-east-1"),
        (f"{VPC}-us-east-1a.bedrock-runtime.us-east-1.vpce.amazonaws.com", "us-east-1"),
    ):
        assert post(cloud, host=host, region=region)[0] == 200, host
        assert post(cloud, host=host, region="eu-central-1")[0] == 403, host
    for host in (
        "bedrock-runtime.cn-north-1.amazonaws.com", "bedrock-runtime.us-east-1.amazonaws.com.cn",
        f"{VPC}.bedrock-runtime.us-east-1.amazonaws.com", "bedrock-runtime.us-east-1.vpce.amazonaws.com",
    ):  # fmt: skip
        assert post(cloud, host=host)[0] == 400, host


def test_a_bedrock_api_key_works_instead_of_a_signature(cloud: StandIn) -> None:
    path = f"/model/{quote(MODEL, safe='')}/converse"
    headers = {"host": "127.0.0.1", "content-type": "application/json", "authorization": "Bearer " + sigv4.BEARER}
    assert send(cloud, path, headers, json.dumps(HELLO).encode())[0] == 200
    (record,) = cloud.requests("bedrock")
    assert record["caller"]["source"] == "bearer" and record["caller"]["arn"] is None


def test_an_unknown_api_key_is_refused_in_the_words_of_its_check(cloud: StandIn) -> None:
    headers = {"host": "127.0.0.1", "content-type": "application/json"}
    for token, about in (("sk-of-the-client", "pre-defined prefix"), ("ABSKnobody", "API Key is valid")):
        for path in (f"/model/{quote(MODEL, safe='')}/converse", "/anthropic/v1/messages"):
            raw = json.dumps(HELLO).encode()
            status, told, body = send(cloud, path, headers | {"authorization": f"Bearer {token}"}, raw)
            assert (status, told["x-amzn-errortype"]) == (403, "AccessDeniedException")
            (message,) = json.loads(body).items()
            assert message[0] == "Message" and about in message[1]
    assert {one["kind"] for one in cloud.refusals()} == {"token"}
    cloud.config(bearer_tokens=[])
    assert send(cloud, path, headers | {"authorization": f"Bearer {sigv4.BEARER}"}, raw)[0] == 403


SIGNATURE_CASES = {
    "another body": (dict(tamper=lambda h, raw: raw.replace(b"Hello", b"HellO")), "InvalidSignatureException"),
    "another byte in the signature": (
        dict(tamper=lambda h, raw: h.update(authorization=h["authorization"][:-1] + ("1" if h["authorization"][-1] == "0" else "0"))),
        "InvalidSignatureException",
    ),
    "clock 6 min late": (dict(late=-360), "InvalidSignatureException"),
    "clock 6 min early": (dict(late=360), "InvalidSignatureException"),
    "wrong region": (dict(region="us-west-2"), "InvalidSignatureException"),
    "unknown region": (dict(region="mars-1", host="127.0.0.1"), "InvalidSignatureException"),
    "wrong service": (dict(service="bedrock-runtime"), "InvalidSignatureException"),
    "unknown key": (dict(key=keys.Key("AKIDNOBODY", "x")), "UnrecognizedClientException"),
    "wrong secret": (dict(key=keys.Key(keys.KEYS[0].access_key_id, "x")), "InvalidSignatureException"),
    "session token forgotten": (
        dict(key=keys.Key(keys.KEYS[1].access_key_id, keys.KEYS[1].secret_access_key)),
        "UnrecognizedClientException",
    ),
    "session token of nobody": (
        dict(key=keys.Key(keys.KEYS[0].access_key_id, keys.KEYS[0].secret_access_key, "token")),
        "UnrecognizedClientException",
    ),
    "no authorization": (dict(tamper=lambda h, raw: h.pop("authorization") and None), "MissingAuthenticationTokenException"),
    "two spaces in authorization": (
        dict(tamper=lambda h, raw: h.update(authorization=h["authorization"].replace(", ", ",  "))),
        "IncompleteSignatureException",
    ),
    "unsigned x-amz header": (
        dict(tamper=lambda h, raw: h.update({"x-amz-content-sha256": sigv4.hashlib.sha256(raw).hexdigest()})),
        "InvalidSignatureException",
    ),
    "signed header missing": (
        dict(tamper=lambda h, raw: h.update({"authorization": h["authorization"].replace("=content-type", "=accept;content-type")})),
        "InvalidSignatureException",
    ),
    "signed headers unsorted": (
        dict(tamper=lambda h, raw: h.update({"authorization": h["authorization"].replace("content-type;host", "host;content-type")})),
        "InvalidSignatureException",
    ),
    "host not signed": (
        dict(tamper=lambda h, raw: h.update({"authorization": h["authorization"].replace(";host", "")})),
        "InvalidSignatureException",
    ),
    "date not signed": (
        dict(tamper=lambda h, raw: h.update({"authorization": h["authorization"].replace(";x-amz-date", "")})),
        "InvalidSignatureException",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SIGNATURE_CASES)
def test_a_signature_that_is_a_little_wrong_is_refused(cloud: StandIn, case: str) -> None:
    how, error = SIGNATURE_CASES[case]
    status, headers, body = post(cloud, **how)
    assert (status, headers["x-amzn-errortype"]) == (403, error), body
    assert [one["kind"] for one in cloud.refusals()] == ["signature"]


@pytest.mark.parametrize(
    "path",
    [
        "/model/us.anthropic.claude-sonnet-4-20250514-v1:0/converse",
        "/model/us.anthropic.claude-sonnet-4-20250514-v1%253A0/converse",
        "/model/us.anthropic.claude-sonnet-4-20250514-v1%3a0/converse",
        "/model/a/b/converse",
        "/model//converse",
        "/model/x.y/converse?a=b",
        "/model/x.y/converse/",
        "/v1/model/x.y/converse",
    ],
)
def test_the_model_is_one_segment_encoded_once(cloud: StandIn, path: str) -> None:
    assert post(cloud, path=path)[0] in (400, 404)
    assert len(cloud.refusals()) == 1


def test_an_arn_is_a_model_too(cloud: StandIn) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    assert post(cloud, path=f"/model/{quote(arn, safe='')}/converse")[0] == 200


@pytest.mark.parametrize(
    "name",
    ["x-api-key", "api-key", "cookie", "x-goog-user-project", "x-fairlead-team", "x-envoy-attempt-count", "x-request-id",
     "x-forwarded-for", "x-forwarded-proto", "openai-organization", "anthropic-version", "accept-encoding", "te"],
)  # fmt: skip
def test_a_header_that_must_not_leak_is_named(cloud: StandIn, name: str) -> None:
    refused(cloud, post(cloud, more={name: "value"}), "headers", name)


def test_only_the_gateways_own_user_agent_may_arrive(cloud: StandIn) -> None:
    assert post(cloud, more={"user-agent": "fairlead/0.1.0"})[0] == 200
    refused(cloud, post(cloud, more={"user-agent": "OpenAI/Python 2.8.0"}), "headers", "user-agent")


def test_json_must_be_strict(cloud: StandIn) -> None:
    for raw in (b'{"messages":[],"messages":[]}', b'{"a":NaN}', b"\xef\xbb\xbf{}", b"{", b'{"a":"\\ud800"}', b'{"a":"\xff"}', b""):
        cloud.reset()
        refused(cloud, post(cloud, raw), "json", "")


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def use(id: str, input: Any = None) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": id, "name": "weather", "input": {} if input is None else input}}


def result(id: str, **more: Any) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": id, "content": [{"text": "ok"}]} | more}


T = {"text": "Hello"}
TOOLS = {"tools": [TOOL]}
SHAPE_CASES = {
    "unknown top member": say("x", foo=1),
    "unknown deep member": say("x", inferenceConfig={"max_tokens": 3}),
    "whole number given as float": say("x", inferenceConfig={"maxTokens": 3.0}),
    "maxTokens 0": say("x", inferenceConfig={"maxTokens": 0}),
    "temperature 1.5": say("x", inferenceConfig={"temperature": 1.5}),
    "topP as text": say("x", inferenceConfig={"topP": "1"}),
    "null": say("x", system=None),
    "role of another house": {"messages": [{"role": "tool", "content": [T]}]},
    "two members in a union": {"messages": [user({"text": "a", "cachePoint": {"type": "default"}})]},
    "no member in a union": {"messages": [user({})]},
    "required member missing": {"messages": [{"role": "user"}]},
    "tool name with a dot": say("x", toolConfig={"tools": [{"toolSpec": {"name": "a.b", "inputSchema": {"json": {"type": "object"}}}}]}),
    "tool name of 65 letters": say("x", toolConfig={"tools": [{"toolSpec": {"name": "a" * 65, "inputSchema": {"json": {"type": "object"}}}}]}),
    "no tools": say("x", toolConfig={"tools": []}),
    "empty description": say("x", toolConfig={"tools": [{"toolSpec": {"name": "a", "description": "", "inputSchema": {"json": {"type": "object"}}}}]}),
    "base64 with a line break": {"messages": [user(T, {"image": {"format": "png", "source": {"bytes": PNG[:8] + "\n" + PNG[8:]}}})]},
    "base64 without padding": {"messages": [user(T, {"image": {"format": "png", "source": {"bytes": "AA"}}})]},
    "empty image": {"messages": [user(T, {"image": {"format": "png", "source": {"bytes": ""}}})]},
    "image/png as a format": {"messages": [user(T, {"image": {"format": "image/png", "source": {"bytes": PNG}}})]},
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPE_CASES)
def test_a_body_outside_the_service_model_is_refused(cloud: StandIn, case: str) -> None:
    refused(cloud, post(cloud, SHAPE_CASES[case]), "shape", "")


CALLED = [user(T), assistant(use("a"), use("b")), user(result("a"), result("b"))]
RULE_CASES = {
    "no messages": {"messages": []},
    "assistant first": {"messages": [assistant(T)]},
    "two users": {"messages": [user(T), user(T)]},
    "system role": {"messages": [{"role": "system", "content": [T]}]},
    "empty content": {"messages": [user()]},
    "blank text": {"messages": [user({"text": " \n"})]},
    "blank system": say("x", system=[{"text": " "}]),
    "empty system": say("x", system=[]),
    "call unanswered at the end": {"messages": CALLED[:2], "toolConfig": TOOLS},
    "call half answered": {"messages": CALLED[:2] + [user(result("a"))], "toolConfig": TOOLS},
    "call answered by text": {"messages": CALLED[:2] + [user(T)], "toolConfig": TOOLS},
    "stray result": {"messages": [user(result("z"))], "toolConfig": TOOLS},
    "result twice": {"messages": CALLED[:2] + [user(result("a"), result("b"), result("b"))], "toolConfig": TOOLS},
    "result after text": {"messages": CALLED[:2] + [user(T, result("a"), result("b"))], "toolConfig": TOOLS},
    "ids not unique": {"messages": CALLED + [assistant(use("a")), user(result("a"))], "toolConfig": TOOLS},
    "no toolConfig": {"messages": CALLED},
    "failed result without content": {"messages": CALLED[:2] + [user(result("a", content=[], status="error"), result("b"))], "toolConfig": TOOLS},
    "blank result": {"messages": CALLED[:2] + [user(result("a", content=[{"text": ""}]), result("b"))], "toolConfig": TOOLS},
    "json result that is no object": {"messages": CALLED[:2] + [user(result("a", content=[{"json": [1]}]), result("b"))], "toolConfig": TOOLS},
    "tool input that is text": {"messages": [user(T), assistant(use("a", "{}")), user(result("a"))], "toolConfig": TOOLS},
    "two tools of one name": say("x", toolConfig={"tools": [TOOL, TOOL]}),
    "choice of an unknown tool": say("x", toolConfig=TOOLS | {"toolChoice": {"tool": {"name": "nope"}}}),
    "input schema without type": say("x", toolConfig={"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {}}}}]}),
    "jpeg called png": {"messages": [user(T, {"image": {"format": "png", "source": {"bytes": base64.b64encode(b"\xff\xd8\xff\xe0....").decode()}}})]},
    "image from the assistant": {"messages": [user(T), assistant(T, {"image": {"format": "png", "source": {"bytes": PNG}}}), user(T)]},
    "document without text": {"messages": [user({"document": {"name": "a", "format": "txt", "source": {"bytes": "YQ=="}}})]},
    "document name with a dot": {"messages": [user(T, {"document": {"name": "a.txt", "format": "txt", "source": {"bytes": "YQ=="}}})]},
    "cache point first": say("x", system=[{"cachePoint": {"type": "default"}}, T]),
    "five cache points": say("x", system=[T, {"cachePoint": {"type": "default"}}] * 5),
    "extra Claude field": say("x", additionalModelRequestFields={"seed": 1}),
    "blank stop sequence": say("x", inferenceConfig={"stopSequences": ["\n"]}),
    "thinking without maxTokens": say("x", additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    "thinking of 1000": say("x", inferenceConfig={"maxTokens": 4000}, additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 1000}}),
    "thinking with temperature": say("x", inferenceConfig={"maxTokens": 4000, "temperature": 0}, additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    "thinking with a forced tool": say("x", inferenceConfig={"maxTokens": 4000}, toolConfig=TOOLS | {"toolChoice": {"any": {}}}, additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    "thinking after a call without a thought": {"messages": CALLED, "toolConfig": TOOLS, "inferenceConfig": {"maxTokens": 4000}, "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
    "choice said twice": say("x", toolConfig=TOOLS | {"toolChoice": {"any": {}}}, additionalModelRequestFields={"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}),
    "choice without a type": say("x", toolConfig=TOOLS, additionalModelRequestFields={"tool_choice": {"disable_parallel_tool_use": True}}),
    "choice without tools": say("x", additionalModelRequestFields={"tool_choice": {"type": "auto"}}),
    "id that Claude refuses": {"messages": [user(T), assistant(use("a.b")), user(result("a.b"))], "toolConfig": TOOLS},
    "variables of no prompt": say("x", promptVariables={"name": {"text": "Ann"}}),
    "open schema": say("x", outputConfig={"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": '{"type":"object"}'}}}}),
    "schema that is no JSON": say("x", outputConfig={"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{"}}}}),
    "prefill that ends in a blank": {"messages": [user(T), assistant({"text": "So "})]},
}  # fmt: skip


@pytest.mark.parametrize("case", RULE_CASES)
def test_a_body_that_bedrock_would_not_take_is_refused(cloud: StandIn, case: str) -> None:
    refused(cloud, post(cloud, RULE_CASES[case]), "rule", "")


def test_what_the_refused_cases_start_from_is_accepted(cloud: StandIn) -> None:
    good = copy.deepcopy(CALLED)
    good[2]["content"] += [T, {"image": {"format": "png", "source": {"bytes": PNG}}}]
    good[2]["content"][0]["toolResult"]["content"] = []
    thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": seal("hm")}}}
    good[1]["content"].insert(0, thought)
    body = {
        "messages": good,
        "system": [{"text": "s"}, {"cachePoint": {"type": "default"}}],
        "toolConfig": TOOLS | {"toolChoice": {"auto": {}}},
        "inferenceConfig": {"maxTokens": 4000, "stopSequences": ["END"]},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    }
    status, _, answer = post(cloud, body)
    assert status == 200, answer
    assert cloud.refusals() == []


CHOICES = {
    "adaptive thinking after a call without a thought": {
        "messages": CALLED,
        "toolConfig": TOOLS,
        "inferenceConfig": {"maxTokens": 4000},
        "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
    },
    "one call at most": say(
        "x",
        toolConfig=TOOLS,
        additionalModelRequestFields={"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "one call of any tool": say(
        "x",
        toolConfig=TOOLS | {"toolChoice": {"any": {}}},
        additionalModelRequestFields={"tool_choice": {"disable_parallel_tool_use": True}},
    ),
}


@pytest.mark.parametrize("case", CHOICES)
def test_what_claude_takes_is_accepted(cloud: StandIn, case: str) -> None:
    status, _, answer = post(cloud, CHOICES[case])
    assert status == 200, answer
    assert cloud.refusals() == []


def test_a_prompt_brings_its_own_settings(cloud: StandIn) -> None:
    path = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aprompt%2FABCDEFGHIJ%3A1/converse"
    status, _, answer = post(cloud, say("x", promptVariables={"name": {"text": "Ann"}}), path=path)
    assert status == 200, answer
    refused(cloud, post(cloud, say("x", system=[T]), path=path), "rule", "system")


FAMILIES = {
    "meta.llama3-3-70b-instruct-v1:0": say("x", toolConfig=TOOLS | {"toolChoice": {"any": {}}}),
    "mistral.mistral-7b-instruct-v0:2": say("x", system=[T]),
    "mistral.mistral-large-2402-v1:0": say("x", toolConfig=TOOLS | {"toolChoice": {"tool": {"name": "weather"}}}),
    "openai.gpt-oss-20b-1:0": {"messages": [user(T, {"image": {"format": "png", "source": {"bytes": PNG}}})]},
}


@pytest.mark.parametrize("model", FAMILIES)
def test_a_family_takes_what_it_can_and_nothing_else(cloud: StandIn, model: str) -> None:
    path = f"/model/{quote(model, safe='')}/converse"
    refused(cloud, post(cloud, FAMILIES[model], path=path), "rule", "This model doesn't support")
    assert post(cloud, path=path)[0] == 200


def test_llama_streams_no_tools(cloud: StandIn) -> None:
    path = "/model/us.meta.llama3-3-70b-instruct-v1%3A0/converse"
    tools = say("x", toolConfig=TOOLS)
    assert post(cloud, tools, path=path)[0] == 200
    refused(cloud, post(cloud, tools, path=path + "-stream"), "rule", "in streaming mode")


def test_requests_are_recorded_as_they_came(cloud: StandIn) -> None:
    post(cloud)
    (entry,) = cloud.requests("bedrock")
    assert entry["path"] == "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/converse"
    assert entry["body"] == HELLO
    assert (entry["outcome"], entry["status"], entry["script"]) == ("sent", 200, "default")
    assert ["host", "bedrock-runtime.us-east-1.amazonaws.com"] in entry["headers"]


def test_a_client_that_leaves_midway_is_noticed(cloud: StandIn) -> None:
    stream = sdk(cloud).converse_stream(modelId=MODEL, **say("[[script: frames n=1000 drip=20]]"))["stream"]
    next(iter(stream))
    stream.close()
    until = time.monotonic() + 5
    while cloud.requests("bedrock")[-1]["outcome"] == "open" and time.monotonic() < until:
        time.sleep(0.02)
    assert cloud.requests("bedrock")[-1]["outcome"] == "client_gone"


def test_tokens_are_counted_by_words(cloud: StandIn) -> None:
    body = {"input": {"converse": say("one two three")}}
    path = "/model/anthropic.claude-sonnet-4-6/count-tokens"
    assert json.loads(post(cloud, body, path=path)[2]) == {"inputTokens": 3}


@pytest.mark.parametrize("model", ["us.anthropic.claude-sonnet-4-6", "amazon.nova-lite-v1%3A0"])
def test_tokens_are_counted_for_foundation_models_of_claude_alone(cloud: StandIn, model: str) -> None:
    status, _, reply = post(cloud, {"input": {"converse": say("one")}}, path=f"/model/{model}/count-tokens")
    assert status == 400 and b"doesn't support counting tokens" in reply


def test_what_counting_has_no_place_for_is_refused(cloud: StandIn) -> None:
    body = {"input": {"converse": say("one") | {"inferenceConfig": {"maxTokens": 9}}}}
    assert post(cloud, body, path="/model/anthropic.claude-sonnet-4-6/count-tokens")[0] == 400


def test_one_connection_serves_many_requests_and_chunked_bodies(cloud: StandIn) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.ports["bedrock"], timeout=5)
    for _ in range(2):
        connection.putrequest("POST", "/model/x.y/converse", skip_host=True, skip_accept_encoding=True)
        for name, value in (("host", "127.0.0.1"), ("content-type", "application/json"),
                            ("authorization", "Bearer " + sigv4.BEARER), ("transfer-encoding", "chunked")):  # fmt: skip
            connection.putheader(name, value)
        raw = json.dumps(HELLO).encode()
        connection.endheaders((raw[:5], raw[5:]), encode_chunked=True)
        reply = connection.getresponse()
        assert reply.status == 200 and b"Hello" in reply.read()
    assert len({entry["connection"] for entry in cloud.requests("bedrock")}) == 1
