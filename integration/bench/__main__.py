"""`make bench`: runs the cases on both Envoys in turn and prints what the plugin costs."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from integration import gateway
from integration.bench import bodies, load, process, report, upstream

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
GEMINI = "gemini-2.5-flash"
GEMINI_PATH = f"/v1/projects/my-project/locations/us-central1/publishers/google/models/{GEMINI}:generateContent"

#: What openai-python sends besides its body.
CLIENT_HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": "OpenAI/Python 2.8.0",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "2.8.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.13.5",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
    "authorization": "Bearer sk-bench",
}

#: What must not be in Envoy's log after a run.
FAULTS = re.compile(r"panick|proxy_on_|Function: |trap|Uncaught|Plugin configured to fail|\[critical\]|\[error\]", re.I)


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    key: str
    title: str
    body: bytes
    cluster: str
    #: Where the plugin sends it, and where plain Envoy is asked to send it.
    path: str
    stream: bool = False
    #: Its frames come one by one, which takes a second; so whole streams are counted, not time.
    drip: bool = False

    @property
    def connections(self) -> int:
        return 16 if self.drip else 8


def cases() -> list[Case]:
    """All rows, in their order."""

    def bedrock(key: str, title: str, body: bytes, model: str = CLAUDE, **more: bool) -> Case:
        action = "converse-stream" if more.get("stream") else "converse"
        return Case(key, title, body, "bedrock_us_east_1", f"/model/{model.replace(':', '%3A')}/{action}", **more)

    claude, dripping = f"bedrock/{CLAUDE}", f"bedrock/{upstream.DRIPPING}"
    vertex = bodies.conversation(f"vertex_ai/{GEMINI}", 2000)
    streams = [bodies.conversation(model, 2000, stream=True) for model in (claude, dripping)]
    return [
        bedrock("bedrock_300b", "Bedrock, 300 B", bodies.conversation(claude, 300)),
        bedrock("bedrock_2kb", "Bedrock, 2 kB", bodies.conversation(claude, 2000)),
        bedrock("bedrock_20kb", "Bedrock, 20 kB", bodies.conversation(claude, 20_000)),
        bedrock("bedrock_1mb", "Bedrock, 1 MB of turns", bodies.conversation(claude, 1_000_000)),
        bedrock("bedrock_1mb_image", "Bedrock, 1 MB image", bodies.picture(claude, 1_000_000)),
        Case("vertex_2kb", "Vertex, 2 kB", vertex, "vertex_us_central1", GEMINI_PATH),
        bedrock("stream", f"stream of {bodies.FRAMES} frames", streams[0], stream=True),
        bedrock("drip", "the same, frame by frame", streams[1], upstream.DRIPPING, stream=True, drip=True),
    ]


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
        headers, path = CLIENT_HEADERS, "/v1/chat/completions"
        if self.name == "plain":
            # The plugin's work, done by the client: cluster and path.
            headers, path = {**CLIENT_HEADERS, "x-fairlead-cluster": case.cluster}, case.path
        return load.Shot(self.envoy.url + path, headers, case.body, case.connections)

    def count_faults(self) -> None:
        self.faults += len(FAULTS.findall(self.envoy.log.read_text(errors="replace")))


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


class Bench:
    """Everything that runs during the benchmark."""

    def __init__(self, binary: Path, wasm: Path, exit: contextlib.ExitStack) -> None:
        self._exit = exit
        self._wrk = load.find_wrk()
        self._cores = process.split_cores()
        cloud, cloud_admin, drip, *ports = gateway.free_ports(7)
        clusters = {"bedrock_us_east_1": cloud, "vertex_us_central1": cloud, "gcp_metadata": cloud}

        def side(name: str, port: int, admin_port: int) -> Side:
            config = under_test(gateway.load("gateway.yaml"))
            gateway.localise(config, clusters, port=port, admin_port=admin_port, wasm=wasm)
            if name == "plain":
                without_plugin(config)
            return Side(name, gateway.Envoy(binary, config, f"bench-{name}", concurrency=1))

        self.plain, self.plugin = side("plain", *ports[:2]), side("plugin", *ports[2:])
        self.sides = (self.plain, self.plugin)
        self._clouds = gateway.Envoy(binary, upstream.config(cloud, cloud_admin, drip), "bench-clouds", concurrency=1)
        self._drip_port = drip

    @property
    def tool(self) -> str:
        return "wrk" if self._wrk else "the client in integration/bench/load.py (there is no wrk)"

    def boot(self, times: int) -> None:
        """Starts both sides so many times, with all cores as in production; the last start stays."""
        for turn in range(times):
            for side in self.sides:
                if self._cores and turn == times - 1:
                    os.sched_setaffinity(0, self._cores[0])
                begun = time.perf_counter()
                self._exit.callback(side.envoy.stop)
                side.envoy.start()
                # The last start is on one core only and so is not told.
                if turn < times - 1 or times == 1:
                    side.boots.append(time.perf_counter() - begun)
                if turn < times - 1:
                    side.envoy.stop()
                    side.count_faults()
        if self._cores:
            os.sched_setaffinity(0, self._cores[1])

    def start_clouds(self) -> None:
        self._exit.callback(self._clouds.stop)
        self._clouds.start()
        command = [sys.executable, "-m", "integration.bench.upstream", str(self._drip_port)]
        drip = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=gateway.ROOT)
        self._exit.callback(gateway.stop, drip)

        def listens() -> bool:
            with contextlib.suppress(OSError):
                http.client.HTTPConnection("127.0.0.1", self._drip_port, timeout=1).connect()
                return True
            return False

        gateway.wait_for("the dripping server", listens, drip)

    def verify(self, case: Case) -> None:
        """Sends a case once to each side: both answer 200, the plugin with a translated body."""
        for side in self.sides:
            shot = side.shot(case)
            url = urlsplit(shot.url)
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=load.PATIENCE)
            with contextlib.closing(connection):
                connection.request("POST", url.path, shot.body, shot.headers)
                answer = connection.getresponse()
                body = answer.read()
            problem = "" if answer.status == 200 else f"status {answer.status}"
            if not problem and side is self.plugin:
                problem = untranslated(case, body)
            elif not problem and side is self.plain:
                problem = "" if b"chat.completion" not in body else "a translated body"
            if problem:
                raise SystemExit(f"{case.title}: {side.name} Envoy answered {problem}: {body[:600]!r}; log: {side.envoy.log}")

    def measure(self, case: Case, side: Side, seconds: float, count: bool = True) -> Round:
        shot, folder = side.shot(case), side.envoy.folder
        cpu, begun = process.cpu_seconds(side.pid), time.perf_counter()
        result = load.volley(shot, max(1, round(seconds / 2)), folder) if case.drip else load.fire(self._wrk, shot, seconds, folder)
        cpu, elapsed = process.cpu_seconds(side.pid) - cpu, time.perf_counter() - begun
        if count:
            side.requests += result.requests
            for name, number in result.failures.items():
                side.failures[name] = side.failures.get(name, 0) + number
        if result.requests == 0:
            raise SystemExit(f"{case.title}: no request to {side.name} Envoy came to its end: {result.failures}")
        return Round(
            cpu * 1e6 / result.requests, result.requests / result.seconds, result.p50, result.p99,
            min(1.0, cpu / min(elapsed, result.seconds)),
        )

    def run(self, case: Case, rounds: int, seconds: float, warm: float) -> dict[str, list[Round]]:
        """Measures both sides in turn; who is first changes from round to round."""
        self.verify(case)
        if warm and not case.drip:
            for side in self.sides:
                self.measure(case, side, warm, count=False)
        found: dict[str, list[Round]] = {side.name: [] for side in self.sides}
        for turn in range(rounds):
            for side in self.sides if turn % 2 == 0 else self.sides[::-1]:
                found[side.name].append(self.measure(case, side, seconds))
        return found


def untranslated(case: Case, body: bytes) -> str:
    """What is wrong with an answer of the plugin's; empty if nothing is."""
    if not case.stream:
        answer = json.loads(body)
        said = answer["choices"][0]["message"]["content"] if answer.get("object") == "chat.completion" else None
        return "" if said == bodies.SAID else "no translation of what the cloud said"
    if not body.endswith(b"data: [DONE]\n\n"):
        return "a stream without [DONE]"
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    chunks = [json.loads(line) for line in lines[:-1]]
    if any(chunk["object"] != "chat.completion.chunk" for chunk in chunks):
        return "no chat.completion.chunk"
    texts = sum(bool(choice["delta"].get("content")) for chunk in chunks for choice in chunk["choices"])
    return "" if texts == bodies.FRAMES - 4 else f"{texts} pieces of text"


def summary(case: Case, found: dict[str, list[Round]]) -> dict[str, Any]:
    """One row: medians, the plugin's cost by rounds, and ratios to plain Envoy."""
    middle = {
        name: {key: statistics.median(getattr(each, key) for each in rounds) for key in Round.__dataclass_fields__}
        for name, rounds in found.items()
    }
    plain, plugin = middle["plain"], middle["plugin"]
    above = [b.cpu_us - a.cpu_us for a, b in zip(found["plain"], found["plugin"], strict=True)]
    row: dict[str, Any] = {
        "key": case.key,
        "title": case.title,
        "body_bytes": len(case.body),
        "plain": plain,
        "plugin": plugin,
        "above_us": statistics.median(above),
        "above_us_rounds": above,
        "cpu_ratio": plugin["cpu_us"] / plain["cpu_us"],
        "rate_ratio": plugin["per_second"] / plain["per_second"],
        "rounds": {name: [asdict(each) for each in rounds] for name, rounds in found.items()},
    }
    if case.stream:
        row["above_us_per_frame"] = row["above_us"] / bodies.FRAMES
    return row


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m integration.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each case: does it work at all?")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each case on each Envoy (default: 5)")
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement (default: 3)")
    parser.add_argument("--only", metavar="CASES", help="only these, by key, with commas: " + ", ".join(c.key for c in cases()))
    parser.add_argument("--wasm", type=Path, default=gateway.WASM, help="another build of the plugin")
    parser.add_argument("--envoy", default="1.40.0", help="version of Envoy (default: 1.40.0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was measured")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.seconds = 1, 1
    if not asked.wasm.is_file():
        parser.error(f"there is no {asked.wasm}; type: make build")
    return asked


@contextlib.contextmanager
def ending() -> Iterator[contextlib.ExitStack]:
    """Stops what was started, whatever ends the run."""

    def end(*_: object) -> None:
        raise SystemExit("stopped")

    signal.signal(signal.SIGTERM, end)
    with contextlib.ExitStack() as stack:
        yield stack


def main() -> int:
    asked = arguments()
    envoys = gateway.envoys()
    if asked.envoy not in envoys:
        raise SystemExit(f"there is no Envoy {asked.envoy} here, only {', '.join(envoys)}")
    chosen = cases()
    if asked.only:
        keys = asked.only.split(",")
        chosen = [case for case in chosen if case.key in keys]
        if unknown := set(keys) - {case.key for case in chosen}:
            raise SystemExit(f"no such case: {', '.join(sorted(unknown))}")
    with ending() as stack:
        bench = Bench(envoys[asked.envoy], asked.wasm.resolve(), stack)
        bench.boot(1 if asked.quick else 4)
        bench.start_clouds()
        rows = []
        for case in chosen:
            print(f"measuring: {case.title}", file=sys.stderr)
            found = bench.run(case, asked.rounds, asked.seconds, 0 if asked.quick else 2)
            rows.append(summary(case, found))
        for side in bench.sides:
            side.count_faults()
        code = asked.wasm.read_bytes()
        told = {
            "envoy": asked.envoy,
            "load": bench.tool,
            "rounds": asked.rounds,
            "seconds": asked.seconds,
            "wasm_bytes": len(code),
            "wasm_gzip_bytes": len(gzip.compress(code, 9)),
            "cases": rows,
            "sides": {
                side.name: {
                    "boot_seconds": statistics.median(side.boots),
                    "memory_bytes": process.memory_bytes(side.pid),
                    "requests": side.requests,
                    "failures": side.failures,
                    "faults_in_log": side.faults,
                }
                for side in bench.sides
            },
        }
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=1) + "\n")
    print(report.table(told))
    return 1 if any(side["failures"] or side["faults_in_log"] for side in told["sides"].values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
