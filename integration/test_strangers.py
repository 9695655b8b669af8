"""Clients who make things up by the hundred thousand: nothing of it is kept."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .bench.process import memory_bytes
from .cloud.driver import StandIn
from .conftest import running
from .harness import CLIENT_KEY, Gate
from .test_teams import WORKERS, team, teams

#: Keys that nobody has, and over how many connections they are tried.
KEYS, CONNECTIONS = 100_000, 64

#: By how much Envoy's memory may go up and down by itself. Were a kilobyte kept of each key, it would be 100 MB.
SWAY = 6 * 1024 * 1024


def try_keys(gate: Gate, first: int, count: int) -> None:
    """Tries keys that nobody has; each must be refused. All connections ask, then all are read: nothing is quicker."""
    sockets = [gate.socket() for _ in range(CONNECTIONS)]
    for start in range(first, first + count, CONNECTIONS):
        for key, connection in enumerate(sockets, start):
            connection.sendall(
                f"GET /v1/models HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer sk-{key}-{'x' * 40}\r\n"
                f"x-team: team-{key}\r\nx-fairlead-team: {key}\r\n\r\n".encode()
            )
        for connection in sockets:
            answer = connection.recv(65536)
            while not answer.endswith(b"}}"):
                more = connection.recv(65536)
                assert more, answer
                answer += more
            assert answer.startswith(b"HTTP/1.1 401 ") and b'"invalid_api_key"' in answer, answer
    for connection in sockets:
        connection.close()


def metrics(gate: Gate) -> int:
    return len(gate.admin("GET", "/stats?filter=wasmcustom").splitlines())


def allocated(gate: Gate) -> int:
    """Bytes that Envoy has in use, those of V8 left out."""
    return int(json.loads(gate.admin("GET", "/memory"))["allocated"])


def test_a_hundred_thousand_keys_of_nobody_leave_nothing_behind(version: str, cloud: StandIn) -> None:
    with running(version, cloud, "strangers", plugin=teams(blue=team(["*"])), concurrency=WORKERS) as gate:
        gate.fresh()
        assert gate.envoy.process is not None
        # Caches and heaps find their size.
        try_keys(gate, 0, KEYS // 5)
        before = [allocated(gate), memory_bytes(gate.envoy.process.pid), metrics(gate)]
        try_keys(gate, KEYS // 5, KEYS)
        after = [allocated(gate), memory_bytes(gate.envoy.process.pid), metrics(gate)]
        print(f"allocated, resident, metrics: {before} before, {after} after {KEYS} keys")
        assert after[2] == before[2]
        assert after[0] - before[0] < SWAY and after[1] - before[1] < SWAY, (before, after)
        gate.verify()


def test_ten_thousand_teams_are_told_apart(version: str, cloud: StandIn) -> None:
    names = [f"team-{number:05}" for number in range(10_000)]

    def plugin(config: dict[str, Any]) -> None:
        many = {name: team(["*"], key=f"key-of-{name}", requests_per_minute=2) for name in names}
        teams(**many, blue=team(["*"]))(config)
        config["admin"] = {"keys": [{"sha256": hashlib.sha256(b"admin").hexdigest()}]}

    with running(version, cloud, "many", plugin=plugin) as gate:
        gate.fresh()
        for name in (names[0], names[4711], names[-1]):
            usage = gate.call("GET", "/fairlead/usage", headers={"x-api-key": f"key-of-{name}"})
            (own,) = json.loads(usage.body)["teams"]
            assert (own["name"], own["limits"]["requests_per_minute"]["limit"]) == (name, 2)
        assert gate.call("GET", "/v1/models", headers={"x-api-key": "key-of-team-10000"}).status == 401
        everyone = gate.call("GET", "/fairlead/usage", headers={"x-api-key": "admin"})
        assert [one["name"] for one in json.loads(everyone.body)["teams"]] == sorted([*names, "blue"])
        assert gate.call("GET", "/v1/models", headers={"x-api-key": CLIENT_KEY}).status == 200
        gate.verify()
