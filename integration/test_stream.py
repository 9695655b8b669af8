"""A chat completion, streamed: piece by piece as it comes, whole or visibly broken."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from .cloud.scripts import UNICODE
from .harness import ANSWER, BACKENDS, CHAT, MODELS, PATIENCE, Gate, error_of, events, headers_of, say, until

#: Ways in which a cloud's stream can break while its connection holds.
FAULTS = [("bedrock", fault) for fault in ("exception", "error", "crc", "junk", "cut", "end")]
FAULTS += [("vertex", fault) for fault in ("sse_error", "junk", "cut", "end")]


def body(where: str, script: str, **more: Any) -> dict[str, Any]:
    return {"model": MODELS[where], "messages": say(script), "stream": True, **more}


def content(chunks: list[Any]) -> str:
    """The text of parsed chunks."""
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk.get("choices"))


def read_broken(gate: Gate, request: dict[str, Any]) -> tuple[int, str]:
    """Reads a stream that may end before its end; gives the status and what came."""
    with gate.open("POST", CHAT, json.dumps(request), {"content-type": "application/json"}) as response:
        try:
            return response.status, response.read().decode()
        except http.client.IncompleteRead as broken:
            return response.status, broken.partial.decode() + "<connection broken>"


def test_a_stream_is_chunks_and_done_to_the_byte(gate: Gate, where: str) -> None:
    answer = gate.post(body(where, f'text say="{ANSWER} a" piece=18'))
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-fairlead-backend"] == BACKENDS[where]
    assert answer.headers["x-request-id"]
    *chunks, done = events(answer.body.decode())
    assert done == "[DONE]"
    head = {key: chunks[0][key] for key in ("id", "object", "created", "model")}
    assert head["object"] == "chat.completion.chunk" and head["model"] == MODELS[where]
    assert head["id"].startswith("chatcmpl-")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": ANSWER}, {"content": " a"}, {}]
    wanted = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]}
        for delta in deltas
    ]
    assert chunks == wanted
    lines = [f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n" for chunk in wanted]
    assert answer.body.decode() == "".join(lines) + "data: [DONE]\n\n"


def test_pieces_reach_the_client_while_the_next_are_not_yet_made(gate: Gate, where: str) -> None:
    begin = time.monotonic()
    arrivals: list[tuple[float, bytes]] = []
    request = json.dumps(body(where, "frames n=6 each=10 drip=120"))
    with gate.open("POST", CHAT, request, {"content-type": "application/json"}) as response:
        while piece := response.read1(65536):
            arrivals.append((time.monotonic() - begin, piece))
    text_arrivals = [at for at, piece in arrivals if b'"content":"' in piece]
    assert len(text_arrivals) >= 5, "several pieces came in one"
    # Six frames, 120 ms apart: the first may not wait for the last.
    assert text_arrivals[-1] - text_arrivals[0] > 0.4
    assert arrivals[-1][0] - text_arrivals[0] > 0.5
    assert events(b"".join(piece for _, piece in arrivals).decode())[-1] == "[DONE]"


@pytest.mark.parametrize("cut", [1, 7, 40, 333])
def test_frames_cut_anywhere_give_the_same_output(gate: Gate, where: str, cut: int) -> None:
    # Each cut is a packet of its own, a millisecond apart.
    say_this = "é👩\u200d🚀" if cut < 40 else UNICODE[:60].replace('"', "'").replace("\\", "/")
    messages = say(f"""text say="{say_this}" piece=2 cut={cut}""")
    chunks = list(gate.completions.create(model=MODELS[where], messages=messages, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == say_this
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("eol", ["lf", "cr", "crlf"])
def test_line_ends_of_googles_events_do_not_matter(gate: Gate, eol: str) -> None:
    answer = gate.post(body("vertex", f'text say="{ANSWER}" piece=3 eol={eol} cut=11'))
    *chunks, done = events(answer.body.decode())
    assert (content(chunks), done) == (ANSWER, "[DONE]")


def test_usage_comes_once_at_the_end_and_only_when_asked_for(gate: Gate, where: str) -> None:
    script = "text say=ok in=100 out=7 cache_read=40"
    *chunks, done = events(gate.post(body(where, script)).body.decode())
    assert done == "[DONE]" and all("usage" not in chunk for chunk in chunks)

    options = {"stream_options": {"include_usage": True}}
    *chunks, last, done = events(gate.post(body(where, script, **options)).body.decode())
    assert done == "[DONE]" and all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == [] and last["id"] == chunks[0]["id"]
    usage = last["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (140, 7, 147)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 40

    *chunks, done = events(gate.post(body(where, "text say=ok no_usage=1", **options)).body.decode())
    assert done == "[DONE]" and all(chunk["usage"] is None for chunk in chunks), "none was told"


#: What a stream's first frame may be, and how the SDK calls it. Status and type must be those of a whole reply.
FIRST = [
    ("throttle", openai.RateLimitError, 429), ("unavailable", openai.InternalServerError, 503),
    ("internal", openai.InternalServerError, 502), ("timeout", openai.InternalServerError, 504),
    ("invalid", openai.BadRequestError, 400),
]  # fmt: skip


# Bedrock's first frame tells no more than the role; Gemini's has text already.
@pytest.mark.parametrize(("where", "after"), [("bedrock", 0), ("bedrock", 1), ("vertex", 0)])
@pytest.mark.parametrize(("kind", "raised", "status"), FIRST, ids=[first[0] for first in FIRST])
def test_an_error_before_any_text_has_a_status_of_its_own(
    gate: Gate, where: str, kind: str, raised: type[openai.APIStatusError], status: int, after: int
) -> None:
    script = f'text say="{ANSWER}" fault=exception after={after} type={kind} message="as the cloud says"'
    with pytest.raises(raised) as refused:
        list(gate.completions.create(**body(where, script)))
    assert refused.value.status_code == status
    response = refused.value.response
    error_of(response.status_code, response.headers, response.content)
    assert response.headers["x-fairlead-backend"] == BACKENDS[where]
    if status in (400, 429):
        assert "as the cloud says" in str(refused.value)


@pytest.mark.parametrize(("where", "fault"), FAULTS)
def test_a_stream_that_breaks_ends_with_an_error_and_never_with_done(gate: Gate, where: str, fault: str) -> None:
    script = f'text say="{ANSWER}" piece=4 drip=10 fault={fault} after=4'
    status, text = read_broken(gate, body(where, script))
    assert status == 200
    *chunks, last = events(text)
    assert "[DONE]" not in text
    assert content(chunks) and ANSWER.startswith(content(chunks))
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    error_of(500, {"content-type": "application/json"}, json.dumps(last).encode())
    assert last["error"]["type"] == "server_error"

    heard = []
    with pytest.raises(openai.APIError) as broken:
        for chunk in gate.completions.create(**body(where, script)):
            heard.append(chunk)
    assert heard and broken.value.body is not None


@pytest.mark.parametrize("kind", ["throttle", "unavailable"])
def test_an_error_in_the_middle_says_what_it_is(gate: Gate, where: str, kind: str) -> None:
    script = f'text say="{ANSWER}" piece=4 drip=10 fault=exception after=4 type={kind}'
    _, text = read_broken(gate, body(where, script))
    code = {"throttle": "rate_limit_exceeded", "unavailable": "upstream_overloaded"}[kind]
    assert events(text)[-1]["error"]["code"] == code


@pytest.mark.parametrize("kind", ["reset", "fin"])
def test_a_connection_lost_in_the_middle_is_no_clean_end(gate: Gate, where: str, kind: str) -> None:
    script = f'text say="{ANSWER}" piece=4 drip=10 fault={kind} after=4'
    # Envoy closes such a connection after its delayed_close_timeout of a second: both at once, to wait once.
    with ThreadPoolExecutor(1) as pool:
        raw = pool.submit(read_broken, gate, body(where, script))
        with pytest.raises(openai.APIConnectionError):
            list(gate.completions.create(**body(where, script)))
        status, text = raw.result()
    assert status == 200 and "[DONE]" not in text
    assert text.endswith("<connection broken>"), text


def test_a_cloud_that_falls_silent_in_the_middle_is_cut_off(gate: Gate, where: str) -> None:
    begin = time.monotonic()
    status, text = read_broken(gate, body(where, f'text say="{ANSWER}" piece=4 fault=hang after=4 s=30'))
    # The route's idle timeout is 1.5 s here.
    assert 1 < time.monotonic() - begin < 8
    assert status == 200 and "[DONE]" not in text
    until("the cloud is let go", lambda: gate.counters().get(f"{where}.in_flight") == 0)


def test_a_client_that_leaves_ends_the_clouds_work(gate: Gate, where: str) -> None:
    request = json.dumps(body(where, "frames n=2000 drip=10"))
    with gate.open("POST", CHAT, request, {"content-type": "application/json"}) as response:
        assert response.read1(10)
    until("the cloud notices", lambda: gate.counters().get(f"{where}.client_gone") == 1, 5)
    assert gate.counters()[f"{where}.in_flight"] == 0
    assert gate.completions.create(model=MODELS[where], messages=say()).choices[0].finish_reason == "stop"


def test_a_client_that_leaves_before_the_answer_begins_ends_the_clouds_work(gate: Gate, where: str) -> None:
    request = json.dumps(body(where, "text say=late delay=9000")).encode()
    with gate.socket() as client:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(request)}\r\n\r\n"
        client.sendall(head.encode() + request)
        until("the request arrives", lambda: gate.counters().get(f"{where}.in_flight") == 1)
    until("the cloud notices", lambda: gate.counters().get(f"{where}.client_gone") == 1, 5)


def test_fifty_streams_at_once_keep_apart(gate: Gate, where: str) -> None:
    def one(number: int) -> str:
        script = f"text say=stream-{number:02} size=400 piece=10 drip=3"
        text = gate.post(body(where, script)).body.decode()
        *chunks, done = events(text)
        assert done == "[DONE]"
        return content(chunks)

    with ThreadPoolExecutor(50) as pool:
        texts = list(pool.map(one, range(50)))
    assert texts == [(f"stream-{number:02}" * 50)[:400] for number in range(50)]
    assert gate.counters()[f"{where}.in_flight_most"] > 10, "they did run at once"


def test_a_long_stream_costs_no_more_than_its_length(gate: Gate, where: str) -> None:
    begin = time.monotonic()
    *chunks, done = events(gate.post(body(where, "frames n=3000 each=20")).body.decode())
    assert done == "[DONE]"
    assert content(chunks).split() == [str(number) for number in range(3000)]
    assert time.monotonic() - begin < PATIENCE


def test_pieces_may_be_large(gate: Gate, where: str) -> None:
    answer = gate.post(body(where, "text size=600000 piece=300000"))
    *chunks, done = events(answer.body.decode())
    assert done == "[DONE]" and len(content(chunks)) == 600_000


def test_a_client_that_reads_slowly_gets_everything(gate: Gate, where: str) -> None:
    request = json.dumps(body(where, "text size=4000000 piece=20000"))
    with gate.open("POST", CHAT, request, {"content-type": "application/json"}) as response:
        assert headers_of(response)["content-type"] == "text/event-stream"
        received = bytearray(response.read(100))
        time.sleep(0.3)  # the cloud fills every buffer on the way
        received += response.read()
    *chunks, done = events(received.decode())
    assert done == "[DONE]" and len(content(chunks)) == 4_000_000


def test_a_reply_that_was_to_be_a_stream_and_is_none_is_an_error(gate: Gate, where: str) -> None:
    for kind in ("text", "wrong"):
        answer = gate.post(body(where, f"raw kind={kind}"))
        assert (answer.status, answer.error["code"]) == (502, "upstream_invalid_response")


def test_an_empty_stream_is_an_error(gate: Gate, where: str) -> None:
    answer = gate.post(body(where, "text say=x fault=end after=0"))
    assert (answer.status, answer.error["code"]) == (502, "upstream_invalid_response")
