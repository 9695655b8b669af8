"""What goes on from the gate to Envoy's router and to a cluster: nothing of the client's headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .cloud.driver import StandIn
from .conftest import running
from .harness import BEDROCK, CLIENT_KEY, Gate, say


@pytest.fixture(scope="module")
def gate(version: str, cloud: StandIn) -> Iterator[Gate]:
    def edit(config: dict[str, Any]) -> None:
        for cluster in config["static_resources"]["clusters"]:
            if cluster["name"] == "only_vertex":
                # The operator has forgotten the filter.
                del cluster["typed_extension_protocol_options"]
        (listener,) = config["static_resources"]["listeners"]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        # Whoever comes from such an address is one of the operator's own, as many networks have it.
        manager["internal_address_config"] = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}

    with running(version, cloud, "headers", edit=edit, file="fallback.yaml") as gate:
        yield gate


@pytest.fixture(autouse=True)
def fresh(gate: Gate) -> Iterator[None]:
    gate.fresh()
    yield
    gate.verify()


#: Envoy's router takes orders by these from whoever it takes for one of its own.
ORDERS = {
    "x-forwarded-for": "10.0.0.1",
    "x-envoy-internal": "true",
    "x-envoy-retry-on": "retriable-status-codes",
    "x-envoy-retriable-status-codes": "200",
    "x-envoy-max-retries": "5",
}


def test_a_client_does_not_make_envoy_ask_a_cloud_again(gate: Gate) -> None:
    assert gate.post({"model": BEDROCK, "messages": say()}, ORDERS).status == 200
    assert len(gate.requests("bedrock")) == 1


def test_where_a_cluster_lacks_its_filter_the_cloud_does_not_hear_the_clients_keys(gate: Gate) -> None:
    gate.refusals_expected = True
    headers = {"authorization": f"Bearer {CLIENT_KEY}", "cookie": "cookie-canary", "x-api-key": "key-canary"}
    answer = gate.post({"model": "vertex_ai/gemini-2.5-flash", "messages": say()}, headers)
    assert answer.status >= 400, answer.body
    for request in gate.requests("vertex"):
        text = json.dumps(request["headers"])
        assert not [canary for canary in (CLIENT_KEY, "cookie-canary", "key-canary") if canary in text], text
