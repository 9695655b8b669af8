"""Models that differ in what they take, asked by OpenAI's client: the stand-in refuses what the real ones refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .harness import Gate, say

#: As clients write schemas by hand: open, with bounds, with a reference.
REVIEW: dict[str, Any] = {
    "type": "object",
    "properties": {
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "maxItems": 3, "items": {"$ref": "#/$defs/Tag"}},
    },
    "required": ["stars", "tags"],
    "$defs": {"Tag": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
}

WEATHER: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]

CLAUDES = [
    "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0",
    "vertex_ai/claude-sonnet-4-5@20250929",
    "vertex_ai/claude-sonnet-4@20250514",
    "invoke",
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [*CLAUDES, "bedrock/us.amazon.nova-pro-v1:0", "bedrock/qwen.qwen3-32b-v1:0"])
def test_an_answer_fits_a_schema_that_was_not_made_for_the_cloud(gate: Gate, model: str, stream: bool) -> None:
    shape: Any = {"type": "json_schema", "json_schema": {"name": "review", "schema": REVIEW}}
    reply = gate.completions.create(model=model, messages=say(), response_format=shape, stream=stream)
    if stream:
        chunks = [chunk.choices[0] for chunk in reply if chunk.choices]
        content, finish = "".join(one.delta.content or "" for one in chunks), chunks[-1].finish_reason
    else:
        content, finish = reply.choices[0].message.content, reply.choices[0].finish_reason
        assert reply.choices[0].message.tool_calls is None
    assert set(json.loads(content)) == {"stars", "tags"}
    assert finish == "stop"


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("bedrock/global.anthropic.claude-opus-5", "none"),
        ("bedrock/global.anthropic.claude-opus-5-5", "none"),
        ("bedrock/global.anthropic.claude-sonnet-5-5", "none"),
        ("vertex_ai/claude-sonnet-5-5", "none"),
        ("vertex_ai/claude-opus-5", "max"),
        ("vertex_ai/claude-opus-4-8", "none"),
        ("bedrock/us.amazon.nova-2-lite-v1:0", "high"),
        ("bedrock/openai.gpt-5.6-terra", "max"),
        ("vertex_ai/gemini-3.8-flash", "none"),
        ("vertex_ai/gemini-3-flash-preview", "minimal"),
    ],
)
def test_every_model_takes_every_effort(gate: Gate, model: str, effort: Any) -> None:
    gate.completions.create(
        model=model, messages=say(), reasoning_effort=effort, temperature=0.3, presence_penalty=1, tools=WEATHER
    )


@pytest.mark.parametrize("effort", ["low", "max"])
def test_newer_claudes_think_and_call_what_they_must(gate: Gate, effort: Any) -> None:
    model = "bedrock/global.anthropic.claude-opus-5"
    gate.completions.create(
        model=model, messages=say("tools"), reasoning_effort=effort, tools=WEATHER, tool_choice="required"
    )
    body = gate.body("bedrock")
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["outputConfig"]["effort"] == effort


def test_a_film_reaches_a_model_that_watches(gate: Gate) -> None:
    film = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAAGGZ0eXBtcDQyAAAAAG1wNDJpc29t"}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, film]}]
    gate.completions.create(model="bedrock/us.amazon.nova-lite-v1:0", messages=messages)
    block = gate.body("bedrock")["messages"][0]["content"][1]
    assert block["video"]["format"] == "mp4"
