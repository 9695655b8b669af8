"""Loops of tools as frameworks run them: Pydantic AI through both APIs, and the runner of Anthropic's SDK."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

import anthropic
import openai
import pydantic
import pytest
from pydantic_ai import Agent, AgentRunResult, ModelRetry, ModelSettings
from pydantic_ai.messages import ModelMessage, ThinkingPart, ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from .harness import ANSWER, CLIENT_KEY, MODELS, PATIENCE, PROMPT, Gate
from .test_chat import PICTURES
from .test_tools import SIGNED


@pytest.fixture(params=["openai", "anthropic"])
def api(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return request.param


def model(gate: Gate, api: str, name: str) -> Model:
    """The framework's client for one of our APIs."""
    common: dict[str, Any] = {"api_key": CLIENT_KEY, "max_retries": 0, "timeout": PATIENCE}
    if api == "openai":
        chat = openai.AsyncOpenAI(base_url=f"{gate.envoy.url}/v1", **common)
        return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=chat))
    messages = anthropic.AsyncAnthropic(base_url=gate.envoy.url, **common)
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=messages))


def traveller(gate: Gate, api: str, name: str, **more: Any) -> Agent[None, Any]:
    """An agent with three tools. What a tool returns asks the stand-in for the next step."""
    agent: Agent[None, Any] = Agent(model(gate, api, name), instructions="You plan journeys.", retries=3, **more)

    @agent.tool_plain
    def weather(city: str, days: int = 1) -> str:
        """The weather in a city.

        Args:
            city: Such as Zürich.
            days: How many days ahead.
        """
        return f"sun in {city} [[script:tools which=clock before='Now the time.']]"

    @agent.tool_plain
    def clock(zone: str | None = None) -> str:
        """The time."""
        return "noon [[script:tools which=trains]]"

    @agent.tool_plain
    def trains(at: list[int], options: dict[str, bool] | None = None) -> str:
        """The trains."""
        if not tried:
            tried.append(True)
            raise ModelRetry("no such train [[script:tools which=trains]]")
        return f"at nine [[script:{'tools which=final_result' if 'output_type' in more else f'text say={ANSWER}'}]]"

    tried: list[bool] = []
    return agent


def run(agent: Agent[None, Any], start: str, stream: bool, **more: Any) -> AgentRunResult[Any]:
    """Runs an agent to its end, each step whole or as a stream."""
    pieces: list[Any] = []

    async def watch(_: Any, events: AsyncIterable[Any]) -> None:
        pieces.extend([event async for event in events])

    result = agent.run_sync(start, event_stream_handler=watch if stream else None, **more)
    assert bool(pieces) == stream
    return result


def called(messages: list[ModelMessage]) -> list[str]:
    return [part.tool_name for message in messages for part in message.parts if isinstance(part, ToolCallPart)]


START = f"{PROMPT} [[script:tools which=weather]]"
STEPS = ["weather", "clock", "trains", "trains"]


def test_an_agent_reaches_its_end(gate: Gate, where: str, api: str, stream: bool) -> None:
    result = run(traveller(gate, api, MODELS[where]), START, stream)
    assert result.output == ANSWER
    assert called(result.all_messages()) == STEPS
    assert result.usage.requests == len(gate.requests(where)) == 5
    assert result.usage.input_tokens > 0 and result.usage.output_tokens > 0


class Journey(pydantic.BaseModel):
    """The plan."""

    stations: list[str]
    minutes: int | None


def test_an_agent_ends_with_a_checked_object(gate: Gate, where: str, api: str, stream: bool) -> None:
    result = run(traveller(gate, api, MODELS[where], output_type=Journey), START, stream)
    assert isinstance(result.output, Journey) and result.output.minutes == 7
    assert called(result.all_messages()) == [*STEPS, "final_result"]


THINKING = {
    "openai": {"bedrock": ModelSettings(extra_body={"reasoning_effort": "low"}), "vertex": ModelSettings()},
    "anthropic": dict.fromkeys(
        ("bedrock", "vertex"),
        AnthropicModelSettings(anthropic_thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=4000),
    ),
}


def test_an_agent_that_thinks_gives_its_thoughts_back(gate: Gate, where: str, api: str, stream: bool) -> None:
    # The stand-in refuses a call of Claude without its thoughts, and one of Gemini 3 without its signature.
    agent = traveller(gate, api, SIGNED if where == "vertex" else MODELS[where])
    result = run(agent, f"{PROMPT} [[script:reasoning tool=1]]", stream, model_settings=THINKING[api][where])
    assert result.output == ANSWER
    thoughts = [part for message in result.all_messages() for part in message.parts if isinstance(part, ThinkingPart)]
    assert thoughts and thoughts[0].content


def test_the_runner_of_anthropics_sdk_reaches_its_end(gate: Gate, where: str, stream: bool) -> None:
    calls: list[str] = []

    @anthropic.beta_tool
    def weather(city: str, days: int = 1) -> str:
        """The weather in a city.

        Args:
            city: Such as Zürich.
            days: How many days ahead.
        """
        calls.append("weather")
        return f"sun in {city} [[script:tools which=clock before='Now the time.']]"

    @anthropic.beta_tool
    def clock() -> list[Any]:
        """The time."""
        calls.append("clock")
        if calls.count("clock") == 1:
            raise ValueError("the clock stands still [[script:tools which=clock args=empty]]")
        image = {"type": "base64", "media_type": "image/png", "data": PICTURES["image/png"]}
        picture = [{"type": "image", "source": image}] if where == "bedrock" else []
        return [{"type": "text", "text": f"noon [[script:text say={ANSWER}]]"}, *picture]

    client = anthropic.Anthropic(base_url=gate.envoy.url, api_key=CLIENT_KEY, max_retries=0, timeout=PATIENCE)
    runner = client.beta.messages.tool_runner(
        model=MODELS[where], max_tokens=500, tools=[weather, clock], stream=stream,
        messages=[{"role": "user", "content": START}],
    )  # fmt: skip
    message = runner.until_done()
    assert [block.text for block in message.content] == [ANSWER]
    assert calls == ["weather", "clock", "clock"]
    assert len(gate.requests(where)) == 4
