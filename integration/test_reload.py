"""A new configuration while requests are under way: counters stay, and new limits act at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import gateway
from .cloud.driver import StandIn
from .harness import BEDROCK, CHAT, CLIENT_KEY, Gate, say, until
from .test_teams import WORKERS, team

HEADERS = {"authorization": f"Bearer {CLIENT_KEY}"}

Config = dict[str, Any]


@dataclass
class Watching(gateway.Envoy):
    """An Envoy that reads a part of its configuration from a file, and again whenever the file is replaced."""

    listener_port: int = 0

    @property
    def port(self) -> int:
        return self.listener_port


def replace(path: Path, resource: Config) -> None:
    """Envoy looks for files that are moved to their place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"resources": [resource]}))
    os.replace(new, path)


def by_lds(config: Config, path: Path) -> Callable[[Config], None]:
    """Takes the listener out of a configuration; gives what puts it into the file with other plugin settings."""
    (listener,) = config["static_resources"].pop("listeners")
    config["dynamic_resources"] = {"lds_config": {"path_config_source": {"path": str(path)}}}
    config["node"] = {"id": "tests", "cluster": "tests"}

    def write(settings: Config) -> None:
        (wasm,) = gateway.wasm_settings(listener)
        wasm["configuration"]["value"] = json.dumps(settings)
        replace(path, {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", **listener})

    return write


def by_ecds(config: Config, path: Path) -> Callable[[Config], None]:
    """The same for the filter alone."""
    (listener,) = config["static_resources"]["listeners"]
    filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    (mine,) = [each for each in filters if each["name"] == "fairlead"]
    extension = mine.pop("typed_config")
    mine["config_discovery"] = {
        "config_source": {"path_config_source": {"path": str(path)}},
        "type_urls": [extension["@type"]],
    }
    config["node"] = {"id": "tests", "cluster": "tests"}

    def write(settings: Config) -> None:
        extension["config"]["configuration"]["value"] = json.dumps(settings)
        kind = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
        replace(path, {"@type": kind, "name": "fairlead", "typed_config": extension})

    return write


@pytest.mark.parametrize("way", [by_lds, by_ecds])
def test_a_new_configuration_keeps_the_counters_and_its_limits_act_at_once(
    version: str, cloud: StandIn, way: Callable[[Config, Path], Callable[[Config], None]]
) -> None:
    config = gateway.load("gateway.yaml")
    port, admin_port = gateway.free_ports(2)
    gateway.localise(config, cloud.ports, port=port, admin_port=admin_port)
    (wasm,) = gateway.wasm_settings(config)
    settings = json.loads(wasm["configuration"]["value"])
    binary, name = gateway.envoys()[version], f"reload-{way.__name__}-{version}"
    envoy = Watching(binary, config, name, concurrency=WORKERS, component_log_level="wasm:debug", listener_port=port)
    write = way(config, envoy.folder / "resource.json")

    def configure(**limits: Any) -> None:
        write(settings | {"teams": {"blue": team(["*"], **limits)}})

    configure(requests_per_minute=10, tokens_per_minute=10_000)
    with envoy:
        gate = Gate(envoy, cloud)
        gate.fresh()

        def blue() -> Any:
            answer = gate.call("GET", "/fairlead/usage", headers=HEADERS)
            return json.loads(answer.body)["teams"][0]["limits"] if answer.status == 200 else None

        def limit(most: int) -> Any:
            """What is used, once the limit is this one, for every worker."""
            now = lambda: [(blue() or {}).get("requests_per_minute", {}).get("limit") for _ in range(4 * WORKERS)]  # noqa: E731
            until(f"a limit of {most}", lambda: set(now()) == {most})
            return blue()

        def ask(script: str = "text in=60 out=40") -> int:
            return gate.post({"model": BEDROCK, "max_tokens": 100, "messages": say(script)}, HEADERS).status

        limit(10)
        assert [ask() for _ in range(4)] == [200] * 4
        body = {"model": BEDROCK, "max_tokens": 100, "stream": True, "messages": say("frames n=9 in=7 out=3 drip=300")}
        with gate.open("POST", CHAT, json.dumps(body), {"content-type": "application/json", **HEADERS}) as stream:
            assert stream.readline()
            # Half of it is used already, and one request is under way.
            configure(requests_per_minute=6, tokens_per_minute=10_000)
            used = limit(6)
            assert used["requests_per_minute"]["used"] == 5
            assert used["tokens_per_minute"]["used"] == 400
            assert used["tokens_per_minute"]["reserved"] > 100
            assert [ask(), ask()] == [200, 429]
            # The old configuration brings it to its end, and settles what the new one has to know.
            assert stream.read().endswith(b"data: [DONE]\n\n")
        until("the stream is settled", lambda: blue()["tokens_per_minute"]["used"] == 510)
        assert blue()["tokens_per_minute"]["reserved"] == 0

        configure(requests_per_minute=3, tokens_per_minute=10_000)
        limit(3)
        assert ask() == 429
        configure(requests_per_minute=8, tokens_per_minute=600)
        limit(8)
        # 510 of 600 tokens are used.
        assert ask() == 429
        configure(requests_per_minute=8, tokens_per_minute=10_000)
        limit(8)
        until("the new limit of tokens", lambda: blue()["tokens_per_minute"]["limit"] == 10_000)
        assert [ask(), ask(), ask()] == [200, 200, 429]
        gate.client.close()
        gate.verify()
