"""Every script plays on both clouds, whole and streamed, without a fault of the stand-in itself."""

from __future__ import annotations


import pytest

from . import test_bedrock, test_vertex
from .driver import StandIn
from .sample import sample
from .scripts import FAULTS, SCRIPTS

LINES = [*(name + (" s=0.05" if name in ("hang", "reset") else "") for name in SCRIPTS)]
LINES += [f"text fault={fault} after={after} s=0.05" for fault in sorted(FAULTS) for after in (0, 2, 999)]
LINES += [
    "text size=300000 blocks=3",
    "text delay=20 drip=1 cut=50",
    "tools which=all repeat=3 args=empty interleaved=1",
    "tools args='{\"city\":\"Zürich\"}' piece=1",
    "reasoning redacted=1 tool=1",
    "reasoning signed=0",
    "frames n=50 each=1",
    "blocked",
    "stop reason=model_context_window_exceeded",
    "stop reason=guardrail_intervened say=",
    "raw kind=truncated",
    "raw kind=wrong",
    "text no_usage=1 eol=lf",
]


@pytest.mark.parametrize("line", LINES)
def test_a_script_plays_on_both_clouds_whole_and_streamed(cloud: StandIn, line: str) -> None:
    bedrock = test_bedrock.say(f"[[script: {line}]]", toolConfig={"tools": [test_bedrock.TOOL, test_bedrock.CLOCK]})
    vertex = test_vertex.say(f"[[script: {line}]]", tools=test_vertex.TOOLS)
    for path in ("/model/x.y/converse", "/model/x.y/converse-stream"):
        _tolerant(lambda: test_bedrock.post(cloud, bedrock, path=path))
    for path in (test_vertex.PATH, test_vertex.STREAM):
        _tolerant(lambda: test_vertex.post(cloud, vertex, path))
    assert cloud.refusals() == []
    assert [entry["script"] for entry in cloud.requests("bedrock") + cloud.requests("vertex")] == [line] * 4
    assert {entry["outcome"] for entry in cloud.requests("bedrock")} <= {"sent", "dropped"}


def _tolerant(call: object) -> None:
    try:
        call()
    except OSError:
        pass
    except Exception as error:
        assert type(error).__module__ == "http.client", error


def test_a_sample_fits_its_schema() -> None:
    schema = {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "type": "object",
        "properties": {
            "kind": {"const": "k"},
            "pick": {"enum": ["b", "a"]},
            "either": {"anyOf": [{"type": "integer", "maximum": 3}, {"type": "null"}]},
            "list": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
            "text": {"type": ["null", "string"], "maxLength": 3},
            "when": {"type": "string", "format": "date"},
            "node": {"$ref": "#/$defs/node"},
        },
    }
    made = sample(schema)
    assert made.pop("node").keys() == {"next"}
    assert made == {"kind": "k", "pick": "b", "either": 3, "list": [True, True], "text": "sam", "when": "2026-11-21"}
