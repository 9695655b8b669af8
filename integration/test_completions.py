"""Upstreams that speak chat completions: OpenAI itself, open models and Mistral's on Vertex AI, for both SDKs."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from .harness import ANSWER, CLIENT_KEY, PATIENCE, PROMPT, Gate, events, say
from .test_anthropic import both, loop
from .test_chat import PICTURES

GPT = "openai/gpt-4.1"
REASONER = "openai/gpt-5.1"
LLAMA = "vertex_ai/meta/llama-3.3-70b-instruct-maas"
QWEN = "vertex_ai/qwen/qwen3-next-80b-a3b-thinking-maas"
R1 = "vertex_ai/deepseek-ai/deepseek-r1-0528-maas"
KIMI = "vertex_ai/moonshotai/kimi-k2-thinking-maas"
MISTRAL = "vertex_ai/mistral-medium-3"

EVERY = [GPT, REASONER, LLAMA, QWEN, R1, KIMI, MISTRAL]
#: Those that OpenAI's clients speak to in their own words.
SAME = [GPT, LLAMA]

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def cloud_of(model: str) -> str:
    return "openai" if model.startswith("openai/") else "vertex"


@pytest.fixture
def client(gate: Gate) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gate.envoy.url, api_key=CLIENT_KEY, max_retries=0, timeout=PATIENCE)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=EVERY)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# OpenAI's clients


@pytest.mark.parametrize("model", SAME)
def test_a_request_passes_but_for_its_top(gate: Gate, model: str) -> None:
    sent = '{ "temperature": 1.0, "model": "%s", "messages": [{"content": "%s", "role": "user", "x": 1e2}], "n": 1 }'
    if model != GPT:
        sent = sent.replace(', "x": 1e2', "")
    gate.refusals_expected = model == GPT  # It does not know `x`.
    gate.post((sent % (model, PROMPT)).encode())
    (raw,) = gate.requests(cloud_of(model))
    assert list(raw["body"]) == ["model", "temperature", "messages", "n"]
    assert raw["body"]["model"] == model.partition("/")[2]
    assert str(raw["body"]["temperature"]) == "1.0"
    assert list(raw["body"]["messages"][0])[:2] == ["content", "role"]
    assert CLIENT_KEY not in str(raw["headers"])


@pytest.mark.parametrize("model", [*SAME, MISTRAL])
def test_counts_are_told_only_to_those_who_ask(gate: Gate, model: str) -> None:
    for wanted in (True, False):
        request: dict[str, Any] = {"model": model, "messages": say("text size=90 in=11 out=7 cache_read=5"), "stream": True}
        if wanted:
            request["stream_options"] = {"include_usage": True}
        answer = gate.post(request)
        told = events(answer.body.decode())
        assert told.pop() == "[DONE]"
        usage = [chunk["usage"] for chunk in told if chunk.get("usage")]
        assert bool(usage) == wanted, usage
        assert not wanted or (usage[0]["prompt_tokens"], usage[0]["completion_tokens"]) == (16, 7)
        sent = gate.requests(cloud_of(model))[-1]["body"]
        assert sent.get("stream_options") == ({"include_usage": True} if model != MISTRAL else None)


def test_openais_sdk_has_a_round_of_tools(gate: Gate, model: str, stream: bool) -> None:
    request: dict[str, Any] = {"model": model, "tools": [WEATHER], "messages": say("tools which=all")}

    def ask() -> Any:
        if not stream:
            return gate.completions.create(**request).choices[0]
        with gate.completions.stream(**request) as parts:
            return parts.get_final_completion().choices[0]

    choice = ask()
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "sample city Ä😀"}
    request["messages"] = [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": {
            "name": call.function.name, "arguments": call.function.arguments}}]},
        {"role": "tool", "tool_call_id": call.id, "content": ANSWER},
    ]  # fmt: skip
    choice = ask()
    assert choice.finish_reason == "stop" and "weather returned" in choice.message.content


def test_what_other_models_want_does_not_reach_openai(gate: Gate) -> None:
    messages: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": PROMPT, "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm.", "thinking_blocks": []},
        {"role": "user", "content": "Well?"},
    ]
    answer = gate.post({"model": REASONER, "messages": messages, "max_tokens": 50})
    assert answer.status == 200
    assert answer.headers["x-fairlead-dropped"] == "cache_control, messages[].reasoning_content, messages[].thinking_blocks"
    assert gate.body("openai")["max_completion_tokens"] == 50


def test_thoughts_are_told_apart_from_the_answer(gate: Gate, stream: bool) -> None:
    for model, shown in ((QWEN, True), (MISTRAL, True), (GPT, False)):
        request: dict[str, Any] = {"model": model, "messages": say(f"reasoning say=Hm. then={ANSWER}")}
        if stream:
            deltas = [chunk.choices[0].delta for chunk in gate.completions.create(**request, stream=True)]
            thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
            words = "".join(delta.content or "" for delta in deltas)
        else:
            message = gate.completions.create(**request).choices[0].message
            thought, words = getattr(message, "reasoning_content", None) or "", message.content
        assert (thought, words) == ("Hm." if shown else "", ANSWER), model


# Anthropic's clients


def test_a_message_and_its_counts(client: anthropic.Anthropic, gate: Gate, model: str, stream: bool) -> None:
    message = both(
        client, stream, model=model, system="Be brief.", messages=say(f"text say={ANSWER} in=11 out=7 cache_read=5")
    )  # fmt: skip
    assert [(block.type, block.text) for block in message.content] == [("text", ANSWER)]  # type: ignore[union-attr]
    usage = message.usage
    cached = 5
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (16 - cached, 7, cached)
    assert (message.model, message.stop_reason) == (model, "end_turn")


def test_text_of_all_scripts_in_pieces(client: anthropic.Anthropic, model: str) -> None:
    whole = both(client, False, model=model, messages=say("text unicode=1 piece=3"))
    streamed = both(client, True, model=model, messages=say("text unicode=1 piece=3"))
    assert [block.to_dict() for block in whole.content] == [block.to_dict() for block in streamed.content]


@pytest.mark.parametrize("script", ["tools which=all", "tools which=all before=Looking.", "tools which=all interleaved=1"])
def test_the_whole_loop_of_tools(client: anthropic.Anthropic, model: str, stream: bool, script: str) -> None:
    reply = loop(client, stream, model, script)
    calls = [block for block in reply.content if block.type == "tool_use"]
    assert len({call.id for call in calls}) == 2
    assert "city" in calls[0].input and calls[1].input == {}


def test_thoughts_of_open_models_are_blocks_of_their_own(client: anthropic.Anthropic, stream: bool) -> None:
    for model in (QWEN, R1, MISTRAL, KIMI):
        message = both(client, stream, model=model, messages=say(f'reasoning say="Hm. Well." then={ANSWER}'))
        thought, text = message.content
        assert thought.type == "thinking" and thought.thinking == "Hm. Well.", model
        assert text.type == "text" and text.text == ANSWER, model


@pytest.mark.parametrize("thinking", [{"type": "enabled", "budget_tokens": 2000}, {"type": "adaptive"}, {"type": "disabled"}])
def test_every_model_takes_every_way_to_think(client: anthropic.Anthropic, model: str, thinking: Any) -> None:
    reply = both(client, False, model=model, thinking=thinking, output_config={"effort": "medium"}, messages=say("text"))
    assert reply.stop_reason == "end_turn"


def test_pictures_go_to_every_model_and_files_to_openai(client: anthropic.Anthropic, gate: Gate, model: str) -> None:
    picture: Any = {
        "type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURES["image/png"]}
    }  # fmt: skip
    calls: Any = [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}]
    answers: Any = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Here:"}, picture]}]
    messages: Any = [
        {"role": "user", "content": [picture, {"type": "text", "text": PROMPT}]},
        {"role": "assistant", "content": calls}, {"role": "user", "content": answers},
    ]  # fmt: skip
    tools: Any = [{"name": "look", "input_schema": {"type": "object"}}]
    both(client, False, model=model, messages=messages, tools=tools)
    sent = json.dumps(gate.body(cloud_of(model))["messages"])
    assert sent.count("data:image/png;base64,") == 2


def test_a_shape_for_the_reply_is_obeyed(client: anthropic.Anthropic, model: str) -> None:
    schema = {"type": "object", "properties": {"a": {"const": 7}}, "required": ["a"], "additionalProperties": False}
    message = both(
        client, False, model=model, messages=say("json"), output_config={"format": {"type": "json_schema", "schema": schema}}
    )  # fmt: skip
    assert json.loads(message.content[0].text) == {"a": 7}  # type: ignore[union-attr]


# What goes wrong


@pytest.mark.parametrize("model", [GPT, LLAMA, MISTRAL])
@pytest.mark.parametrize(
    ("script", "theirs", "ours"),
    [
        ("error type=throttle retry_after=3", anthropic.RateLimitError, openai.RateLimitError),
        ("error type=denied", anthropic.PermissionDeniedError, openai.PermissionDeniedError),
        ("error type=invalid", anthropic.BadRequestError, openai.BadRequestError),
        ("error type=not_found", anthropic.NotFoundError, openai.NotFoundError),
        ("raw kind=html", anthropic.InternalServerError, openai.InternalServerError),
        ("raw kind=truncated", anthropic.InternalServerError, openai.InternalServerError),
    ],
)
def test_errors_raise_what_the_sdks_have_for_them(
    client: anthropic.Anthropic, gate: Gate, model: str, stream: bool, script: str, theirs: Any, ours: Any
) -> None:
    with pytest.raises(theirs):
        both(client, stream, model=model, messages=say(script))
    with pytest.raises(ours) as caught:
        gate.completions.create(model=model, messages=say(script), stream=stream)
    assert "retry_after" not in script or caught.value.response.headers["retry-after"] == "3"


@pytest.mark.parametrize("model", [GPT, LLAMA, MISTRAL])
@pytest.mark.parametrize("fault", ["exception", "cut", "end", "reset", "junk"])
def test_a_stream_that_breaks_off_is_an_error(client: anthropic.Anthropic, gate: Gate, model: str, fault: str) -> None:
    gate.expected_errors.append("a stream of")
    script = f"text size=400 fault={fault} after=5"
    with pytest.raises((anthropic.APIError, httpx2.HTTPError)):
        both(client, True, model=model, messages=say(script))
    with pytest.raises((openai.APIError, httpx2.HTTPError)):
        list(gate.completions.create(model=model, messages=say(script), stream=True))


def test_the_gateways_own_key_is_never_told(gate: Gate) -> None:
    answer = gate.post({"model": GPT, "messages": say("error type=expired")})
    assert answer.status == 403 and answer.error["code"] == "upstream_denied"
