"""Runs the cases on the two Envoys in turn and measures what each used."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from integration import gateway
from integration.bench import load, process
from integration.bench.cases import CLIENT_HEADERS, Case, untranslated

#: What must not be in Envoy's log after a run.
FAULTS = re.compile(r"panick|proxy_on_|unreachable|Uncaught|\[critical\]|\[error\]")


@dataclass
class Side:
    """One of the two Envoys under test."""

    name: str
    envoy: gateway.Envoy
    boots: list[float] = field(default_factory=list)
    requests: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    faults: int = 0

    @property
    def pid(self) -> int:
        assert self.envoy.process is not None
        return self.envoy.process.pid

    def shot(self, case: Case) -> load.Shot:
        headers, path = CLIENT_HEADERS, case.asked
        if self.name == "plain":
            # The plugin's work, done by the client: cluster and path.
            headers, path = {**CLIENT_HEADERS, "x-fairlead-cluster": case.cluster}, case.path
        return load.Shot(self.envoy.url + path, headers, case.body, case.connections)

    def count_faults(self) -> None:
        """Adds the lines of the log that tell of a panic or an error."""
        lines = self.envoy.log.read_text(errors="replace").splitlines()
        self.faults += sum(bool(FAULTS.search(line)) for line in lines)


@dataclass(frozen=True)
class Round:
    """One measurement of one side."""

    cpu_us: float
    per_second: float
    p50_us: float
    p99_us: float
    #: Part of the time in which the Envoy was at work; its requests per second are its limit only near 1.
    busy: float


def under_test(config: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what would be measured on both sides and is not the question: the access log."""
    (manager,) = [
        network["typed_config"]
        for listener in config["static_resources"]["listeners"]
        for chain in listener["filter_chains"]
        for network in chain["filters"]
    ]
    manager.pop("access_log", None)
    return config


def without_plugin(config: dict[str, Any]) -> dict[str, Any]:
    """Plain Envoy: the same file without the one filter."""
    for listener in config["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for network in chain["filters"]:
                filters = network["typed_config"]["http_filters"]
                filters[:] = [each for each in filters if not list(gateway.wasm_settings(each))]
    assert not list(gateway.wasm_settings(config))
    return config


#: A bank's worth of teams.
MANY = 10_000


def teams(count: int) -> dict[str, Any]:
    """So many teams with a key and every kind of limit, none of which is ever reached; the client is of one of them."""
    budget = {"usd": 100_000_000, "per": "30d"}
    limits = {
        "requests_per_minute": 10**9, "tokens_per_minute": 10**12, "concurrent_requests": 10**6, "budget": budget
    }  # fmt: skip
    keys = [f"key-{number}" for number in range(1, count)] + [CLIENT_HEADERS["authorization"].removeprefix("Bearer ")]
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
    return {
        f"team-{number}": {"keys": [{"sha256": sha256}], "models": ["bedrock/*", "vertex_ai/*"], "limits": limits}
        for number, sha256 in enumerate(hashes)
    }


class Bench:
    """Everything that runs during the benchmark."""

    def __init__(self, binary: Path, wasm: Path, exit: contextlib.ExitStack) -> None:
        self._exit = exit
        self._wrk = load.find_wrk()
        self._cores = process.split_cores()
        cloud, *ports = gateway.free_ports(13)
        clouds = dict.fromkeys((role for _, role in gateway.HOSTS), cloud)

        def side(name: str, port: int, admin_port: int, count: int | None = None) -> Side:
            config = under_test(gateway.load("fallback.yaml" if name == "tries" else "gateway.yaml"))
            if name == "latch":
                gateway.with_latch(config)
            plugin = None if count is None else lambda settings: settings.update(teams=teams(count))
            gateway.localise(config, clouds, port=port, admin_port=admin_port, wasm=wasm, plugin=plugin)
            if name == "plain":
                without_plugin(config)
            envoy = gateway.Envoy(
                binary, config, f"bench-{name}", concurrency=1, environment={"ANTHROPIC_API_KEY": "unused"}
            )  # fmt: skip
            return Side(name, envoy)

        self.plain, self.plugin = side("plain", *ports[:2]), side("plugin", *ports[2:4])
        self.sides = (self.plain, self.plugin)
        #: The plugin with one team and with very many.
        self.gated = (side("one team", *ports[4:6], 1), side("many teams", *ports[6:8], MANY))
        #: The plugin with the latch in the place of the pause flag, and in two positions.
        self.setups = {"latch": side("latch", *ports[8:10]), "tries": side("tries", *ports[10:])}
        self._cloud_port = cloud

    @property
    def cores(self) -> int:
        return sum(map(len, self._cores)) if self._cores else 1

    @property
    def tool(self) -> str:
        return "wrk" if self._wrk else "the client in integration/bench/load.py (there is no wrk)"

    def boot(self, times: int) -> None:
        """Starts both sides so many times, in turn and with all cores; what was started last stays."""
        self._pin(None)
        for turn in range(times):
            for side in self.sides:
                begun = time.perf_counter()
                self._exit.callback(side.envoy.stop)
                side.envoy.start()
                side.boots.append(time.perf_counter() - begun)
                if turn < times - 1:
                    side.envoy.stop()
                    side.count_faults()
        # From here on the sides have a core for themselves, and what feeds them has the others.
        for side in self.sides:
            self._pin(0, side.pid)
        self._pin(1)

    def _pin(self, which: int | None, pid: int | None = None) -> None:
        """Keeps a process (ours, and what it starts) to a share of the cores, or (`None`) to none."""
        if self._cores:
            cores = self._cores[0] | self._cores[1] if which is None else self._cores[which]
            process.pin(pid or os.getpid(), cores)

    def start_clouds(self) -> None:
        self._pin(1)
        command = [sys.executable, "-m", "integration.bench.upstream", str(self._cloud_port)]
        clouds = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=gateway.ROOT)
        self._exit.callback(gateway.stop, clouds)

        def listening() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._cloud_port), 1):
                return True
            return False

        gateway.wait_for("the clouds", listening, clouds)

    def verify(self, case: Case, sides: tuple[Side, ...] | None = None) -> None:
        """Sends a case once to each side: all answer 200, the plugin with a translated body."""
        for side in sides or self.sides:
            shot = side.shot(case)
            url = urlsplit(shot.url)
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=load.PATIENCE)
            with contextlib.closing(connection):
                connection.request("POST", url.path, shot.body, shot.headers)
                answer = connection.getresponse()
                body = answer.read()
            problem = "" if answer.status == 200 else f"status {answer.status}"
            if not problem and side is not self.plain:
                problem = untranslated(case, body)
            elif not problem:
                problem = "" if b"chat.completion" not in body else "a translated body"
            if problem:
                told = f"{case.title}: {side.name} Envoy answered {problem}: {body[:600]!r}"
                raise SystemExit(f"{told}\nits log: {side.envoy.log.relative_to(gateway.ROOT)}")

    def measure(self, case: Case, side: Side, seconds: float, count: bool = True) -> Round:
        shot, folder = side.shot(case), side.envoy.folder
        cpu = process.cpu_seconds(side.pid)
        if case.drip:
            result = load.volley(shot, max(1, round(seconds)), folder)
        else:
            result = load.fire(self._wrk, shot, seconds, folder)
        cpu = process.cpu_seconds(side.pid) - cpu
        if count:
            side.requests += result.requests
            for name, number in result.failures.items():
                side.failures[name] = side.failures.get(name, 0) + number
        if result.requests == 0:
            raise SystemExit(f"{case.title}: no request to {side.name} Envoy came to its end: {result.failures}")
        return Round(
            cpu * 1e6 / result.requests,
            result.requests / result.seconds,
            result.p50,
            result.p99,
            min(1.0, cpu / result.seconds),
        )

    def start(self, *sides: Side) -> None:
        """Starts sides that not every case needs."""
        for side in sides:
            self._exit.callback(side.envoy.stop)
            side.envoy.start()
            self._pin(0, side.pid)

    def run(
        self, case: Case, rounds: int, seconds: float, warm: float, sides: tuple[Side, ...] | None = None
    ) -> dict[str, list[Round]]:
        """Measures the sides in turn; who is first changes from round to round."""
        sides = sides or self.sides
        self.verify(case, sides)
        if warm and not case.drip:
            for side in sides:
                self.measure(case, side, warm, count=False)
        found: dict[str, list[Round]] = {side.name: [] for side in sides}
        for turn in range(rounds):
            for side in sides if turn % 2 == 0 else sides[::-1]:
                found[side.name].append(self.measure(case, side, seconds))
        return found
