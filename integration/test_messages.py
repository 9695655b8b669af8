"""Claude asked in Anthropic's own dialect, in every edition of it, by clients of Anthropic and of OpenAI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest

from .cloud.anthropic import API_KEY
from .cloud.driver import StandIn
from .conftest import bedrock, cluster, running
from .harness import ANSWER, CLIENT_KEY, PATIENCE, PROMPT, Gate, say
from .test_anthropic import PING, WEATHER, both


@dataclass(frozen=True)
class Edition:
    """A way to Claude: the model's name at the gateway and at the edition, and which port of the stand-in plays it."""

    model: str
    full: str
    port: str


EDITIONS = {
    "own": Edition("anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5", "anthropic"),
    "invoke": Edition("invoke", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock"),
    "mantle": Edition("mantle", "bedrock/anthropic.claude-sonnet-4-5", "bedrock"),
    "vertex": Edition("vertex_ai/claude-sonnet-4-5@20250929", "vertex_ai/claude-sonnet-4-5@20250929", "vertex"),
}


def editions(plugin: dict[str, Any]) -> None:
    """Adds the backends and models that the gateway's own configuration does not have."""
    plugin["backends"] |= {
        "own": {
            "provider": "anthropic", "cluster": "anthropic", "credentials": {"source": "api_key", "api_key": API_KEY}
        },
        "invoke": bedrock("bedrock_us_east_1") | {"api": "invoke_model"},
        "mantle": bedrock("mantle") | {"api": "mantle"},
    }  # fmt: skip
    plugin["models"] += [{"name": "anthropic/*", "backend": "own"}] + [
        {"name": edition.model, "backend": edition.model, "model": edition.full}
        for edition in EDITIONS.values() if edition.model in ("invoke", "mantle")
    ]  # fmt: skip


@pytest.fixture(scope="module")
def common_gate(version: str, cloud: StandIn) -> Iterator[Gate]:
    def edit(config: dict[str, Any]) -> None:
        config["static_resources"]["clusters"] += [cluster("mantle")]

    clusters = {"mantle": cloud.ports["bedrock"]}
    with running(version, cloud, "messages", plugin=editions, edit=edit, clusters=clusters) as gate:
        yield gate


@pytest.fixture
def client(gate: Gate) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gate.envoy.url, api_key=CLIENT_KEY, max_retries=0, timeout=PATIENCE)


@pytest.fixture(params=list(EDITIONS))
def edition(request: pytest.FixtureRequest) -> Edition:
    return EDITIONS[request.param]


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_message_and_its_counts(gate: Gate, client: anthropic.Anthropic, edition: Edition, stream: bool) -> None:
    message = both(
        client, stream, model=edition.model, system="Be brief.", messages=say(f"text say={ANSWER} in=11 out=7 cache_read=5")
    )
    assert [block.text for block in message.content] == [ANSWER]  # type: ignore[union-attr]
    assert (message.role, message.stop_reason) == ("assistant", "end_turn")
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (11, 7, 5)
    sent = gate.sent(edition.port)
    assert CLIENT_KEY not in str(sent["headers"])
    assert sent["body"]["system"] == "Be brief."


def test_thoughts_and_calls_go_round(gate: Gate, client: anthropic.Anthropic, edition: Edition, stream: bool) -> None:
    # The stand-in refuses a thought whose signature is not its own, and a call that has lost its thoughts.
    request: Any = {
        "model": edition.model, "tools": [WEATHER, PING], "thinking": {"type": "enabled", "budget_tokens": 1024}
    }  # fmt: skip
    reply = both(client, stream, messages=say("reasoning tool=1 redacted=1"), **request)
    assert [block.type for block in reply.content] == ["thinking", "redacted_thinking", "tool_use"]
    assert reply.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": reply.content[2].id, "content": "18"}  # type: ignore[union-attr]
    messages = [
        {"role": "user", "content": PROMPT}, reply.to_param(),
        {"role": "user", "content": [result, {"type": "text", "text": f"[[script: text say={ANSWER}]]"}]},
    ]  # fmt: skip
    after = both(client, stream, messages=messages, **request)
    assert after.content[-1].text == ANSWER  # type: ignore[union-attr]


@pytest.mark.parametrize("model", ["vertex_ai/gemini-3-pro-preview", "vertex_ai/deepseek-ai/deepseek-r1-0528-maas"])
def test_a_conversation_moves_to_claude(
    gate: Gate, client: anthropic.Anthropic, edition: Edition, stream: bool, model: str
) -> None:
    request: Any = {"tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    reply = both(client, stream, model=model, messages=say("reasoning tool=1"), **request)
    call = reply.content[-1]
    assert reply.content[0].type == "thinking" and isinstance(call, anthropic.types.ToolUseBlock)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": f"[[script: text say={ANSWER}]]"}
    messages: Any = [{"role": "user", "content": PROMPT}, reply.to_param(), {"role": "user", "content": [result]}]
    raw = client.messages.with_raw_response.create(model=edition.model, max_tokens=4000, messages=messages, **request)
    assert raw.parse().content[0].text == ANSWER  # type: ignore[union-attr]
    assert raw.headers["x-fairlead-dropped"] == "messages[].content[].thinking, thinking"
    sent = gate.requests(edition.port)[-1]["body"]["messages"]
    assert [block["type"] for block in sent[1]["content"]] == ["tool_use"]
    assert sent[1]["content"][0]["id"] == sent[2]["content"][0]["tool_use_id"]


def test_fields_that_the_sdk_sends_in_headers(gate: Gate, client: anthropic.Anthropic, edition: Edition) -> None:
    raw = client.messages.with_raw_response.create(
        model=edition.model, max_tokens=9, messages=say(), user_profile_id="uprof_1", workspace_id="wrkspc_1"
    )
    left_out = {"own": "workspace_id", "mantle": "workspace_id"}
    key = next(key for key, known in EDITIONS.items() if known == edition)
    assert raw.headers["x-fairlead-dropped"] == left_out.get(key, "user_profile_id, workspace_id")
    headers = {name.lower(): value for name, value in gate.sent(edition.port)["headers"]}
    assert headers.get("anthropic-user-profile-id") == ("uprof_1" if key == "own" else None)
    assert gate.body(edition.port).get("user_profile_id") == ("uprof_1" if key == "mantle" else None)


def test_a_whole_request_is_marked_for_the_cache(gate: Gate, client: anthropic.Anthropic, edition: Edition) -> None:
    mark: Any = {"type": "ephemeral"}
    raw = client.messages.with_raw_response.create(
        model=edition.model, max_tokens=9, messages=say(), cache_control=mark
    )
    assert "x-fairlead-dropped" not in raw.headers
    body = gate.body(edition.port)
    if edition == EDITIONS["own"]:
        assert body["cache_control"] == mark
    else:
        assert "cache_control" not in body and body["messages"][-1]["content"][-1]["cache_control"] == mark


def test_a_count_takes_what_a_message_takes(gate: Gate, client: anthropic.Anthropic, edition: Edition) -> None:
    raw = client.messages.with_raw_response.count_tokens(
        model=edition.model, messages=say(), cache_control={"type": "ephemeral"}, user_profile_id="uprof_1"
    )
    assert raw.parse().input_tokens > 0
    known = edition in (EDITIONS["own"], EDITIONS["mantle"])
    assert raw.headers.get("x-fairlead-dropped") == (None if known else "user_profile_id")
    assert gate.sent(edition.port)


def test_bytes_of_a_message_pass(gate: Gate, edition: Edition) -> None:
    # A number that no float holds, in a member that the gateway never reads.
    messages = '[ {"role": "user", "content": "[[script: text say=Hello.]]"} ]'
    tools = '[{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"maximum": 123456789012345678901234567890123.0}}}}]'
    body = f'{{"model": "{edition.model}", "max_tokens": 9, "messages": {messages}, "tools": {tools}}}'
    answer = gate.post(body.encode(), path="/v1/messages", headers={"anthropic-version": "2023-06-01"})
    assert answer.status == 200, answer.body
    whole = json.loads(answer.body)
    assert whole["content"] == [{"type": "text", "text": "Hello."}]
    assert gate.sent(edition.port)["body_bytes"] >= len(messages) + len(tools)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("error type=throttle", anthropic.RateLimitError),
        ("error type=denied", anthropic.PermissionDeniedError),
        ("error type=invalid", anthropic.BadRequestError),
        ("raw kind=html", anthropic.InternalServerError),
    ],
)
def test_errors_raise_what_the_sdk_has_for_them(
    client: anthropic.Anthropic, edition: Edition, stream: bool, script: str, kind: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        both(client, stream, model=edition.model, messages=say(script))
    body: Any = caught.value.body
    assert body["type"] == "error" and body["error"]["message"]
    assert body["request_id"] == caught.value.request_id


@pytest.mark.parametrize("fault", ["exception", "cut", "end"])
def test_a_stream_that_breaks_off_is_an_error_to_the_sdk(
    client: anthropic.Anthropic, gate: Gate, edition: Edition, fault: str
) -> None:
    gate.expected_errors.append("a stream of")
    with pytest.raises(anthropic.APIStatusError):
        both(client, True, model=edition.model, messages=say(f"text size=400 fault={fault} after=5"))


def test_clients_of_openai_ask_in_every_edition(gate: Gate, edition: Edition, stream: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER["input_schema"]}}]
    request: Any = {
        "model": edition.model, "messages": say("tools which=all before=Looking. in=11 out=7"), "tools": tools,
        "reasoning_effort": "low", "max_completion_tokens": 8000, "parallel_tool_calls": False,
    }  # fmt: skip
    if stream:
        with gate.client.chat.completions.stream(**request) as events:
            events.until_done()
            choice = events.get_final_completion().choices[0]
    else:
        choice = gate.completions.create(**request).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Looking.")
    (call,) = choice.message.tool_calls
    assert call.function.name == "weather" and "city" in json.loads(call.function.arguments)
    body = gate.body(edition.port)
    assert body["thinking"]["type"] == "enabled"
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_clients_of_openai_see_errors_and_broken_streams(gate: Gate, edition: Edition) -> None:
    with pytest.raises(openai.RateLimitError):
        gate.completions.create(model=edition.model, messages=say("error type=throttle"))
    gate.expected_errors.append("a stream of")
    with pytest.raises(openai.APIError):
        list(gate.completions.create(model=edition.model, messages=say("text size=400 fault=cut after=5"), stream=True))


GUARD = {"guardrailIdentifier": "gr1abc", "guardrailVersion": "1", "trace": "enabled"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_guardrail_of_invoke_model_goes_in_signed_headers(gate: Gate, path: str, stream: bool) -> None:
    request = {
        "model": "invoke", "max_tokens": 100, "messages": say(), "stream": stream, "guardrailConfig": GUARD,
        "extra": {"performanceConfig": {"latency": "optimized"}, "requestMetadata": {"team": "blue"}, "serviceTier": {"type": "flex"}},
    }  # fmt: skip
    answer = gate.post(request, path=path)
    assert answer.status == 200 and "x-fairlead-dropped" not in answer.headers, answer
    sent = {name.lower(): value for name, value in gate.sent("bedrock")["headers"]}
    told = {name.removeprefix("x-amzn-bedrock-"): value for name, value in sent.items() if name.startswith("x-amzn-bedrock-")}
    assert told == {
        "guardrailidentifier": "gr1abc", "guardrailversion": "1", "trace": "ENABLED", "service-tier": "flex",
        "performanceconfig-latency": "optimized", "request-metadata": '{"team":"blue"}',
    }  # fmt: skip
    assert "guardrailConfig" not in gate.body("bedrock")


def test_what_a_guardrail_says_is_no_answer_of_the_model(gate: Gate, stream: bool) -> None:
    request: Any = {"model": "invoke", "messages": say("stop reason=guardrail_intervened say=No."), "extra_body": {"guardrailConfig": GUARD}}
    if stream:
        chunks = list(gate.completions.create(**request, stream=True))
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "content_filter"
    else:
        assert gate.completions.create(**request).choices[0].finish_reason == "content_filter"


def test_some_json_is_asked_for_in_words(gate: Gate, edition: Edition) -> None:
    request: Any = {"model": edition.model, "messages": say(), "response_format": {"type": "json_object"}}
    gate.completions.create(**request)
    (block,) = gate.body(edition.port)["system"]
    assert "JSON object" in block["text"]
