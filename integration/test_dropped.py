"""What is left out is counted in Envoy's metrics and named to the client, or refused where the operator says so."""

from __future__ import annotations

import re

import openai
import pytest

from .cloud.driver import StandIn
from .conftest import running
from .harness import MODELS, Gate, say

DIALECTS = {"bedrock": "converse", "vertex": "gemini"}


def counted(gate: Gate) -> dict[tuple[str, str], int]:
    """The counter as Prometheus reads it: field and upstream."""
    text = gate.admin("GET", "/stats/prometheus?filter=fairlead_dropped")
    found = re.findall(r'^fairlead_dropped_total\{field="([^"]*)",upstream="([^"]*)"\} (\d+)$', text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^[^#\n]", text, re.MULTILINE)), text
    return {(field, upstream): int(count) for field, upstream, count in found}


def test_what_is_left_out_is_counted_with_real_labels(gate: Gate, where: str) -> None:
    upstream = DIALECTS[where]
    fields = ["user", "other"] if where == "vertex" else ["seed", "user", "other"]
    before = counted(gate)
    for number in range(6):
        raw = gate.completions.with_raw_response.create(
            model=MODELS[where], messages=say(), seed=7, user="u", extra_body={f"x{number};field=y": 1}
        )
        assert raw.headers["x-fairlead-dropped"] == ", ".join([*fields[:-1], f"x{number};field=y"])
    after = counted(gate)
    more = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
    assert more == {(field, upstream): 6 for field in fields}
    assert not any(field.startswith("x0") for field, _ in after), "a client's own name became a label"


def test_a_gateway_that_leaves_nothing_out_names_all_that_it_would(version: str, cloud: StandIn) -> None:
    with running(version, cloud, "strict", plugin=lambda config: config.update(drop_params=False)) as gate:
        gate.fresh()
        for where, model in MODELS.items():
            with pytest.raises(openai.BadRequestError) as refused:
                gate.completions.create(model=model, messages=say(), user="u", extra_body={"xyzzy": 1})
            assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "user")
            assert "user, xyzzy: " in refused.value.message
            assert gate.requests(where) == []
            assert gate.completions.create(model=model, messages=say()).choices[0].message.content
        assert counted(gate) == {}
        gate.verify()
