"""A stand-in for each file of its own tests, as new before each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .driver import StandIn


@pytest.fixture(scope="module")
def cloud() -> Iterator[StandIn]:
    with StandIn() as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> None:
    if "cloud" in request.fixturenames:
        request.getfixturevalue("cloud").reset()
