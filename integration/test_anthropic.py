"""Anthropic's Messages API, as applications use it through Anthropic's SDK."""

from __future__ import annotations

import base64
from typing import Any

import anthropic
import pytest

from .harness import ANSWER, CLIENT_KEY, MODELS, PATIENCE, PROMPT, Gate, say
from .test_chat import PICTURES

WEATHER: Any = {
    "name": "weather",
    "description": "The weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
PING: Any = {"name": "ping", "input_schema": {"type": "object"}}

SIGNED = "vertex_ai/gemini-3-pro-preview"
ADAPTIVE = "bedrock/us.anthropic.claude-opus-4-6-v1"

PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()


@pytest.fixture
def client(gate: Gate) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gate.envoy.url, api_key=CLIENT_KEY, max_retries=0, timeout=PATIENCE)


def both(client: anthropic.Anthropic, stream: bool, **request: Any) -> anthropic.types.Message:
    """The message, whole or gathered by the SDK from a stream."""
    request = {"max_tokens": 4000} | request
    if not stream:
        return client.messages.create(**request)
    with client.messages.stream(**request) as events:
        return events.get_final_message()


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_message_and_its_counts(gate: Gate, client: anthropic.Anthropic, where: str, stream: bool) -> None:
    message = both(
        client, stream, model=MODELS[where], system="Be brief.", extra_body={"temperature": 0},
        messages=say(f"text say={ANSWER} in=11 out=7 cache_read=5"),
    )  # fmt: skip
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].text == ANSWER  # type: ignore[union-attr]
    assert (message.role, message.model, message.stop_reason) == ("assistant", MODELS[where], "end_turn")
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (11, 7, 5)
    assert stream or message._request_id
    headers = {name.lower(): value for name, value in gate.sent(where)["headers"]}
    assert CLIENT_KEY not in str(headers) and "anthropic-version" not in headers


def test_text_of_all_scripts_in_pieces(client: anthropic.Anthropic, where: str) -> None:
    whole = both(client, False, model=MODELS[where], messages=say("text unicode=1 piece=3"))
    streamed = both(client, True, model=MODELS[where], messages=say("text unicode=1 piece=3"))
    assert [block.to_dict() for block in whole.content] == [block.to_dict() for block in streamed.content]


def loop(client: anthropic.Anthropic, stream: bool, model: str, script: str, **request: Any) -> Any:
    """A round of tools: asks, answers every call, and asks again. Gives the first reply."""
    messages: list[Any] = say(script)
    reply = both(client, stream, model=model, messages=messages, tools=[WEATHER, PING], **request)
    calls = [block for block in reply.content if block.type == "tool_use"]
    assert calls and reply.stop_reason == "tool_use"
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": ANSWER} for call in reversed(calls)]
    messages += [reply.to_param(), {"role": "user", "content": [*results, {"type": "text", "text": "Well?"}]}]
    messages[0] = {"role": "user", "content": PROMPT}
    after = both(client, stream, model=model, messages=messages, tools=[WEATHER, PING], **request)
    assert after.stop_reason == "end_turn", after
    return reply


@pytest.mark.parametrize("script", ["tools which=all", "tools which=all before=Looking. after=Done.", "tools which=ping"])
def test_the_whole_loop_of_tools(client: anthropic.Anthropic, where: str, stream: bool, script: str) -> None:
    reply = loop(client, stream, MODELS[where], script)
    for call in (block for block in reply.content if block.type == "tool_use"):
        assert call.input == {} or "city" in call.input


def test_thoughts_go_back_with_their_signatures(client: anthropic.Anthropic, gate: Gate, stream: bool) -> None:
    # The stand-in refuses a thought whose signature is not its own, and a call that has lost its thoughts.
    thinking = {"type": "enabled", "budget_tokens": 1024}
    reply = loop(client, stream, MODELS["bedrock"], "reasoning tool=1 redacted=1", thinking=thinking)
    assert [block.type for block in reply.content] == ["thinking", "redacted_thinking", "tool_use"]
    assert reply.content[0].thinking and reply.content[0].signature


def test_signatures_of_google_go_back_with_their_calls(client: anthropic.Anthropic, gate: Gate, stream: bool) -> None:
    # The stand-in refuses a call of Gemini 3 without the signature that it gave.
    reply = loop(client, stream, SIGNED, "tools which=all")
    assert reply.content[0].type == "thinking" and reply.content[0].signature.startswith("google:")
    sent = gate.requests("vertex")[-1]["body"]
    (signature,) = [
        part["thoughtSignature"] for content in sent["contents"] for part in content["parts"] if "thoughtSignature" in part
    ]
    assert reply.content[0].signature == f"google:{signature}"


@pytest.mark.parametrize("model", [MODELS["bedrock"], ADAPTIVE, MODELS["vertex"], SIGNED])
@pytest.mark.parametrize("thinking", [{"type": "enabled", "budget_tokens": 2000}, {"type": "adaptive"}, {"type": "disabled"}])
def test_every_model_takes_every_way_to_think(client: anthropic.Anthropic, model: str, thinking: Any) -> None:
    reply = both(
        client, False, model=model, thinking=thinking, output_config={"effort": "medium"}, messages=say("text")
    )  # fmt: skip
    assert reply.stop_reason == "end_turn"


def test_documents_pictures_and_marks_of_the_cache(gate: Gate, client: anthropic.Anthropic, where: str) -> None:
    mark: Any = {"cache_control": {"type": "ephemeral"}}
    content: Any = [
        {"type": "document", "title": "A_report.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Plain words."}, **mark},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURES["image/png"]}},
        {"type": "text", "text": PROMPT, **mark},
    ]
    client.messages.create(
        model=MODELS[where], max_tokens=100, tools=[WEATHER | mark], messages=[{"role": "user", "content": content}],
        system=[{"type": "text", "text": "Be brief.", **mark}],
    )  # fmt: skip
    body = gate.sent(where)["body"]
    if where == "bedrock":
        assert [next(iter(block)) for block in body["messages"][0]["content"]] == [
            "document", "document", "image", "cachePoint", "text", "cachePoint",
        ]  # fmt: skip
        assert "cachePoint" in body["system"][-1] and "cachePoint" in body["toolConfig"]["tools"][-1]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("error type=throttle", anthropic.RateLimitError),
        ("error type=unavailable", anthropic._exceptions.OverloadedError),
        ("error type=denied", anthropic.PermissionDeniedError),
        ("error type=invalid", anthropic.BadRequestError),
        ("raw kind=html", anthropic.InternalServerError),
    ],
)
def test_errors_raise_what_the_sdk_has_for_them(
    client: anthropic.Anthropic, where: str, stream: bool, script: str, kind: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        both(client, stream, model=MODELS[where], messages=say(script))
    body: Any = caught.value.body
    assert body["type"] == "error" and body["error"]["message"]
    assert body["request_id"] == caught.value.request_id


def test_a_request_that_cannot_be_meant_is_refused_by_its_path(gate: Gate, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\].content\[0\].source"):
        image: Any = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
        client.messages.create(model=MODELS["bedrock"], max_tokens=9, messages=[{"role": "user", "content": [image]}])
    with pytest.raises(anthropic.NotFoundError, match="model"):
        client.messages.create(model="nobody/knows", max_tokens=9, messages=say())
    gate.nothing_was_sent()


def test_a_stream_that_breaks_off_is_an_error_to_the_sdk(client: anthropic.Anthropic, gate: Gate) -> None:
    gate.expected_errors.append("a stream of")
    with pytest.raises(anthropic.APIStatusError):
        both(client, True, model=MODELS["bedrock"], messages=say("text size=400 fault=exception after=5"))


def test_the_beta_client_of_the_sdk_is_understood(client: anthropic.Anthropic, where: str) -> None:
    message = client.beta.messages.create(
        model=MODELS[where], max_tokens=100, messages=say("text say=Hello."), betas=["context-1m-2025-08-07"]
    )  # fmt: skip
    assert message.content[0].text == "Hello."  # type: ignore[union-attr]
