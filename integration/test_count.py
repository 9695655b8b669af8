"""Counting tokens, as applications do it through Anthropic's SDK."""

from __future__ import annotations

import anthropic
import pytest

from .harness import CLIENT_KEY, MODELS, PATIENCE, PROMPT, Gate, say
from .test_anthropic import PING, WEATHER

PATHS = {
    "bedrock": "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/count-tokens",
    "vertex": "/v1/projects/my-project/locations/us-central1/publishers/google/models/gemini-2.5-flash:countTokens",
}


@pytest.fixture
def client(gate: Gate) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gate.envoy.url, api_key=CLIENT_KEY, max_retries=0, timeout=PATIENCE)


def test_a_conversation_is_counted_by_its_cloud(gate: Gate, client: anthropic.Anthropic, where: str) -> None:
    model = MODELS[where]
    count = client.messages.count_tokens(
        model=model, system="Be brief.", messages=[{"role": "user", "content": f"{PROMPT} and three more"}]
    )  # fmt: skip
    assert count.input_tokens == 6
    assert gate.sent(where)["path"] == PATHS[where]


def test_all_that_a_conversation_holds_is_counted(gate: Gate, client: anthropic.Anthropic, where: str) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
    raw = client.beta.messages.with_raw_response.count_tokens(
        model=MODELS[where], betas=["token-counting-2024-11-01"],
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": f"{PROMPT} weather?"}]},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny."}]},
        ],
        tools=[WEATHER, PING], tool_choice={"type": "auto"}, thinking={"type": "enabled", "budget_tokens": 1024},
        output_config={"effort": "low"},
    )  # fmt: skip
    assert raw.parse().input_tokens > 5
    # That tokens are to be counted, which the SDK says as an experimental feature too, is not lost.
    assert "anthropic-beta" not in raw.headers.get("x-fairlead-dropped", "")
    assert raw.headers["x-fairlead-backend"].startswith(where)
    body = gate.body(where)
    assert set(body) == ({"input"} if where == "bedrock" else {"contents", "systemInstruction", "tools", "generationConfig"})


def test_the_path_without_the_version_counts_too(gate: Gate, where: str) -> None:
    body = {"model": MODELS[where], "messages": say()}
    answer = gate.post(body, path="/messages/count_tokens?beta=true")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.body == b'{"input_tokens":1}'


def test_a_model_that_bedrock_does_not_count_for_gets_bedrocks_reason(gate: Gate, client: anthropic.Anthropic) -> None:
    gate.refusals_expected = True
    with pytest.raises(anthropic.BadRequestError, match="doesn't support counting tokens"):
        client.messages.count_tokens(model="bedrock/us.amazon.nova-lite-v1:0", messages=[{"role": "user", "content": "Hi"}])


def test_errors_are_those_of_anthropics_api(gate: Gate, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="nobody", messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        client.messages.count_tokens(model=MODELS["bedrock"], messages=[])
    gate.nothing_was_sent()
    gate.force("error type=throttle")
    with pytest.raises(anthropic.RateLimitError):
        client.messages.count_tokens(model=MODELS["vertex"], messages=[{"role": "user", "content": "Hi"}])


#: Where every edition of Anthropic's own dialect counts, and the name of the model there.
EDITIONS = {
    "anthropic/claude-sonnet-4-5": ("anthropic", "/v1/messages/count_tokens", "claude-sonnet-4-5"),
    "mantle": ("bedrock", "/anthropic/v1/messages/count_tokens", "anthropic.claude-sonnet-4-5"),
    "vertex_ai/claude-sonnet-4-5@20250929": (
        "vertex", "/v1/projects/my-project/locations/us-central1/publishers/anthropic/models/count-tokens:rawPredict",
        "claude-sonnet-4-5@20250929",
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", EDITIONS)
def test_every_edition_of_anthropics_dialect_counts(gate: Gate, client: anthropic.Anthropic, model: str) -> None:
    port, path, name = EDITIONS[model]
    count = client.messages.count_tokens(
        model=model, system="Be brief.", messages=[{"role": "user", "content": f"{PROMPT} and three more"}], tools=[PING]
    )  # fmt: skip
    assert count.input_tokens == 6
    sent = gate.sent(port)
    assert (sent["path"], sent["body"]["model"]) == (path, name)


def test_invoke_model_is_counted_by_bedrocks_own_count(gate: Gate, client: anthropic.Anthropic) -> None:
    count = client.messages.count_tokens(model="invoke", messages=[{"role": "user", "content": f"{PROMPT} and more"}])
    assert count.input_tokens == 3
    assert gate.sent("bedrock")["path"].endswith("/count-tokens")
