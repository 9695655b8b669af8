"""The benchmark's figures as a table for people."""

from __future__ import annotations

from typing import Any

from integration.bench import bodies
from integration.bench.runner import MANY

#: What a 2 kB Bedrock request may cost above plain Envoy, in microseconds of CPU, SigV4 included.
TARGET_US = 120

#: What identity and limits may cost a request, and what so many teams may cost it beyond one.
TEAMS_US, MANY_TEAMS_US = 10, 2

HEAD = ("", "plain", "plugin", "above", "±", "ratio", "plain", "plugin", "ratio", "busy")


def table(told: dict[str, Any]) -> str:
    """Everything that is worth a look, in about a screen."""
    lines = [
        f"Envoy {told['envoy']}, one worker; load by {told['load']}; medians of {told['rounds']} rounds of "
        f"{told['seconds']:g} s, plain and plugin in turn, {_cores(told['cores'])}.",
        "",
    ]
    rows = [HEAD, *(_row(case) for case in told["cases"])]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    cpu, rate = sum(widths[1:6]) + 2 * 4, sum(widths[6:9]) + 2 * 2
    lines.append(
        " " * widths[0] + "  " + " CPU µs a request ".center(cpu, "-") + "  " + " requests/s ".center(rate, "-")
    )
    for row in rows:
        first, *rest = row
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines += [
        "",
        "above: the plugin's CPU beyond plain Envoy's, by pairs of rounds; ±: half of its spread. busy: how much of",
        "its core each Envoy used (plain/plugin); far below 100% the load was the limit, not Envoy.",
        "",
    ]
    cases = {case["key"]: case for case in told["cases"]}
    lines += [f"{name:<16} {text}" for name, text in _remarks(told, cases)]
    return "\n".join(lines)


def _cores(count: int) -> str:
    return f"{count} cores, one of them for the Envoys alone" if count > 1 else "all on one core"


def _row(case: dict[str, Any]) -> tuple[str, ...]:
    plain, plugin, above = case["plain"], case["plugin"], case["above_us_rounds"]
    return (
        case["title"],
        _number(plain["cpu_us"]),
        _number(plugin["cpu_us"]),
        _number(case["above_us"]),
        _number((max(above) - min(above)) / 2) if len(above) > 1 else "-",
        f"{case['cpu_ratio']:.2f}",
        _number(plain["per_second"]),
        _number(plugin["per_second"]),
        f"{case['rate_ratio']:.2f}",
        f"{plain['busy']:.0%}/{plugin['busy']:.0%}",
    )


def _remarks(told: dict[str, Any], cases: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key, name in (("stream", "a frame"), ("drip", "a frame alone")):
        if case := cases.get(key):
            plain, plugin = (case[side]["cpu_us"] / bodies.FRAMES for side in ("plain", "plugin"))
            found.append(
                (name, f"plain {plain:.2f} µs, plugin {plugin:.2f} µs, above {case['above_us_per_frame']:.2f} µs")
            )
    for key, title in (("2kb", "2 kB"), ("1mb_image", "1 MB image")):
        if (flag := cases.get(f"bedrock_{key}")) and (latch := cases.get(f"latch_{key}")):
            more = latch["above_us"] - flag["above_us"]
            found.append(("the latch", f"{more:.0f} µs more than the flag for {title}"))
    if (flag := cases.get("stream")) and (latch := cases.get("latch_stream")):
        more = latch["above_us_per_frame"] - flag["above_us_per_frame"]
        found.append(("the latch", f"{more:.2f} µs more than the flag for a frame"))
    for one, two, title in (("bedrock_2kb", "tries_2kb", "2 kB"), ("stream", "tries_stream", "a stream")):
        if (single := cases.get(one)) and (pair := cases.get(two)):
            ratio = pair["plugin"]["cpu_us"] / single["plugin"]["cpu_us"]
            found.append(("gate and attempt", f"{ratio:.2f} times the CPU of the one position for {title} (at most 1.3)"))
    sizes = [cases.get(f"bedrock_{size}") for size in ("300b", "20kb", "1mb")]
    if all(sizes):
        small, middle, large = sizes
        first, second = (_slope(small, middle), _slope(small, large))
        verdict = "linear" if second <= first * 1.5 else "NOT LINEAR"
        slopes = f"to 20 kB {first:.2f} µs, to 1 MB {second:.2f} µs above plain"
        found.append(("a kB more", f"{slopes}: {second / first:.2f} times, {verdict}"))
    found += [_inside(row) for row in told["inside"]]
    plain, plugin = told["sides"]["plain"], told["sides"]["plugin"]
    for key, name, unit, scale in (
        ("boot_seconds", "boot to ready", "s", 1),
        ("memory_bytes", "memory after", "MB", 1e6),
    ):
        a, b = plain[key] / scale, plugin[key] / scale
        digits = 2 if unit == "s" else 0
        found.append((name, f"plain {a:.{digits}f} {unit}, plugin {b:.{digits}f} {unit}, ratio {b / a:.2f}"))
    found.append(("wasm", f"{told['wasm_bytes']:,} bytes, {told['wasm_gzip_bytes']:,} gzipped"))
    for name, side in told["sides"].items():
        failures = ", ".join(f"{count} × {kind}" for kind, count in side["failures"].items()) or "none failed"
        found.append(
            (name, f"{side['requests']:,} requests, {failures}; {side['faults_in_log']} faults in Envoy's log")
        )
    if gated := told["teams"]:
        for name, key, most, what in (
            ("teams", "identity_and_limits_us", TEAMS_US, "identity and every kind of limit, Bedrock, 300 B"),
            ("", "many_teams_us", MANY_TEAMS_US, f"{MANY:,} teams rather than one"),
        ):
            cost = gated[key]
            verdict = "met" if min(cost.values()) <= most else "MISSED"
            told_us = f"{cost['median']:.1f} µs, between the quietest rounds {cost['quietest']:.1f} µs"
            found.append((name, f"{what}: {told_us}; at most {most} µs, {verdict}"))
    if case := cases.get("bedrock_2kb"):
        verdict = "met" if case["above_us"] <= TARGET_US else "MISSED"
        goal = f"at most {TARGET_US} µs above plain for Bedrock, 2 kB, SigV4 included"
        found.append(("target", f"{goal}: {case['above_us']:.0f} µs, {verdict}"))
        found.append(("", f"between the quietest rounds of each: {case['above_us_quietest']:.0f} µs"))
    return found


#: Cases whose translation must cost less than their signature, most of which is the hash of the body.
HEAVY = {"bedrock_1mb_image": "1 MB image", "bedrock_60_turns": "60 tool turns", "bedrock_70kb_tools": "70 kB of tools"}


def _inside(row: dict[str, Any]) -> tuple[str, str]:
    """What translation costs beside the signature, in the plugin itself."""
    translation, signature = row["translation_us"], row["signature_us"]
    verdict = "below" if translation < signature else "NOT BELOW"
    told = f"in V8 alone {translation:,.0f} µs to read and write, {signature:,.0f} µs to sign"
    return (HEAVY[row["key"]], f"{told}: {translation / signature:.2f} of it, {verdict}")


def _slope(small: dict[str, Any], large: dict[str, Any]) -> float:
    """What a further kB costs above plain Envoy, in microseconds."""
    return (large["above_us"] - small["above_us"]) / ((large["body_bytes"] - small["body_bytes"]) / 1000)


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 10 else f"{value:,.0f}"
