"""`make bench`: what the plugin costs above plain Envoy, measured in the same run."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import signal
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from integration import gateway
from integration.bench import bodies, inside, process, report
from integration.bench.cases import Case, cases
from integration.bench.runner import Bench, Round


def arguments(rows: list[Case]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m integration.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each case: does it work at all?")
    parser.add_argument(
        "--rounds", type=int, default=5, help="measurements of each case on each Envoy (default: 5)"
    )
    parser.add_argument("--seconds", type=float, default=2, help="length of one measurement (default: 2)")
    keys = ", ".join(case.key for case in rows)
    parser.add_argument("--only", metavar="CASES", help=f"only these, with commas between: {keys}")
    parser.add_argument(
        "--teams", action=argparse.BooleanOptionalAction, help="also (or not) what identity and limits cost"
    )
    parser.add_argument("--wasm", type=Path, default=gateway.WASM, help="another build of the plugin")
    parser.add_argument("--envoy", default="1.40.0", help="version of Envoy (default: 1.40.0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was measured")
    asked = parser.parse_args()
    if asked.teams is None:
        asked.teams = not asked.only and not asked.quick
    if asked.quick:
        asked.rounds, asked.seconds = 1, 1
    if not asked.wasm.is_file():
        parser.error(f"there is no {asked.wasm}; type: make build")
    return asked


def main() -> int:
    chosen = cases()
    asked = arguments(chosen)
    envoys = gateway.envoys()
    if asked.envoy not in envoys:
        raise SystemExit(f"there is no Envoy {asked.envoy} here, only {', '.join(envoys)}")
    if asked.only:
        keys = asked.only.split(",")
        chosen = [case for case in chosen if case.key in keys]
        if unknown := set(keys) - {case.key for case in chosen}:
            raise SystemExit(f"no such case: {', '.join(sorted(unknown))}; --help lists them")
    with ending() as stack:
        bench = Bench(envoys[asked.envoy], asked.wasm.resolve(), stack)
        bench.start_clouds()
        bench.boot(1 if asked.quick else 4)
        rows, more = [], list(bench.gated) if asked.teams else []
        for name, side in bench.setups.items():
            if any(case.setup == name for case in chosen):
                bench.start(side)
                more.append(side)
        for case in chosen:
            print(f"measuring: {case.title}", file=sys.stderr)
            plugin = bench.setups.get(case.setup, bench.plugin)
            found = bench.run(case, asked.rounds, asked.seconds, 0 if asked.quick else 1, (bench.plain, plugin))
            rows.append(summary(case, {"plain": found["plain"], "plugin": found[plugin.name]}))
        gated = None
        if asked.teams:
            print("measuring: teams", file=sys.stderr)
            bench.start(*bench.gated)
            sides = (bench.plugin, *bench.gated)
            gated = differences(bench.run(cases()[0], 4 * asked.rounds, asked.seconds, 1, sides))
        heavy = [case for case in chosen if case.key in report.HEAVY]
        if heavy:
            print("measuring: the plugin in V8 alone", file=sys.stderr)
        alone = inside.measure(asked.wasm.resolve(), heavy, asked.seconds) if heavy else []
        for side in (*bench.sides, *more):
            side.count_faults()
        code = asked.wasm.read_bytes()
        told = {
            "envoy": asked.envoy,
            "load": bench.tool,
            "cores": bench.cores,
            "rounds": asked.rounds,
            "seconds": asked.seconds,
            "wasm_bytes": len(code),
            "wasm_gzip_bytes": len(gzip.compress(code, 9)),
            "cases": rows,
            "inside": [asdict(each) for each in alone],
            "teams": gated,
            "sides": {
                side.name: {
                    "boot_seconds": statistics.median(side.boots) if side.boots else None,
                    "memory_bytes": process.memory_bytes(side.pid),
                    "requests": side.requests,
                    "failures": side.failures,
                    "faults_in_log": side.faults,
                }
                for side in (*bench.sides, *more)
            },
        }
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=1) + "\n")
    print(report.table(told))
    return 1 if any(side["failures"] or side["faults_in_log"] for side in told["sides"].values()) else 0


def differences(found: dict[str, list[Round]]) -> dict[str, Any]:
    """What identity and limits cost a request, and what so many teams cost beyond one, in microseconds."""

    def above(low: str, high: str) -> dict[str, float]:
        pairs = [b.cpu_us - a.cpu_us for a, b in zip(found[low], found[high], strict=True)]
        quietest = min(each.cpu_us for each in found[high]) - min(each.cpu_us for each in found[low])
        return {"median": statistics.median(pairs), "quietest": quietest}

    return {"identity_and_limits_us": above("plugin", "one team"), "many_teams_us": above("one team", "many teams")}


@contextlib.contextmanager
def ending() -> Iterator[contextlib.ExitStack]:
    """Stops what was started, whatever ends the run."""

    def end(*_: object) -> None:
        raise SystemExit("stopped")

    signal.signal(signal.SIGTERM, end)
    with contextlib.ExitStack() as stack:
        yield stack


def summary(case: Case, found: dict[str, list[Round]]) -> dict[str, Any]:
    """One row: medians, the plugin's cost by rounds, and ratios to plain Envoy."""
    keys = [each.name for each in fields(Round)]
    middle = {
        name: {key: statistics.median(getattr(each, key) for each in rounds) for key in keys}
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
        # Whatever else runs on the machine only adds, so the quietest rounds are nearest to the truth.
        "above_us_quietest": min(each.cpu_us for each in found["plugin"])
        - min(each.cpu_us for each in found["plain"]),
        "cpu_ratio": plugin["cpu_us"] / plain["cpu_us"],
        "rate_ratio": plugin["per_second"] / plain["per_second"],
        "rounds": {name: [asdict(each) for each in rounds] for name, rounds in found.items()},
    }
    if case.stream:
        row["above_us_per_frame"] = row["above_us"] / bodies.FRAMES
    return row


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
