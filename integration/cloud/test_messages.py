"""The Messages API of the stand-in, asked by Anthropic's own clients for each edition, and what it refuses."""

from __future__ import annotations

import http.client
import json
from typing import Any

import anthropic
import pytest
from anthropic.lib.bedrock import AnthropicBedrockMantle

from . import sigv4
from .anthropic import API_KEY
from .driver import StandIn
from .messages_shapes import check_body
from .messages import Own
from .replies import seal
from .strict import Refused

SDK_HEADERS = ["user-agent", "accept-encoding", "x-stainless-lang", "x-stainless-package-version", "x-stainless-os",
               "x-stainless-arch", "x-stainless-runtime", "x-stainless-runtime-version", "x-stainless-async",
               "x-stainless-retry-count", "x-stainless-timeout", "x-stainless-read-timeout", "x-stainless-helper",
               "x-stainless-helper-method", "x-stainless-stream-helper", "anthropic-version", "x-api-key"]  # fmt: skip

WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def bedrock(cloud: StandIn) -> tuple[Any, str]:
    # Its signatures cover headers that may be rewritten on the way.
    client = anthropic.AnthropicBedrock(
        api_key=sigv4.BEARER, aws_region="us-east-1", base_url=f"http://127.0.0.1:{cloud.ports['bedrock']}", max_retries=0,
    )  # fmt: skip
    # Without a colon, which the SDK leaves in the path as it is.
    return client, "us.anthropic.claude-opus-4-5"


def mantle(cloud: StandIn) -> tuple[Any, str]:
    client = AnthropicBedrockMantle(
        api_key=sigv4.BEARER, aws_region="us-east-1", base_url=f"http://127.0.0.1:{cloud.ports['bedrock']}/anthropic",
        max_retries=0,
    )  # fmt: skip
    return client, "anthropic.claude-sonnet-4-5"


def vertex(cloud: StandIn) -> tuple[Any, str]:
    client = anthropic.AnthropicVertex(
        region="us-central1", project_id="my-project", access_token=cloud.control("POST", "/tokens/issue")["access_token"],
        base_url=f"http://127.0.0.1:{cloud.ports['vertex']}/v1", max_retries=0,
    )  # fmt: skip
    return client, "claude-sonnet-4-5@20250929"


def own(cloud: StandIn) -> tuple[Any, str]:
    client = anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{cloud.ports['anthropic']}", max_retries=0, api_key="unused",
        default_headers={"x-api-key": API_KEY, "authorization": anthropic.Omit()},
    )  # fmt: skip
    return client, "claude-sonnet-4-5-20250929"


#: The versions of 2023, which the SDK of 2026 must be told.
VERSIONS = {"bedrock": "bedrock-2023-05-31", "vertex": "vertex-2023-10-16"}


@pytest.fixture(params=[bedrock, mantle, vertex, own], ids=lambda make: make.__name__)
def asked(request: Any, cloud: StandIn) -> Any:
    """A function that sends a conversation through an SDK, whole or streamed."""
    cloud.config(allow_headers=SDK_HEADERS)
    client, model = request.param(cloud)
    edition = request.param.__name__

    def ask(script: str, stream: bool, **more: Any) -> Any:
        body = {"max_tokens": 2000, "messages": [{"role": "user", "content": f"Hi [[script: {script}]]"}]} | more
        if edition in VERSIONS:
            body["extra_body"] = {"anthropic_version": VERSIONS[edition]}
        else:
            body["extra_headers"] = {"anthropic-version": "2023-06-01"}
        if not stream:
            return client.messages.create(model=model, **body)
        with client.messages.stream(model=model, **body) as events:
            return events.get_final_message()

    yield ask
    assert cloud.refusals() == []


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_own_clients_understand_every_edition(asked: Any, stream: bool) -> None:
    message = asked("text say=Hello. in=3 out=2 cache_read=5", stream)
    assert (message.content[0].text, message.stop_reason) == ("Hello.", "end_turn")
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (3, 2, 5)
    message = asked("tools which=all before=Look.", stream, tools=[WEATHER])
    assert [block.type for block in message.content] == ["text", "tool_use"] and message.stop_reason == "tool_use"
    assert message.content[1].input == {"city": "sample city Ä😀"}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = asked("reasoning redacted=1", stream, thinking=thinking)
    assert [block.type for block in message.content] == ["thinking", "redacted_thinking", "text"]
    messages = [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": message.to_dict()["content"]},
        {"role": "user", "content": "And? [[script: text say=Yes.]]"},
    ]  # fmt: skip
    assert asked("", stream, thinking=thinking, messages=messages).content[0].text == "Yes."


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_those_of_the_sdk(asked: Any, stream: bool) -> None:
    with pytest.raises(anthropic.RateLimitError):
        asked("error type=throttle retry_after=3", stream)
    with pytest.raises(anthropic.BadRequestError):
        asked("error type=invalid message=no", stream)


def test_a_stream_breaks_off_with_an_error_event(asked: Any) -> None:
    with pytest.raises(anthropic.APIError):
        asked("text size=100 fault=sse_error after=4 type=unavailable", True)


def post(cloud: StandIn, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """What a gateway would send to Anthropic."""
    connection = http.client.HTTPConnection("127.0.0.1", cloud.ports["anthropic"], timeout=5)
    given = {"content-type": "application/json", "x-api-key": API_KEY, "anthropic-version": "2023-06-01"}
    connection.request("POST", "/v1/messages", json.dumps(body), given | (headers or {}))
    reply = connection.getresponse()
    answer = reply.status, json.loads(reply.read())
    connection.close()
    return answer


def say(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-4-5", "max_tokens": 2000, "messages": list(messages)} | more


HELLO = {"role": "user", "content": "Hello"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "18"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": seal("Hm.")}
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": [WEATHER]}


def turn(*blocks: Any, role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


REFUSED = {
    "unknown field": (say(HELLO, frobnicate=1), "frobnicate: Extra inputs are not permitted"),
    "field of a beta feature alone": (say(HELLO, context_management={"edits": []}), "context_management: Extra inputs"),
    "unknown member of a block": (say(turn({"type": "text", "text": "a", "x": 1}, role="user")), "content.0.x: Extra"),
    "unknown type of a block": (say(turn({"type": "texts"}, role="user")), "Input tag 'texts'"),
    "no max_tokens": ({"model": "claude-sonnet-4-5", "messages": [HELLO]}, "max_tokens: Field required"),
    "blank text": (say(turn({"type": "text", "text": " "}, role="user")), "non-whitespace"),
    "a reply first": (say({"role": "assistant", "content": "Hi"}), "first message"),
    "a call without its result": (say(HELLO, turn(CALL), HELLO, tools=[WEATHER]), "without `tool_result`"),
    "a result without its call": (say(turn(RESULT, role="user"), tools=[WEATHER]), "unexpected `tool_use_id`"),
    "a result behind text": (
        say(HELLO, turn(CALL), turn({"type": "text", "text": "a"}, RESULT, role="user"), tools=[WEATHER]), "come first"
    ),
    "calls without tools": (say(HELLO, turn(CALL), turn(RESULT, role="user")), "must define tools"),
    "a choice without tools": (say(HELLO, tool_choice={"type": "auto"}), "while providing tools"),
    "a choice of no tool": (say(HELLO, tools=[WEATHER], tool_choice={"type": "tool", "name": "x"}), "not found"),
    "a call without its thought": (say(HELLO, turn(CALL), turn(RESULT, role="user"), **THINKS), "Expected `thinking`"),
    "a forged signature": (
        say(HELLO, turn(THOUGHT | {"signature": "c2ln"}, CALL), turn(RESULT, role="user"), **THINKS), "Invalid `signature`"
    ),
    "a changed thought": (
        say(HELLO, turn(THOUGHT | {"thinking": "Hm!"}, CALL), turn(RESULT, role="user"), **THINKS), "Invalid `signature`"
    ),
    "a budget without room": (say(HELLO, thinking={"type": "enabled", "budget_tokens": 2000}), "must be greater than"),
    "a temperature while thinking": (say(HELLO, temperature=0.5, **THINKS), "may only be set to 1"),
    "thinking by itself on an older model": (say(HELLO, thinking={"type": "adaptive"}), "not supported on this model"),
    "five marks of the cache": (
        say(turn(*[{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}] * 5, role="user")), "maximum of 4"
    ),
    "an id with a dot": (
        say(HELLO, turn(CALL | {"id": "a.b"}), turn(RESULT | {"tool_use_id": "a.b"}, role="user"), tools=[WEATHER]),
        "should match pattern",
    ),
    "a stop of white space": (say(HELLO, stop_sequences=["\n"]), "non-whitespace"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_api_refuses_is_refused_in_its_words(cloud: StandIn, name: str) -> None:
    cloud.config(allow_headers=["accept-encoding"])
    body, words = REFUSED[name]
    status, error = post(cloud, body)
    assert (status, error["type"], error["error"]["type"]) == (400, "error", "invalid_request_error"), error
    assert words in error["error"]["message"], error
    assert len(cloud.refusals()) == 1


@pytest.mark.parametrize(
    "headers",
    [{"x-api-key": "sk-wrong"}, {"anthropic-version": "2026-10-21"}, {"authorization": "Bearer x"}, {"x-forwarded-for": "1"}],
)
def test_a_wrong_header_is_refused(cloud: StandIn, headers: dict[str, str]) -> None:
    cloud.config(allow_headers=["accept-encoding"])
    status, error = post(cloud, say(HELLO), headers)
    assert status in (400, 401) and error["type"] == "error"
    assert len(cloud.refusals()) == 1


def test_what_the_types_allow_is_allowed() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    body = say(
        turn(image, {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}, role="user"),
        turn(THOUGHT, CALL), turn(RESULT | {"content": [image], "is_error": True}, role="user"),
        system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        tools=[WEATHER | {"strict": True}], tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        metadata={"user_id": "u"}, temperature=1, stop_sequences=["x"], stream=True,
    )  # fmt: skip
    check_body(body, Own.top)
    with pytest.raises(Refused):
        check_body(body | {"max_tokens": "1"}, Own.top)
