"""The examples are sound; a wrong configuration is refused with its JSON path, and a gateway keeps the one it had."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import gateway
from .conftest import plugin_json, running
from .harness import BEDROCK, SECRETS, Gate, say, until
from .cloud.driver import StandIn

EXAMPLES = sorted((gateway.ROOT / "envoy").glob("**/*.yaml"))

#: Examples that are a whole configuration of Envoy, and not resources of Istio.
WHOLE = [path for path in EXAMPLES if "static_resources" in (yaml.safe_load(path.read_text().split("\n---")[0]) or {})]


def names(path: Path) -> str:
    return str(path.relative_to(gateway.ROOT))


def settings_of(path: Path) -> list[dict[str, Any]]:
    return [found for document in yaml.safe_load_all(path.read_text()) for found in gateway.wasm_settings(document)]


def validate(version: str, config: dict[str, Any], folder: Path, **environment: str) -> tuple[int, str]:
    """What `envoy --mode validate` says."""
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    keys = {
        "AWS_ACCESS_KEY_ID": gateway.AWS_ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": gateway.AWS_SECRET_ACCESS_KEY,
        "ANTHROPIC_API_KEY": "unused",
    }  # fmt: skip
    run = subprocess.run(
        [str(gateway.envoys()[version]), "--mode", "validate", "-c", str(path)],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], **keys, **environment},
    )  # fmt: skip
    return run.returncode, run.stdout + run.stderr


# The examples


@pytest.mark.parametrize("path", WHOLE, ids=names)
def test_envoy_accepts_the_example_as_it_is_in_production(version: str, path: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    for settings in gateway.wasm_settings(config):
        settings["vm_config"]["code"]["local"]["filename"] = str(gateway.WASM)
    code, said = validate(version, config, tmp_path)
    assert code == 0 and "OK" in said, said[-3000:]
    assert not re.search(r"deprecated", said, re.IGNORECASE), said[-3000:]


@pytest.mark.parametrize("path", EXAMPLES, ids=names)
def test_every_filter_of_the_examples_holds_headers_and_comes_back_after_a_fault(path: Path) -> None:
    filters = settings_of(path)
    assert filters or path not in WHOLE
    for settings in filters:
        assert settings["allow_on_headers_stop_iteration"] is True
        assert settings["failure_policy"] == "FAIL_RELOAD"
        assert settings["vm_config"]["vm_id"], "without a name tokens would be shared with any other plugin"


def test_without_the_pause_flag_requests_are_told_so_and_do_not_hang(version: str, cloud: StandIn) -> None:
    def forget(config: dict[str, Any]) -> None:
        (settings,) = gateway.wasm_settings(config)
        del settings["allow_on_headers_stop_iteration"]

    cloud.reset()
    with running(version, cloud, "shut", edit=forget, concurrency=1) as gate, ThreadPoolExecutor() as threads:
        gate.expected_errors.append("has shown the gateway no body")
        begun = time.monotonic()
        chat = threads.submit(gate.post, {"model": BEDROCK, "messages": say()})
        message = threads.submit(gate.post, {"model": BEDROCK, "max_tokens": 9, "messages": say()}, path="/v1/messages")
        error = chat.result().error
        assert (chat.result().status, error["code"]) == (500, "internal_error")
        assert "allow_on_headers_stop_iteration" in error["message"]
        assert message.result().status == 500 and json.loads(message.result().body)["type"] == "error"
        assert time.monotonic() - begun < 10
        gate.nothing_was_sent()
        gate.verify()


def test_a_first_request_whose_body_is_slow_is_waited_for(version: str, cloud: StandIn) -> None:
    def slowly() -> Iterator[bytes]:
        body = json.dumps({"model": BEDROCK, "messages": say()}).encode()
        yield body[:20]
        time.sleep(7)
        yield body[20:]

    cloud.reset()
    with running(version, cloud, "slow", concurrency=1) as gate:
        answer = gate.call("POST", "/v1/chat/completions", slowly(), {"content-type": "application/json"})
        assert answer.status == 200, answer.body
        gate.verify()


# Istio's have clusters of other names: test_istio.py.
@pytest.mark.parametrize("path", WHOLE, ids=names)
def test_all_examples_have_the_plugin_configuration_of_the_first_and_what_they_are_for(path: Path) -> None:
    wanted = json.loads((gateway.ROOT / "envoy" / "plugin.json").read_text())
    for settings in settings_of(path):
        if settings["root_id"] == "fairlead.attempt":
            assert "configuration" not in settings, "it gets all from the gate"
            continue
        found = json.loads(settings["configuration"]["value"])
        if path.name == "gateway.yaml":
            assert found == wanted
        shared = found["backends"].keys() & wanted["backends"].keys()
        assert shared and all(found["backends"][name] == wanted["backends"][name] for name in shared)


def test_no_route_leads_from_a_client_to_the_metadata_server() -> None:
    text = (gateway.ROOT / "envoy" / "gateway.yaml").read_text()
    assert "cluster: gcp_metadata" not in text
    assert plugin_json(gateway.load("gateway.yaml"))["backends"]["vertex-us-central1"]["credentials"] == {
        "source": "metadata_server", "cluster": "gcp_metadata",
    }  # fmt: skip


# Wrong configurations

Change = Callable[[dict[str, Any]], object]


def bedrock(config: dict[str, Any]) -> Any:
    return config["backends"]["bedrock-us-east-1"]


def keys(config: dict[str, Any]) -> Any:
    """Gives the Bedrock backend keys of its own, and gives them back to be broken."""
    bedrock(config)["credentials"] = {
        "source": "static", "access_key_id": {"env": "AWS_ACCESS_KEY_ID"},
        "secret_access_key": {"env": "AWS_SECRET_ACCESS_KEY"},
    }  # fmt: skip
    return bedrock(config)["credentials"]


def vertex(config: dict[str, Any]) -> Any:
    return config["backends"]["vertex-us-central1"]


#: A change, and the paths that the refusal must name.
WRONG: dict[str, tuple[Change, list[str]]] = {
    "unknown-key": (lambda c: c.update(colour="red"), ["colour"]),
    "unknown-key-below": (lambda c: bedrock(c).update(reigon="x"), ["backends.bedrock-us-east-1.reigon"]),
    "unknown-provider": (lambda c: bedrock(c).update(provider="azure"), ["backends.bedrock-us-east-1.provider"]),
    "wrong-type": (lambda c: c.update(models={}), ["models"]),
    "wrong-type-below": (lambda c: c["models"][1].update(name=7), ["models[1].name"]),
    "no-backends": (lambda c: c.pop("backends"), ["(the configuration)"]),
    "no-models": (lambda c: c.update(models=[]), ["models"]),
    "no-cluster": (lambda c: bedrock(c).update(cluster=""), ["backends.bedrock-us-east-1.cluster"]),
    "no-region": (lambda c: bedrock(c).pop("region"), ["backends.bedrock-us-east-1.region"]),
    "region-of-vertex": (lambda c: vertex(c).update(region="x"), ["backends.vertex-us-central1.region"]),
    "project-with-slash": (lambda c: vertex(c).update(project="a/b"), ["backends.vertex-us-central1.project"]),
    "host-with-scheme": (lambda c: bedrock(c).update(host="https://a.example"), ["backends.bedrock-us-east-1.host"]),
    "no-secret": (
        lambda c: keys(c).pop("secret_access_key"),
        ["backends.bedrock-us-east-1.credentials.secret_access_key"],
    ),
    "no-variable": (
        lambda c: keys(c).update(access_key_id={"env": "NOT_THERE"}),
        ["backends.bedrock-us-east-1.credentials.access_key_id"],
    ),
    "secret-of-wrong-type": (
        lambda c: keys(c).update(secret_access_key=[SECRETS[3]]),
        ["backends.bedrock-us-east-1.credentials.secret_access_key"],
    ),
    "source-of-the-other": (
        lambda c: bedrock(c)["credentials"].update(source="metadata_server"),
        ["backends.bedrock-us-east-1.credentials.source"],
    ),
    "no-token-cluster": (
        lambda c: vertex(c)["credentials"].pop("cluster"), ["backends.vertex-us-central1.credentials.cluster"],
    ),
    "unknown-backend": (lambda c: c["models"][0].update(backend="nowhere"), ["models[0].backend"]),
    "two-alike": (lambda c: c["models"].append(c["models"][0]), ["models[4].name"]),
    "star-inside": (lambda c: c["models"][0].update(name="a*b"), ["models[0].name"]),
    "limit-zero": (lambda c: c.update(limits={"request_bytes": 0}), ["limits.request_bytes"]),
    "several": (
        lambda c: (bedrock(c).pop("region"), vertex(c).pop("project"), c["models"][2].update(backend="x")),
        ["backends.bedrock-us-east-1.region", "backends.vertex-us-central1.project", "models[2].backend"],
    ),
}  # fmt: skip


def changed(change: Change, text: str | None = None) -> dict[str, Any]:
    """The production example with a change to the plugin's JSON, or other text in its place."""
    config = gateway.load("gateway.yaml")
    for settings in gateway.wasm_settings(config):
        settings["vm_config"]["code"]["local"]["filename"] = str(gateway.WASM)
        value = json.loads(settings["configuration"]["value"])
        change(value)
        settings["configuration"]["value"] = json.dumps(value) if text is None else text
    return config


def nothing(_: dict[str, Any]) -> None:
    """No change."""


def test_envoy_does_not_start_with_a_wrong_configuration(version: str, tmp_path: Path) -> None:
    change, paths = WRONG["several"]
    code, said = validate(version, changed(change), tmp_path)
    assert code != 0, said[-2000:]
    for path in paths:
        assert f"{path}: " in said, said[-3000:]


class Dynamic(gateway.Envoy):
    """An Envoy whose listener comes from a file that may change while it runs."""

    updates = 0

    @property
    def port(self) -> int:
        return self._port

    def __init__(self, version: str, cloud: StandIn) -> None:
        self._port, admin_port = gateway.free_ports(2)
        config = gateway.load("gateway.yaml")
        gateway.localise(config, cloud.ports, port=self._port, admin_port=admin_port)
        super().__init__(
            gateway.envoys()[version], config, f"dynamic-{version}", component_log_level="wasm:debug",
            environment={"AWS_SESSION_TOKEN": ""},
        )  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.listener,) = config["static_resources"].pop("listeners")
        self.update(self.listener)
        config["dynamic_resources"] = {"lds_config": {"path_config_source": {"path": str(self.file)}}}
        config["node"] = {"id": "tests", "cluster": "tests"}

    @property
    def file(self) -> Path:
        return self.folder / "lds.json"

    def update(self, listener: dict[str, Any]) -> None:
        """Offers a listener; Envoy looks when a file is moved into its place."""
        self.updates += 1
        resource = {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", **listener}
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"version_info": str(self.updates), "resources": [resource]}))
        new.replace(self.file)

    def offer(self, change: Change, text: str | None = None) -> None:
        """Offers the listener with other plugin configuration."""
        listener = copy.deepcopy(self.listener)
        (settings,) = gateway.wasm_settings(listener)
        value = json.loads(settings["configuration"]["value"])
        change(value)
        settings["configuration"]["value"] = json.dumps(value) if text is None else text
        self.update(listener)


@pytest.fixture(scope="module")
def dynamic(version: str, cloud: StandIn) -> Iterator[Gate]:
    with Dynamic(version, cloud) as envoy:
        gate = Gate(envoy, cloud)
        until("the listener is there", lambda: gate.stats("listener_manager.lds.update_success") == 1)
        yield gate
        gate.client.close()


def log_of_refusal(gate: Gate, change: Change, text: str | None = None) -> str:
    """Offers what must be refused; gives what Envoy says, and checks that the gateway works as before."""
    envoy = gate.envoy
    assert isinstance(envoy, Dynamic)
    gate.fresh()
    before = gate.stats("listener_manager.lds.update_rejected")
    envoy.offer(change, text)
    until("it is refused", lambda: gate.stats("listener_manager.lds.update_rejected") == before + 1)
    assert gate.completions.create(model=BEDROCK, messages=say()).choices, "the old configuration still serves"
    return gate.log()


@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_configuration_is_refused_with_its_path(dynamic: Gate, name: str) -> None:
    change, paths = WRONG[name]
    said = log_of_refusal(dynamic, change)
    for path in paths:
        assert f"{path}: " in said, said
    assert not any(secret in said for secret in SECRETS)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"backends": {}} trailing', '{"a": 1e999}'])
def test_a_configuration_that_is_no_object_is_refused(dynamic: Gate, text: str) -> None:
    assert "the configuration was refused; " in log_of_refusal(dynamic, nothing, text)


def test_a_right_configuration_is_taken_while_it_runs(dynamic: Gate) -> None:
    envoy = dynamic.envoy
    assert isinstance(envoy, Dynamic)
    dynamic.fresh()
    before = dynamic.stats("listener_manager.lds.update_success")
    rule = {"name": "new-name", "backend": "bedrock-us-east-1", "model": BEDROCK}
    envoy.offer(lambda plugin: plugin["models"].append(rule))
    until("it is taken", lambda: dynamic.stats("listener_manager.lds.update_success") == before + 1)

    def served() -> bool:
        return dynamic.post({"model": "new-name", "messages": say()}).status == 200

    until("it serves", served)
    dynamic.verify()


# A root_id that nobody has


def test_a_position_that_does_not_exist_is_refused_by_name(version: str, tmp_path: Path) -> None:
    config = changed(nothing)
    for settings in gateway.wasm_settings(config):
        settings["root_id"] = "fairled"
    code, said = validate(version, config, tmp_path)
    assert code != 0 and "`fairled`; it must be `fairlead`" in said, said[-2000:]


def test_a_gate_that_says_that_a_latch_follows_is_refused(version: str, tmp_path: Path) -> None:
    config = gateway.load("fallback.yaml")
    for settings in gateway.wasm_settings(config):
        settings["vm_config"]["code"]["local"]["filename"] = str(gateway.WASM)
        if settings.get("root_id") == "fairlead.gate":
            plugin = json.loads(settings["configuration"]["value"])
            settings["configuration"]["value"] = json.dumps(plugin | {"latch": True})
    code, log = validate(version, config, tmp_path)
    assert code != 0
    assert "latch: is for the position fairlead alone; set allow_on_headers_stop_iteration" in log, log


def test_both_envoys_are_there_to_be_tested() -> None:
    """`gateway.envoys` lists what set-up has brought: a version that is not there would be left out in silence."""
    assert {"1.36.2", "1.40.0"} <= gateway.envoys().keys()
    assert all(path.exists() for path in gateway.envoys().values())
