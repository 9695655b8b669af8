"""Whatever valid request comes, it is translated without loss, or refused by the path of a field that it has."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from ..harness import Answer, Gate
from . import chat, embeddings, images, messages
from .dice import MARK, Dice
from .typed import Maker, fields

#: Requests of each dialect to each cloud; `FAIRLEAD_REQUESTS=5000` looks further.
REQUESTS = int(os.environ.get("FAIRLEAD_REQUESTS", 250))

DIALECTS = (chat, messages, embeddings, images)

#: Texts that only tie other things together or label them, for the clouds that need none.
LABELS = frozenset(
    {
        "messages[].tool_calls[].id", "messages[].tool_call_id", "messages[].content[].id", "messages[].content[].tool_use_id",
        "response_format.json_schema.name",
    }
)  # fmt: skip

#: Notes of schemas for Gemini that others stand before: of a schema within `allOf` beside its owner's own, and of
#: parameters that there are none of.
NOTES = re.compile(r"tools\[\].*(\.allOf\[\]\.description|\.(parameters|input_schema)\.title)")

#: What names of models begin with, and which port of the stand-in hears of them. Names without a prefix are those of
#: `conftest.more_backends`.
PREFIX = {"bedrock": "bedrock/", "vertex": "vertex_ai/", "openai": "openai/", "anthropic": "anthropic/", "claude": ""}
PORT = {"claude": "bedrock"}


def name(dialect: ModuleType) -> str:
    return dialect.__name__.rpartition(".")[2]


@pytest.fixture(params=DIALECTS, ids=name)
def dialect(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


#: Every dialect, and who takes it.
PAIRS = [(dialect, where) for dialect in DIALECTS for where in dialect.MODELS]


def request(dialect: ModuleType, where: str, seed: int) -> dict[str, Any]:
    dice = Dice(seed)
    model = PREFIX[where] + dice.choice(dialect.MODELS[where])
    return dialect.request(dice, Maker(dice, dialect.RULES, dialect.WEIGHTS), model)


@pytest.mark.parametrize(("dialect", "where"), PAIRS, ids=[f"{name(dialect)}-{where}" for dialect, where in PAIRS])
def test_any_valid_request_is_translated_or_refused_by_a_path_that_it_has(
    gate: Gate, where: str, dialect: ModuleType
) -> None:
    statuses: Counter[int] = Counter()
    faults: dict[str, list[int]] = {}
    for seed in range(REQUESTS):
        status, fault = outcome(gate, where, dialect, request(dialect, where, seed))
        statuses[status] += 1
        if fault:
            faults.setdefault(alike(fault), []).append(seed)
    report = [explain(gate, where, dialect, fault, seeds) for fault, seeds in faults.items()]
    # What the stand-in has refused is told here, with the request.
    gate.cloud.reset()
    assert not faults, f"{statuses}\n" + "\n\n".join(report)
    # OpenAI's models take whatever OpenAI's types allow.
    takes_all = dialect is embeddings and where == "openai"
    assert statuses[200] > REQUESTS / 8 and (takes_all or statuses[400] > REQUESTS / 20), statuses


def outcome(gate: Gate, where: str, dialect: ModuleType, body: dict[str, Any]) -> tuple[int, str | None]:
    """The status of the reply, and what is wrong with it."""
    answer = gate.post(body, path=dialect.PATH)
    if answer.status == 200:
        if b'"error"' in answer.body and json.loads(answer.body.splitlines()[-1].removeprefix(b"data: ")).get("error"):
            return answer.status, f"a broken stream: {answer.body[-300:].decode()}"
        calls = gate.cloud.requests(PORT.get(where, where), int(answer.headers["x-fairlead-attempts"]))
        return answer.status, loss(body, [call["body"] for call in calls], answer)
    error = json.loads(answer.body)["error"]
    if passes(dialect, body) and gate.cloud.refusals():
        # The body is the client's own, and whose API it is has refused it: in words about something that is in it.
        refused = gate.cloud.refusals()
        gate.cloud.reset()
        kinds = {one["kind"] for one in refused}
        named = is_named(error, body) and answer.status == 400 and kinds <= {"rule", "shape"}
        return answer.status, None if named else f"{answer.status} {error['message']} ({refused})"
    # Anthropic's errors have no member for it.
    param = error["param"] if "param" in error else error["message"].partition(": ")[0]
    parent = param.rpartition(".")[0] if isinstance(param, str) and "is missing" in error["message"] else param
    if answer.status != 400 or not isinstance(param, str) or not exists(parent, body):
        refused = gate.cloud.refusals()
        gate.cloud.reset()
        return answer.status, f"{answer.status} {error['message']} (param {param!r}; {[one['detail'] for one in refused]})"
    return answer.status, None


def passes(dialect: ModuleType, body: dict[str, Any]) -> bool:
    """Whether the model is asked in the dialect of the client, so that what it says leaves as it came."""
    model = body["model"]
    if dialect is messages:
        return "claude" in model or model in ("invoke", "mantle")
    return model.startswith("openai/") or dialect is chat and model.startswith("vertex_ai/") and model.count("/") == 2


def is_named(error: dict[str, Any], body: dict[str, Any]) -> bool:
    """Whether an error speaks of a field that the request has, or of one that goes with it."""
    words = set(re.findall(r"[a-z_]+", f"{error['message']} {error.get('param')}"))
    return bool(words & {word for path, text in leaves(body) for word in [*re.findall(r"[a-z_]+", path), text]})


def exists(path: str, body: Any) -> bool:
    """Whether a request has the field of a path such as `messages[0].content`."""
    for step in re.findall(r"[^.\[\]]+|\[\d+\]", path):
        try:
            body = body[int(step[1:-1])] if step.startswith("[") else body[step]
        except (LookupError, TypeError):
            return False
    return True


def loss(body: dict[str, Any], sent: Any, answer: Answer) -> str | None:
    """A text of the request that did not arrive at the cloud and that no header names."""
    arrived = set(MARK.findall(json.dumps(sent, ensure_ascii=False)))
    for text in strings(sent):
        try:  # Documents go in base64.
            arrived |= set(MARK.findall(base64.b64decode(text, validate=True).decode()))
        except (binascii.Error, ValueError):
            pass
    # Where the choice leaves only some of the tools, or none, the others need not be offered.
    choice = body.get("tool_choice")
    kinds = ("none", "function", "tool", "allowed_tools")
    chosen = choice == "none" or isinstance(choice, dict) and choice["type"] in kinds
    dropped = answer.headers.get("x-fairlead-dropped", "").split(", ")
    for path, text in leaves(body):
        if path in LABELS or NOTES.fullmatch(path) or chosen and path.startswith("tools[]"):
            continue
        named = any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in dropped)
        for mark in MARK.findall(text):
            if mark not in arrived and not named:
                return f"lost: {path} (dropped: {dropped})"
    return None


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string with its path; members of lists are `[]`."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield path, name
            yield from leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")


def strings(value: Any) -> Iterator[str]:
    return (text for _, text in leaves(value))


def alike(fault: str) -> str:
    """The same for faults of one kind, whatever the place and the words of the request."""
    return re.sub(r"mk\d+q|\d+|'[^']*'", "#", fault.split(" (")[0])


def explain(gate: Gate, where: str, dialect: ModuleType, fault: str, seeds: list[int]) -> str:
    """A fault with the smallest request that has it."""

    def still(body: Any) -> bool:
        found = outcome(gate, where, dialect, body)[1]
        return found is not None and alike(found) == fault

    body = smallest(request(dialect, where, seeds[0]), still)
    found = outcome(gate, where, dialect, body)[1]
    return f"{found}\n  seeds {seeds[:12]} of {len(seeds)}, the first reduced to\n  {json.dumps(body, ensure_ascii=False)}"


def smallest(body: Any, still: Callable[[Any], bool]) -> Any:
    """Takes away members as long as the fault stays."""
    shrunk = True
    while shrunk:
        shrunk = False
        for path in sorted(containers(body), key=len):
            without = json.loads(json.dumps(body))
            inside = without
            for step in path[:-1]:
                inside = inside[step]
            del inside[path[-1]]
            if path != ("model",) and still(without):
                body, shrunk = without, True
                break
    return body


def containers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all members of objects and lists."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in members:
        yield (*path, step)
        yield from containers(inner, (*path, step))


def test_every_documented_field_comes_up(dialect: ModuleType) -> None:
    made: set[str] = set()
    for seed in range(500):
        dice = Dice(seed)
        # Without weights: the rare comes as often as the common.
        maker = Maker(dice, dialect.RULES, {}, optional=0.5)
        dialect.request(dice, maker, "any")
        made |= maker.made
    missing = sorted(fields(dialect.REQUEST, dialect.SKIP) - made)
    assert not missing
