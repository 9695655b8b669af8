"""Starts the stand-in cloud once and every Envoy that set-up brought, and looks after each test what they say."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from . import gateway
from .harness import OPENAI_KEY, SESSION_ACCESS_KEY_ID, SESSION_SECRET, SESSION_TOKEN, Gate
from .cloud.anthropic import API_KEY as ANTHROPIC_KEY
from .cloud.driver import StandIn

#: The largest body that the tests' gateway takes; smaller than the default so that tests of it are quick.
REQUEST_BYTES = 8 * 1024 * 1024

#: Idle timeout of the route in the tests' gateway; what a cloud may say nothing for.
ROUTE_IDLE = "1.5s"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs every test that needs an Envoy on each version."""
    if "version" in metafunc.fixturenames:
        metafunc.parametrize("version", list(gateway.envoys()), scope="session")


@pytest.fixture(scope="session")
def cloud() -> Iterator[StandIn]:
    with StandIn() as cloud:
        yield cloud


def cluster(name: str) -> dict[str, Any]:
    """A cluster with one endpoint, for `gateway.localise` to fill."""
    address = {"socket_address": {"address": "replaced.example", "port_value": 443}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }  # fmt: skip


def bedrock(cluster: str, credentials: dict[str, Any] | None = None) -> dict[str, Any]:
    """A Bedrock backend of the plugin's configuration."""
    fallback = {
        "source": "static", "access_key_id": {"env": "AWS_ACCESS_KEY_ID"},
        "secret_access_key": {"env": "AWS_SECRET_ACCESS_KEY"},
    }  # fmt: skip
    return {
        "provider": "bedrock", "region": "us-east-1", "cluster": cluster, "credentials": credentials or fallback
    }  # fmt: skip


def more_backends(plugin: dict[str, Any]) -> None:
    """Adds a backend, and a model of the same name, for each way to have credentials and for each way to fail."""
    session = {
        "source": "static", "access_key_id": SESSION_ACCESS_KEY_ID, "secret_access_key": SESSION_SECRET,
        "session_token": SESSION_TOKEN,
    }  # fmt: skip
    more = {
        "session": bedrock("bedrock_us_east_1", session),
        "environment": bedrock("bedrock_us_east_1", {"source": "environment"}),
        "unreachable": bedrock("unreachable"),
        "empty": bedrock("empty"),
        "missing": bedrock("missing"),
    }
    more["openai"] = {
        "provider": "openai", "cluster": "openai", "credentials": {"source": "api_key", "api_key": OPENAI_KEY}
    }  # fmt: skip
    claude = {
        "anthropic": {
            "provider": "anthropic", "cluster": "anthropic", "credentials": {"source": "api_key", "api_key": ANTHROPIC_KEY}
        },
        "invoke": bedrock("bedrock_us_east_1") | {"api": "invoke_model"},
        "mantle": bedrock("mantle") | {"api": "mantle"},
    }  # fmt: skip
    plugin["backends"].update(more | claude)
    model = "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0"
    named = [name for name in more if name != "openai"]
    plugin["models"] += [{"name": name, "backend": name, "model": model} for name in named]
    titan = "bedrock/amazon.titan-embed-text-v2:0"
    plugin["models"] += [{"name": f"{name}-titan", "backend": name, "model": titan} for name in named]
    plugin["models"] += [{"name": f"{name}/*", "backend": name} for name in ("openai", "anthropic")]
    plugin["models"] += [
        {"name": "invoke", "backend": "invoke", "model": "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"},
        {"name": "mantle", "backend": "mantle", "model": "bedrock/anthropic.claude-sonnet-4-5"},
    ]
    plugin["limits"] = {"request_bytes": REQUEST_BYTES}


def routes(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The routes of the listener that clients come to, to be edited."""
    manager = gateway.front(config)["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["route_config"]["virtual_hosts"][0]["routes"]


Edit = Callable[[dict[str, Any]], None]


@contextmanager
def running(
    version: str,
    cloud: StandIn,
    name: str,
    *,
    plugin: Edit = lambda _: None,
    edit: Edit = lambda _: None,
    clusters: dict[str, int] | None = None,
    concurrency: int = 2,
    file: str = "gateway.yaml",
    config: dict[str, Any] | None = None,
    wasm: Path = gateway.WASM,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Gate]:
    """An Envoy from a file of envoy/, or from `config`: `plugin` edits the plugin's JSON, `edit` the rest before it is made local."""
    config = gateway.load(file) if config is None else copy.deepcopy(config)
    edit(config)
    port, admin_port = gateway.free_ports(2)
    gateway.localise(
        config, cloud.ports, clusters=clusters, port=port, admin_port=admin_port, wasm=wasm, plugin=plugin
    )
    envoy = gateway.Envoy(
        gateway.envoys()[version], config, f"{name}-{version}", concurrency=concurrency,
        component_log_level="wasm:debug", environment={"ANTHROPIC_API_KEY": ANTHROPIC_KEY, **(environment or {})},
    )  # fmt: skip
    with envoy:
        gate = Gate(envoy, cloud)
        yield gate
        gate.client.close()
        gate.keeps_secrets()
    gate.has_kept_secrets()


def ready_for_tests(cloud: StandIn) -> tuple[dict[str, int], Edit]:
    """Clusters that fail, by port and by an edit of the configuration, and a route that is soon tired of silence."""
    (closed,) = gateway.free_ports(1)

    def edit(config: dict[str, Any]) -> None:
        routes(config)[0]["route"]["idle_timeout"] = ROUTE_IDLE
        empty = {"name": "empty", "type": "STATIC", "load_assignment": {"cluster_name": "empty", "endpoints": []}}
        config["static_resources"]["clusters"] += [cluster("unreachable"), cluster("mantle"), empty]

    return {"unreachable": closed, "mantle": cloud.ports["bedrock"]}, edit


@pytest.fixture(scope="session")
def common_gate(version: str, cloud: StandIn) -> Iterator[Gate]:
    """The Envoy that most tests share."""
    clusters, edit = ready_for_tests(cloud)
    with running(version, cloud, "tests", plugin=more_backends, edit=edit, clusters=clusters) as gate:
        yield gate


@pytest.fixture
def gate(common_gate: Gate) -> Iterator[Gate]:
    """The shared Envoy, looked after: fresh before each test, verified behind it."""
    common_gate.fresh()
    yield common_gate
    common_gate.verify()


@pytest.fixture(params=["bedrock", "vertex"])
def where(request: pytest.FixtureRequest) -> str:
    """Runs a test on each cloud."""
    return request.param


def plugin_json(config: dict[str, Any]) -> Any:
    """The plugin's own JSON in an Envoy configuration."""
    (settings,) = gateway.wasm_settings(config)
    return json.loads(settings["configuration"]["value"])
