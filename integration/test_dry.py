"""The dry run: what would be sent, through real Envoys; the README's example is one of them."""

from __future__ import annotations

import json
import shlex
from typing import Any

import anthropic
import openai
import pytest

from . import gateway
from .harness import CHAT, CLIENT_KEY, MODELS, PATIENCE, Gate, say
from .test_anthropic import WEATHER

DRY = {"x-fairlead-dry-run": "true"}


def shown(answer: Any) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    assert answer.headers["x-fairlead-dry-run"] == "true"
    return json.loads(answer.body)


def test_the_example_of_the_readme(gate: Gate) -> None:
    section = (gateway.ROOT / "README.md").read_text().split("### Debug a mapping")[1]
    command, expected = (section.split(f"```{kind}\n")[1].split("```")[0] for kind in ("sh", "json"))
    words = shlex.split(command.replace("\\\n", " "))
    headers = dict(words[index + 1].split(": ") for index, word in enumerate(words) if word == "-H")
    answer = gate.post(words[words.index("-d") + 1].encode(), headers)
    assert shown(answer) == json.loads(expected)
    gate.nothing_was_sent()


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_shown_is_what_is_sent(gate: Gate, where: str, stream: bool) -> None:
    body = {"model": MODELS[where], "messages": say(), "stream": stream, "user": "u", "temperature": 0.5}
    dry = shown(gate.post(body, DRY))
    gate.nothing_was_sent()
    gate.post(body)
    sent = gate.sent(where)
    assert dry["request"]["body"] == sent["body"]
    assert dry["request"]["path"] == sent["path"]
    assert set(dry["request"]["headers"]) == {name.lower() for name, _ in sent["headers"]} - {"host"}
    assert "user" in dry["left_out"]


def test_every_task_can_be_looked_at(gate: Gate, where: str) -> None:
    client = anthropic.Anthropic(base_url=gate.envoy.url, api_key=CLIENT_KEY, max_retries=0, timeout=PATIENCE)
    messages: Any = say()
    for call in (client.messages.with_raw_response.count_tokens, client.messages.with_raw_response.create):
        more: dict[str, Any] = {"max_tokens": 9} if call == client.messages.with_raw_response.create else {}
        raw = call(model=MODELS[where], messages=messages, tools=[WEATHER], extra_headers=DRY, **more)
        told = json.loads(raw.text())
        assert told["estimated_input_tokens"] > 350, "a tool has its price"
        assert "weather" in json.dumps(told["request"]["body"])
    gate.nothing_was_sent()


def test_errors_are_those_of_a_real_request(gate: Gate) -> None:
    with pytest.raises(openai.NotFoundError):
        gate.completions.create(model="nobody", messages=say(), extra_headers=DRY)
    with pytest.raises(openai.BadRequestError) as refused:
        gate.completions.create(model=MODELS["bedrock"], messages=say(), logit_bias={"1": 1}, extra_headers=DRY)
    assert refused.value.param == "logit_bias"


def test_false_is_no_dry_run(gate: Gate, where: str) -> None:
    gate.post({"model": MODELS[where], "messages": say()}, {"x-fairlead-dry-run": "false"}, CHAT)
    assert gate.sent(where)
