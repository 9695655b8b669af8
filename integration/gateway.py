"""Starts a real Envoy from a file of envoy/, with only addresses, TLS and secrets replaced.

The local run and the tests use the production examples this way, so no example is untested.
"""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
WASM = ROOT / "dist" / "fairlead.wasm"
RUNS = ROOT / "integration" / ".run"

# The stand-in cloud knows these; they open nothing else.
AWS_ACCESS_KEY_ID = "AKIDSTANDIN000000001"
AWS_SECRET_ACCESS_KEY = "stand-in-secret-one/not+a+real=key"


def envoys() -> dict[str, Path]:
    """The Envoy binaries that set-up has brought, by version."""
    found = {}
    packaged = subprocess.run(
        [sys.executable, "-c", "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent)"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()
    found["1.40.0"] = Path(packaged) / "_bin" / "envoy"
    for folder in sorted((ROOT / ".venv").glob("envoy-*")):
        found[folder.name.removeprefix("envoy-")] = folder / "envoy" / "_bin" / "envoy"
    return found


def free_ports(count: int) -> list[int]:
    """Ports on the loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


#: Which port of the stand-in plays a host.
HOSTS = (
    (re.compile(r"bedrock-(runtime|mantle)[-.].*"), "bedrock"),
    (re.compile(r"(.*[-.])?aiplatform\..*"), "vertex"),
    (re.compile(r"metadata\.google\.internal"), "metadata"),
    (re.compile(r"oauth2\.googleapis\.com"), "oauth2"),
    (re.compile(r"sts\.googleapis\.com"), "google_sts"),
    (re.compile(r"iamcredentials\.googleapis\.com"), "iam"),
    (re.compile(r".*\.actions\.githubusercontent\.com"), "subject"),
    (re.compile(r"api\.anthropic\.com"), "anthropic"),
    (re.compile(r"api\.openai\.com"), "openai"),
    (re.compile(r"169\.254\.169\.254"), "imds"),
    (re.compile(r"169\.254\.170\.(2|23)"), "container"),
    # Google's is called sts.googleapis.com.
    (re.compile(r"sts([.-].*)?\.amazonaws\.com(\.cn)?"), "sts"),
)


def localise(
    config: dict[str, Any],
    ports: Mapping[str, int],
    *,
    clusters: Mapping[str, int] | None = None,
    port: int,
    admin_port: int,
    wasm: Path = WASM,
    plugin: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Turns a production configuration into one for this machine.

    `ports` are those of the stand-in cloud, to which clusters go by their host; `clusters` gives a port to a
    cluster by its name, whatever its host. TLS is removed. `plugin` may edit the plugin's own JSON.
    """
    config["admin"]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": admin_port}
    front(config)["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    for cluster in config["static_resources"]["clusters"]:
        if "cluster_type" in cluster:
            # An aggregate: its members have the addresses.
            continue
        cluster["type"] = "STATIC"
        cluster.pop("transport_socket", None)
        for locality in cluster.get("load_assignment", {}).get("endpoints", []):
            for endpoint in locality["lb_endpoints"]:
                if "pipe" in endpoint["endpoint"]["address"]:
                    # A listener of the same Envoy.
                    continue
                address = endpoint["endpoint"]["address"]["socket_address"]
                local = (clusters or {}).get(cluster["name"]) or ports[_role(address["address"])]
                address |= {"address": "127.0.0.1", "port_value": local}
    for settings in wasm_settings(config):
        settings["vm_config"]["code"]["local"]["filename"] = str(wasm)
        if plugin is not None and "configuration" in settings:
            value = json.loads(settings["configuration"]["value"])
            plugin(value)
            settings["configuration"]["value"] = json.dumps(value)
    return config


def front(config: dict[str, Any]) -> dict[str, Any]:
    """The listener that clients come to, to be edited; beside it there may be some that only Envoy itself reaches."""
    (listener,) = (each for each in config["static_resources"]["listeners"] if "socket_address" in each["address"])
    return listener


def _role(host: str) -> str:
    for pattern, role in HOSTS:
        if pattern.fullmatch(host):
            return role
    raise LookupError(f"the stand-in cloud does not play {host}")


def wasm_settings(node: Any) -> Iterable[dict[str, Any]]:
    """Every plugin configuration (`config` of a Wasm filter) in an Envoy configuration."""
    if isinstance(node, dict):
        if str(node.get("@type", "")).endswith("filters.http.wasm.v3.Wasm"):
            yield node["config"]
        for value in node.values():
            yield from wasm_settings(value)
    elif isinstance(node, list):
        for value in node:
            yield from wasm_settings(value)


def with_latch(config: dict[str, Any]) -> None:
    """Holds headers without the pause flag: the same plugin once more, directly behind the first."""
    for settings in list(wasm_settings(config)):
        del settings["allow_on_headers_stop_iteration"]
        plugin = json.loads(settings["configuration"]["value"])
        settings["configuration"]["value"] = json.dumps({**plugin, "latch": True})
    for filters in http_filters(config):
        (index,) = (index for index, each in enumerate(filters) if each["name"] == "fairlead")
        latch = copy.deepcopy(filters[index])
        latch["name"] = "fairlead.latch"
        settings = latch["typed_config"]["config"]
        settings |= {"name": "fairlead.latch", "root_id": "fairlead.latch"}
        # All that it needs to know the first filter tells it.
        del settings["configuration"]
        filters.insert(index + 1, latch)


def http_filters(config: dict[str, Any]) -> Iterable[list[dict[str, Any]]]:
    """The filters of every HTTP connection manager, to be edited."""
    for listener in config["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for network in chain["filters"]:
                if "http_filters" in network["typed_config"]:
                    yield network["typed_config"]["http_filters"]


def wait_for(what: str, ready: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Waits until something is ready, or its process has died."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{what} stopped with code {process.returncode} before it was ready")
        if ready():
            return
        time.sleep(0.05)
    raise RuntimeError(f"{what} was not ready after {seconds:.0f} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process by its pid, and waits for its end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Envoy:
    """A running Envoy."""

    binary: Path
    config: dict[str, Any]
    name: str
    concurrency: int = 2
    log_level: str = "warning"
    #: Levels of single components, such as `wasm:debug`.
    component_log_level: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    @property
    def log(self) -> Path:
        return self.folder / "envoy.log"

    @property
    def port(self) -> int:
        return front(self.config)["address"]["socket_address"]["port_value"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.config['admin']['address']['socket_address']['port_value']}"

    def write(self) -> Path:
        """Writes the configuration where Envoy reads it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "envoy.json"
        path.write_text(json.dumps(self.config, indent=1))
        return path

    def start(self) -> "Envoy":
        path = self.write()
        variables = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": AWS_ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": AWS_SECRET_ACCESS_KEY,
            # The developer's own must not be signed with; an empty one counts as none.
            "AWS_SESSION_TOKEN": "",
            **self.environment,
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    str(self.binary), "-c", str(path), "--concurrency", str(self.concurrency),
                    "--log-level", self.log_level, "--use-dynamic-base-id", "--disable-hot-restart",
                    *(["--component-log-level", self.component_log_level] if self.component_log_level else []),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=variables,
            )
        try:
            wait_for("Envoy", self.ready, self.process)
        except RuntimeError as error:
            tail = self.log.read_text(errors="replace")[-4000:]
            self.stop()
            raise RuntimeError(f"{error}; the end of its log:\n{tail}") from None
        return self

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.admin}/ready", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)

    def __enter__(self) -> "Envoy":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def load(name: str) -> dict[str, Any]:
    """Reads one of the production examples."""
    return yaml.safe_load((ROOT / "envoy" / name).read_text())
