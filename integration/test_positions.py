"""The clients' tests once more, with a gate and its tries in place of the one position: no client sees a difference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .cloud.driver import StandIn
from .conftest import ROUTE_IDLE, routes, running
from .harness import BACKENDS, VERTEX, Gate
from .test_chat import *  # noqa: F403
from .test_stream import *  # noqa: F403
from .test_tools import *  # noqa: F403


@pytest.fixture(scope="module")
def two_positions(version: str, cloud: StandIn) -> Iterator[Gate]:
    def edit(config: dict[str, Any]) -> None:
        for route in routes(config)[:2]:
            route["route"]["idle_timeout"] = ROUTE_IDLE
        for cluster in config["static_resources"]["clusters"]:
            # These tests break backends on purpose, one after another.
            cluster.pop("outlier_detection", None)

    def plugin(config: dict[str, Any]) -> None:
        name = {"name": "gemini-flash", "backend": BACKENDS["vertex"], "model": VERTEX}
        config["models"].append(name)

    with running(version, cloud, "positions", plugin=plugin, edit=edit, file="fallback.yaml") as gate:
        yield gate


@pytest.fixture
def gate(two_positions: Gate) -> Iterator[Gate]:
    two_positions.fresh()
    yield two_positions
    two_positions.verify()
