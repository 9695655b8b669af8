"""A chat completion, whole: what the clouds get, and what the client gets back."""

from __future__ import annotations

import base64
import time
from typing import Any

import openai
import pytest

from .cloud.scripts import UNICODE
from .harness import ANSWER, BACKENDS, BEDROCK, MODELS, PROMPT, VERTEX, Gate, events, say

#: The smallest pictures there are, by media type.
PICTURES = {
    "image/png": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "image/jpeg": "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP////////////////////////////////////////////////////////////////////"
    "//////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA=",
    "image/gif": "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
    "image/webp": "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA",
}


def picture(media_type: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{PICTURES[media_type]}"}}


def texts(cloud: str, body: dict[str, Any]) -> list[tuple[str, str]]:
    """The conversation in a cloud's body as (role, text), instructions first."""
    if cloud == "bedrock":
        said = [("system", block["text"]) for block in body.get("system", [])]
        return said + [(turn["role"], block["text"]) for turn in body["messages"] for block in turn["content"]]
    said = [("system", part["text"]) for part in body.get("systemInstruction", {"parts": []})["parts"]]
    return said + [(turn["role"], part["text"]) for turn in body["contents"] for part in turn["parts"]]


def test_an_answer_is_an_openai_completion(gate: Gate, where: str) -> None:
    before = int(time.time())
    reply = gate.completions.create(model=MODELS[where], messages=say(f'text say="{ANSWER} two words"'))
    assert reply.object == "chat.completion"
    assert reply.model == MODELS[where]
    assert reply.id.startswith("chatcmpl-") and len(reply.id) > len("chatcmpl-") + 8
    assert before - 1 <= reply.created <= time.time() + 1
    (choice,) = reply.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    message = choice.message
    assert (message.role, message.content) == ("assistant", f"{ANSWER} two words")
    assert (message.tool_calls, message.refusal) == (None, None)
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (5, 3)
    assert reply.usage.total_tokens == 8


def test_every_answer_has_an_id_of_its_own(gate: Gate, where: str) -> None:
    ids = {gate.completions.create(model=MODELS[where], messages=say()).id for _ in range(3)}
    assert len(ids) == 3


def test_a_conversation_arrives_in_order_and_instructions_apart(gate: Gate, where: str) -> None:
    gate.completions.create(
        model=MODELS[where],
        messages=[
            {"role": "system", "content": f"{PROMPT} rule one"},
            {"role": "developer", "content": [{"type": "text", "text": "rule two"}]},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "second"},
            {"role": "user", "content": [{"type": "text", "text": "third"}, {"type": "text", "text": "fourth"}]},
            {"role": "user", "content": "fifth", "name": "ada"},
        ],
    )
    assistant = "assistant" if where == "bedrock" else "model"
    assert texts(where, gate.body(where)) == [
        ("system", f"{PROMPT} rule one"), ("system", "rule two"), ("user", "first"), (assistant, "second"),
        ("user", "third"), ("user", "fourth"), ("user", "fifth"),
    ]  # fmt: skip


def test_zero_is_a_value(gate: Gate, where: str) -> None:
    gate.completions.create(
        model=MODELS[where], messages=say(), temperature=0, top_p=0, max_tokens=17, stop="END"
    )
    body = gate.body(where)
    if where == "bedrock":
        wanted = {"maxTokens": 17, "temperature": 0, "topP": 0, "stopSequences": ["END"]}
        assert body["inferenceConfig"] == wanted
    else:
        wanted = {"maxOutputTokens": 17, "temperature": 0, "topP": 0, "stopSequences": ["END"]}
        assert body["generationConfig"] == wanted


def test_stop_may_be_a_list_and_the_newer_name_of_the_limit_wins(gate: Gate, where: str) -> None:
    gate.completions.create(
        model=MODELS[where], messages=say(), stop=["a", "\n\nÜ"], max_tokens=5, max_completion_tokens=70
    )
    body = gate.body(where)
    config = body["inferenceConfig"] if where == "bedrock" else body["generationConfig"]
    assert config["stopSequences"] == ["a", "\n\nÜ"]
    assert config["maxTokens" if where == "bedrock" else "maxOutputTokens"] == 70


def test_without_parameters_none_are_sent(gate: Gate, where: str) -> None:
    gate.completions.create(model=MODELS[where], messages=say())
    assert set(gate.body(where)) == {"messages" if where == "bedrock" else "contents"}


def test_unicode_passes_both_ways_unharmed(gate: Gate, where: str) -> None:
    messages = [{"role": "user", "content": f"{UNICODE} [[script:text unicode=1 blocks=1]]"}]
    reply = gate.completions.create(model=MODELS[where], messages=messages)
    assert reply.choices[0].message.content == UNICODE
    ((_, text),) = texts(where, gate.body(where))
    assert text == messages[0]["content"]


@pytest.mark.parametrize("media_type", list(PICTURES))
def test_pictures_arrive_as_the_bytes_they_are(gate: Gate, where: str, media_type: str) -> None:
    content = [{"type": "text", "text": f"{PROMPT} what is this?"}, picture(media_type)]
    messages: list[Any] = [{"role": "user", "content": content}]
    if (where, media_type) == ("vertex", "image/gif"):
        with pytest.raises(openai.BadRequestError) as refused:
            gate.completions.create(model=MODELS[where], messages=messages)
        assert refused.value.param == "messages[0].content[1].image_url.url"
        assert "image/png" in str(refused.value)
        gate.nothing_was_sent()
        return
    reply = gate.completions.create(model=MODELS[where], messages=messages)
    assert "1 image" in (reply.choices[0].message.content or "")
    if where == "bedrock":
        image = gate.body(where)["messages"][0]["content"][1]["image"]
        found = (f"image/{image['format']}", image["source"]["bytes"])
    else:
        data = gate.body(where)["contents"][0]["parts"][1]["inlineData"]
        found = (data["mimeType"], data["data"])
    assert found == (media_type, PICTURES[media_type])
    base64.b64decode(found[1], validate=True)


def test_cached_tokens_are_part_of_the_prompt(gate: Gate, where: str) -> None:
    script = "text say=ok in=100 out=7 cache_read=40 cache_write=2"
    usage = gate.completions.create(model=MODELS[where], messages=say(script)).usage
    assert usage is not None and usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (142, 7, 149)
    assert usage.prompt_tokens_details.cached_tokens == 40


def test_thoughts_are_counted_as_output(gate: Gate) -> None:
    script = "text say=ok in=10 out=7 thoughts=5"
    usage = gate.completions.create(model=VERTEX, messages=say(script)).usage
    assert usage is not None and usage.completion_tokens_details is not None
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (7, 5)


def test_a_reply_without_counts_has_none(gate: Gate, where: str) -> None:
    reply = gate.completions.create(model=MODELS[where], messages=say("text say=ok no_usage=1"))
    assert (reply.usage, reply.choices[0].message.content) == (None, "ok")


#: Script, what the client sees; `None`: an error, since the reply is torn.
BEDROCK_STOPS = [
    ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"),
    ("model_context_window_exceeded", "length"), ("content_filtered", "content_filter"),
    ("guardrail_intervened", "content_filter"), ("malformed_model_output", None), ("malformed_tool_use", None),
]  # fmt: skip
VERTEX_STOPS = [
    ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
    ("BLOCKLIST", "content_filter"), ("PROHIBITED_CONTENT", "content_filter"), ("SPII", "content_filter"),
    ("MALFORMED_FUNCTION_CALL", None), ("OTHER", None),
]  # fmt: skip
STOPS = [("bedrock", *one) for one in BEDROCK_STOPS] + [("vertex", *one) for one in VERTEX_STOPS]


@pytest.mark.parametrize(("cloud_name", "reason", "finish"), STOPS)
def test_reasons_to_stop(gate: Gate, cloud_name: str, reason: str, finish: str | None) -> None:
    messages = say(f'stop reason={reason} say="half a sentence"')
    model = MODELS[cloud_name]
    if finish is None:
        with pytest.raises(openai.InternalServerError) as broken:
            gate.completions.create(model=model, messages=messages)
        assert (broken.value.status_code, broken.value.code) == (502, "upstream_error")
        with pytest.raises(openai.APIError):
            list(gate.completions.create(model=model, messages=messages, stream=True))
        return
    choice = gate.completions.create(model=model, messages=messages).choices[0]
    assert (choice.finish_reason, choice.message.content) == (finish, "half a sentence")
    chunks = list(gate.completions.create(model=model, messages=messages, stream=True))
    assert [one for chunk in chunks for c in chunk.choices if (one := c.finish_reason)] == [finish]
    assert "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices) == "half a sentence"


def test_a_blocked_prompt_is_a_filtered_reply(gate: Gate, where: str) -> None:
    choice = gate.completions.create(model=MODELS[where], messages=say("blocked")).choices[0]
    assert choice.finish_reason == "content_filter"
    assert isinstance(choice.message.content, str)
    chunks = list(gate.completions.create(model=MODELS[where], messages=say("blocked"), stream=True))
    assert chunks[-1].choices[0].finish_reason == "content_filter"


def test_all_blocks_of_text_are_one_text(gate: Gate, where: str) -> None:
    reply = gate.completions.create(model=MODELS[where], messages=say("text say=ab blocks=3"))
    assert reply.choices[0].message.content == "[0] ab[1] ab[2] ab"


def test_thoughts_are_kept_apart_from_the_answer(gate: Gate, where: str) -> None:
    script = f'reasoning say="{ANSWER} thinking" then="The answer." redacted=1'
    message = gate.completions.create(model=MODELS[where], messages=say(script)).choices[0].message
    assert message.content == "The answer."
    assert message.model_dump()["reasoning_content"] == f"{ANSWER} thinking"


def test_a_whole_reply_in_pieces_is_the_same_reply(gate: Gate, where: str) -> None:
    texts = [
        gate.completions.create(model=MODELS[where], messages=say(f"text unicode=1 blocks=2 {cut}")).choices[0].message
        for cut in ("", "cut=1", "cut=7 drip=1")
    ]
    assert texts[0] == texts[1] == texts[2] and texts[0].content


def test_an_empty_answer_is_never_an_empty_body(gate: Gate) -> None:
    reply = gate.completions.create(model=BEDROCK, messages=say("nothing"))
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("", "stop")
    with pytest.raises(openai.InternalServerError) as broken:
        gate.completions.create(model=VERTEX, messages=say("nothing"))
    assert (broken.value.status_code, broken.value.code) == (502, "upstream_invalid_response")


def test_the_reply_says_where_it_comes_from(gate: Gate, where: str) -> None:
    raw = gate.completions.with_raw_response.create(
        model=MODELS[where], messages=say(), user="ada", extra_body={"made_up": 1, "store": True, "n": 1}
    )
    assert raw.headers["x-fairlead-backend"] == BACKENDS[where]
    assert raw.headers["x-fairlead-model"] == MODELS[where].partition("/")[2]
    assert sorted(raw.headers["x-fairlead-dropped"].split(", ")) == ["made_up", "store", "user"]
    assert raw.headers["content-type"] == "application/json"
    assert int(raw.headers["content-length"]) == len(raw.content)
    first = raw.headers["x-request-id"]
    plain = gate.completions.with_raw_response.create(model=MODELS[where], messages=say())
    assert first and plain.headers["x-request-id"] not in ("", first)
    assert "x-fairlead-dropped" not in plain.headers


def test_nothing_of_the_clouds_own_headers_comes_through(gate: Gate, where: str) -> None:
    for stream in (False, True):
        answer = gate.post({"model": MODELS[where], "messages": say(), "stream": stream})
        known = {"content-type", "x-fairlead-backend", "x-fairlead-model", "x-fairlead-attempts", "x-request-id"}
        framing = {"cache-control", "transfer-encoding"} if stream else {"content-length"}
        assert set(answer.headers) == known | framing | {"date", "server"}
        assert answer.headers["x-fairlead-attempts"] == "1"


@pytest.mark.parametrize(
    ("name", "cloud_name", "model"),
    [
        ("claude-sonnet", "bedrock", "us.anthropic.claude-sonnet-4-20250514-v1:0"),
        ("gemini-flash", "vertex", "gemini-2.5-flash"),
    ],
)
def test_a_name_of_the_configuration_leads_to_its_model(gate: Gate, name: str, cloud_name: str, model: str) -> None:
    raw = gate.completions.with_raw_response.create(model=name, messages=say())
    assert raw.headers["x-fairlead-model"] == model
    assert raw.parse().model == name
    assert f"playing {model}" in (raw.parse().choices[0].message.content or "")
    assert len(gate.requests(cloud_name)) == 1


def test_the_route_works_without_its_version_and_with_a_query(gate: Gate, where: str) -> None:
    for path in ("/chat/completions", "/v1/chat/completions?api-version=2026-01-01"):
        answer = gate.post({"model": MODELS[where], "messages": say()}, path=path)
        assert answer.status == 200, answer.body
    assert all("api-version" not in request["path"] for request in gate.requests(where))


def test_a_long_conversation_is_no_trouble(gate: Gate, where: str) -> None:
    turns: list[Any] = []
    for number in range(200):
        turns += [{"role": "user", "content": f"{number} {'x' * 5000}"}, {"role": "assistant", "content": "yes"}]
    reply = gate.completions.create(model=MODELS[where], messages=turns + say("text size=300000 piece=2000"))
    content = reply.choices[0].message.content or ""
    assert len(content) == 300_000 and content.startswith("The quick brown fox")
    assert gate.sent(where)["body_bytes"] > 1_000_000


def test_json_mode_is_passed_on(gate: Gate) -> None:
    reply = gate.completions.create(model=VERTEX, messages=say(), response_format={"type": "json_object"})
    assert reply.choices[0].message.content == '{"ok": true}'
    assert gate.body("vertex")["generationConfig"]["responseMimeType"] == "application/json"


def test_health_needs_no_cloud(gate: Gate) -> None:
    answer = gate.call("GET", "/health")
    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
    gate.nothing_was_sent()


def test_the_same_words_come_whole_and_streamed(gate: Gate, where: str) -> None:
    messages = [{"role": "user", "content": "[[script:text unicode=1 piece=3]]"}]
    streamed = gate.post({"model": MODELS[where], "messages": messages, "stream": True})
    chunks = events(streamed.body.decode())[:-1]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == UNICODE
