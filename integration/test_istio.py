"""envoy/istio/: of the shape that Istio publishes, and at work in the configuration that Istio makes of it."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import gateway
from .cloud.anthropic import API_KEY as ANTHROPIC_KEY
from .cloud.driver import StandIn
from .cloud.embeddings import vector
from .conftest import running
from .harness import ANSWER, BEDROCK, CHAT, CLIENT_KEY, MODELS, Gate, events, say
from .istio import attempts, shape
from .istio.effective import effective, proxy_headers, read
from .test_config import validate

FOLDER = gateway.ROOT / "envoy" / "istio"
MESH = FOLDER / "mesh.yaml"
VALUES = FOLDER / "gateway-values.yaml"
HEADERS = proxy_headers(VALUES)

#: All but the values of the gateway's chart.
RESOURCES = sorted(path for path in FOLDER.glob("**/*.yaml") if not path.name.endswith("values.yaml"))

#: Ways to run fairlead in Istio: files that are applied together with mesh.yaml.
WAYS = ["wasmplugin", "envoyfilter"]


def made(way: str) -> dict[str, Any]:
    return effective(read(MESH, FOLDER / f"{way}.yaml"), HEADERS)


# As they are written


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_resource_is_of_the_shape_that_istio_publishes(path: Path) -> None:
    resources = read(path)
    assert resources
    for resource in resources:
        assert shape.problems(resource) == [], resource["metadata"]["name"]
        assert resource["metadata"]["namespace"] == "llm"


def test_the_check_of_shapes_finds_what_is_wrong() -> None:
    plugin, _ = read(FOLDER / "wasmplugin.yaml")
    for change, problem in [
        ({"failPolicy": "FAIL_RELOAD"}, "spec.failPolicy: is unknown"),
        ({"failStrategy": "RELOAD"}, "spec.failStrategy: is none of FAIL_CLOSE"),
        ({"priority": "9"}, "spec.priority: is no integer"),
        ({"vmConfig": {"env": [{"valueFrom": "HOST"}]}}, "spec.vmConfig.env[0].name: is missing"),
        ({"pluginName": ""}, "spec.pluginName: is 0 long"),
    ]:
        wrong = {**plugin, "spec": {**plugin["spec"], **change}}
        assert [one for one in shape.problems(wrong) if one.startswith(problem)], (change, shape.problems(wrong))
    mesh = read(MESH)
    service = next(one for one in mesh if one["kind"] == "VirtualService")
    service["spec"]["http"][0]["match"][0]["headers"]["x"] = {"exact": "a", "prefix": "b"}
    assert shape.problems(service) == ["spec.http[0].match[0].headers.x: must be exactly one of its choices"]


@pytest.mark.parametrize("way", WAYS)
def test_the_plugin_is_configured_as_everywhere_but_for_the_names_of_clusters(way: str) -> None:
    first = next(iter(gateway.wasm_settings(made(way))))
    found = json.loads(first["configuration"]["value"])
    wanted = json.loads((gateway.ROOT / "envoy" / "plugin.json").read_text())
    assert found.pop("latch", False) == (way == "wasmplugin")
    for backend in wanted["backends"].values():
        host = {"bedrock_us_east_1": "bedrock-runtime.us-east-1.amazonaws.com"}
        host["vertex_us_central1"] = "us-central1-aiplatform.googleapis.com"
        backend["cluster"] = f"outbound|443||{host[backend['cluster']]}"
        if "cluster" in backend["credentials"]:
            backend["credentials"]["cluster"] = "outbound|80||metadata.google.internal"
    assert found == wanted


def test_the_latch_stands_directly_behind_the_first_and_shares_its_vm() -> None:
    first, latch = gateway.wasm_settings(made("wasmplugin"))
    assert (first["root_id"], latch["root_id"]) == ("fairlead", "fairlead.latch")
    written, second = (one["spec"] for one in read(FOLDER / "wasmplugin.yaml"))
    for name in ("url", "vmConfig", "selector", "imagePullPolicy"):
        assert written[name] == second[name], name
    assert written["priority"] == second["priority"] + 1 and "phase" not in written and "phase" not in second


def test_attempts_are_those_of_the_example_for_envoy_alone() -> None:
    text = (FOLDER / "attempts.yaml").read_text()
    assert text == attempts.written(), "type: python -m integration.istio.attempts > envoy/istio/attempts.yaml"


@pytest.mark.parametrize("way", [*WAYS, "attempts"])
def test_a_plugin_that_faults_comes_back(way: str) -> None:
    assert all(one["failure_policy"] == "FAIL_RELOAD" for one in gateway.wasm_settings(made(way)))


@pytest.mark.parametrize("way", [*WAYS, "attempts"])
def test_envoy_accepts_what_istio_makes_of_it(version: str, way: str, tmp_path: Path) -> None:
    config = made(way)
    for settings in gateway.wasm_settings(config):
        settings["vm_config"]["code"]["local"]["filename"] = str(gateway.WASM)
    code, said = validate(version, config, tmp_path, ANTHROPIC_API_KEY="sk-ant-x")
    assert code == 0 and "OK" in said, said[-3000:]


# At work


@pytest.fixture(scope="module", params=WAYS)
def mesh(request: pytest.FixtureRequest, version: str, cloud: StandIn) -> Iterator[Gate]:
    way = request.param
    with running(version, cloud, f"istio-{way}", config=made(way)) as gate:
        yield gate


def test_both_clouds_are_reached_and_learn_nothing_of_the_mesh(mesh: Gate, where: str) -> None:
    mesh.fresh()
    headers = {"authorization": f"Bearer {CLIENT_KEY}", "x-b3-traceid": "a" * 32, "x-fairlead-cluster": "outbound|80||x"}
    answer = mesh.post({"model": MODELS[where], "messages": say(f"text say={ANSWER}")}, headers)
    assert answer.status == 200 and ANSWER in answer.body.decode()
    sent = {name.lower(): value for name, value in mesh.sent(where)["headers"]}
    ours = {"host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "authorization"}
    ours |= {"x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "connection"}
    assert set(sent) <= ours, sent
    mesh.verify()


def test_a_stream_passes_as_it_comes(mesh: Gate, where: str) -> None:
    mesh.fresh()
    body = {"model": MODELS[where], "messages": say(f"text say={ANSWER} piece=3 drip=20"), "stream": True}
    arrivals = []
    with mesh.open("POST", CHAT, json.dumps(body), {"content-type": "application/json"}) as response:
        while piece := response.read1(65536):
            arrivals.append((time.monotonic(), piece))
    *chunks, done = events(b"".join(piece for _, piece in arrivals).decode())
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert (said, done) == (ANSWER, "[DONE]") and arrivals[-1][0] - arrivals[0][0] > 0.03
    mesh.verify()


def test_calls_of_the_plugins_own_find_their_cluster(mesh: Gate) -> None:
    mesh.fresh()
    inputs = [f"text {number}" for number in range(5)]
    body = {"model": "bedrock/amazon.titan-embed-text-v2:0", "input": inputs}
    answer = mesh.post(body, path="/v1/embeddings")
    assert [one["embedding"] for one in json.loads(answer.body)["data"]] == [vector(text, 1024) for text in inputs]
    mesh.verify()


def test_a_body_of_five_megabytes_passes(mesh: Gate, where: str) -> None:
    mesh.fresh()
    answer = mesh.post({"model": MODELS[where], "messages": say("text say=ok", "x" * 5_000_000)})
    assert answer.status == 200, answer.body[:300]
    assert mesh.sent(where)["body_bytes"] > 5_000_000
    mesh.verify()


def test_what_is_not_for_the_gateway_finds_no_cloud(mesh: Gate) -> None:
    mesh.fresh()
    chosen = "outbound|443||bedrock-runtime.us-east-1.amazonaws.com"
    for host in ("llm.example.com", "bedrock-runtime.us-east-1.amazonaws.com"):
        headers = {"host": host, "x-fairlead-cluster": chosen, "content-type": "application/json"}
        answer = mesh.call("POST", "/model/x/converse", b"{}", headers)
        assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    mesh.nothing_was_sent()
    mesh.verify()


def test_a_stream_that_begins_with_an_error_is_had_elsewhere(version: str, cloud: StandIn) -> None:
    """The positions of attempts.yaml: the first two backends are Bedrock's, the third is Vertex AI."""

    def keyed(plugin: dict[str, Any]) -> None:
        plugin["backends"]["anthropic"]["credentials"]["api_key"] = ANTHROPIC_KEY

    cloud.reset()
    with running(version, cloud, "istio-attempts", config=made("attempts"), plugin=keyed) as gate:
        gate.force("text say=x fault=exception after=0", "bedrock", 2)
        body = {"model": "claude-sonnet", "messages": say("text say=ok"), "stream": True}
        answer = gate.post(body)
        assert answer.status == 200 and events(answer.body.decode())[-1] == "[DONE]", answer.body
        assert answer.headers["x-fairlead-backend"] == "vertex-us-central1"
        assert (len(gate.requests("bedrock")), len(gate.requests("vertex"))) == (2, 1)
        sent = {name.lower() for name, _ in gate.sent("vertex")["headers"]}
        assert not [name for name in sent if name.startswith(("x-envoy", "x-fairlead", "x-b3"))], sent
        gate.verify()


def test_a_latch_that_was_forgotten_is_told_at_once(version: str, cloud: StandIn) -> None:
    cloud.reset()
    resources = [one for one in read(MESH, FOLDER / "wasmplugin.yaml") if one["metadata"]["name"] != "fairlead-latch"]
    with running(version, cloud, "istio-forgotten", config=effective(resources, HEADERS), concurrency=1) as gate:
        answer = gate.post({"model": BEDROCK, "messages": say()})
        assert answer.status == 500 and "pluginName) fairlead.latch" in answer.error["message"]
        gate.nothing_was_sent()
        gate.verify()


def test_a_plain_wasmplugin_is_told_within_seconds_what_it_lacks(version: str, cloud: StandIn) -> None:
    resources = copy.deepcopy(read(MESH, FOLDER / "wasmplugin.yaml")[:-1])
    del resources[-1]["spec"]["pluginConfig"]["latch"]
    cloud.reset()
    with running(version, cloud, "istio-plain", config=effective(resources, HEADERS), concurrency=1) as gate:
        gate.expected_errors.append("has shown the gateway no body")
        answer = gate.post({"model": BEDROCK, "messages": say()})
        assert answer.status == 500 and "fairlead.latch" in answer.error["message"]
        gate.nothing_was_sent()
        gate.verify()
