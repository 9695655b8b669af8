"""What an operator looks at, as envoy/ has it: the dashboard's metrics and the access log for OpenTelemetry."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
import yaml

from . import gateway
from .cloud.driver import StandIn
from .conftest import running
from .harness import ANSWER, BEDROCK, CLIENT_KEY, PROMPT, say, until
from .test_teams import team, teams


def queries(node: Any) -> Iterator[str]:
    """Every question that the dashboard asks Prometheus."""
    if isinstance(node, dict):
        if isinstance(expression := node.get("expr"), str):
            yield expression
        if isinstance(query := node.get("query"), str) and "(" in query:
            yield query
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from queries(value)


def wanted(query: str) -> dict[str, set[str]]:
    """The metrics of a question, each with the labels that it must have."""
    grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(",")}
    grouped |= set(re.findall(r"label_values\(\w+, (\w+)\)", query))
    found: dict[str, set[str]] = {}
    for name, matchers in re.findall(r"\b((?:fairlead|gen_ai)_\w+)(?:\{([^}]*)\})?", query):
        found.setdefault(name, set(grouped)).update(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))
    return found


def exposed(text: str) -> dict[str, set[str]]:
    """The metrics of /stats/prometheus with their labels."""
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} \S+$", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def test_the_dashboard_asks_for_nothing_but_what_there_is(version: str, cloud: StandIn) -> None:
    dashboard = json.loads((gateway.ROOT / "envoy" / "dashboard.json").read_text())
    asked: dict[str, set[str]] = {}
    for query in queries(dashboard):
        assert query.count("(") == query.count(")") and wanted(query), query
        for name, labels in wanted(query).items():
            asked.setdefault(name, set()).update(labels)
    with running(version, cloud, "dashboard", plugin=teams(blue=team(["*"], requests_per_minute=2))) as gate:
        gate.fresh()
        gate.completions.create(model=BEDROCK, messages=say("text in=10 out=10"), user="left out")
        for _ in gate.completions.create(model=BEDROCK, messages=say("text in=7 out=5"), stream=True):
            pass
        with pytest.raises(openai.RateLimitError):
            gate.completions.create(model=BEDROCK, messages=say())
        read = lambda: exposed(gate.admin("GET", "/stats/prometheus?filter=wasmcustom"))  # noqa: E731
        # Envoy gathers histograms every five seconds.
        until(f"all of {sorted(asked)}", lambda: asked.keys() <= read().keys())
        there = read()
        assert {name: labels - there[name] for name, labels in asked.items()} == {name: set() for name in asked}
        # And it shows everything that there is.
        families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in there}
        assert {re.sub(r"_bucket$", "", name) for name in asked} == families
        gate.verify()


class Collector:
    """An OpenTelemetry collector, as far as logs by OTLP over HTTP need one."""

    def __init__(self) -> None:
        self.records: list[dict[str, str]] = []
        records = self.records

        class Logs(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size + 2)[:-2]
                self.rfile.readline()
                assert (self.path, self.headers["content-type"]) == ("/v1/logs", "application/x-protobuf")
                for record in below(body, 1, 2, 2):
                    attributes = {}
                    for pair in below(record, 6):
                        ((key,), value) = (list(below(pair, 1)), list(below(pair, 2, 1)))
                        attributes[key.decode()] = value[0].decode() if value else ""
                    (text,) = below(record, 5, 1)
                    records.append(attributes | {"body": text.decode()})
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Logs)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def below(message: bytes, *path: int) -> Iterator[bytes]:
    """What a protobuf message holds at a path of field numbers: protobuf.dev/programming-guides/encoding."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = number()
        kind, field = tag & 7, tag >> 3
        if kind == 2:
            size = number()
            value = message[at : at + size]
            at += size
            if field == path[0]:
                yield from below(value, *path[1:]) if path[1:] else [value]
        elif kind == 0:
            number()
        else:
            at += {1: 8, 5: 4}[kind]


def test_the_access_log_reaches_an_opentelemetry_collector(version: str, cloud: StandIn) -> None:
    if version < "1.37":
        pytest.skip("Envoy sends OTLP over HTTP from 1.37 on")
    part = yaml.safe_load((gateway.ROOT / "envoy" / "parts" / "opentelemetry.yaml").read_text())
    collector = Collector()

    def edit(config: dict[str, Any]) -> None:
        (listener,) = config["static_resources"]["listeners"]
        listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"] += part["access_log"]
        config["static_resources"]["clusters"] += part["clusters"]

    clusters = {"otel_collector": collector.server.server_address[1]}
    with running(version, cloud, "otel", plugin=teams(blue=team(["*"])), edit=edit, clusters=clusters) as gate:
        gate.fresh()
        gate.completions.create(model=BEDROCK, messages=say(f"text in=1000 out=100 say={ANSWER}"))
        record = until("a record", lambda: collector.records and collector.records[0])
        name = BEDROCK.removeprefix("bedrock/")
        expected = {
            "body": f"200 {BEDROCK}", "http.request.method": "POST", "http.response.status_code": "200",
            "gen_ai.request.model": BEDROCK, "gen_ai.response.model": name, "gen_ai.usage.input_tokens": "1000",
            "gen_ai.usage.output_tokens": "100", "fairlead.team": "blue", "fairlead.backend": "bedrock-us-east-1",
            "fairlead.cost_usd": "0.004500000",
        }  # fmt: skip
        assert {key: record.get(key) for key in expected} == expected
        assert int(record["fairlead.first_token_ms"]) >= 0 and int(record["fairlead.duration_ms"]) >= 0
        assert not any(secret in str(collector.records) for secret in (PROMPT, ANSWER, CLIENT_KEY))
        gate.verify()
    collector.server.shutdown()
