"""Every port records what it refuses, and every host of the examples has a port."""

from __future__ import annotations

import http.client
import json

import pytest

from .. import gateway
from .driver import StandIn
from .scripts import CLOUDS


@pytest.mark.parametrize("name", CLOUDS)
def test_a_request_of_no_api_is_refused_and_recorded(cloud: StandIn, name: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.ports[name], timeout=5)
    connection.request("POST", "/v0/nothing", b"{}", {"content-type": "application/json"})
    reply = connection.getresponse()
    assert reply.status in (404, 501) and "/v0/nothing" in str(json.loads(reply.read()))
    assert [(one["cloud"], one["kind"]) for one in cloud.refusals()] == [(name, "path")]
    assert [(one["outcome"], one["status"]) for one in cloud.requests(name)] == [("refused", reply.status)]


def test_clusters_go_to_the_stand_in_by_host(cloud: StandIn) -> None:
    config = gateway.load("gateway.yaml")
    hosts = {
        "api.anthropic.com": "anthropic", "api.openai.com": "openai", "bedrock-mantle.us-east-1.api.aws": "bedrock",
        "bedrock-runtime.eu-central-1.amazonaws.com": "bedrock", "aiplatform.googleapis.com": "vertex",
        "europe-west4-aiplatform.googleapis.com": "vertex", "metadata.google.internal": "metadata",
    }  # fmt: skip
    clusters = config["static_resources"]["clusters"]
    clusters[:] = []
    for host in hosts:
        address = {"socket_address": {"address": host, "port_value": 443}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        clusters.append({"name": host, "load_assignment": {"endpoints": endpoints}})
    gateway.localise(config, cloud.ports, clusters={"api.openai.com": 1}, port=2, admin_port=3)
    ports = {
        one["name"]: one["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        for one in clusters
    }
    assert ports.pop("api.openai.com") == {"address": "127.0.0.1", "port_value": 1}
    assert {host: one["port_value"] for host, one in ports.items()} == {
        host: cloud.ports[hosts[host]] for host in ports
    }
