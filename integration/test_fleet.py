"""Two Envoys that share their limits by the real rate limit service and a real Redis, and either of these killed under load."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import yaml

from . import gateway
from .cloud.driver import StandIn
from .conftest import Edit, routes
from .harness import BEDROCK, CHAT, VERTEX, Answer, Gate, say, until
from .test_teams import team

#: What scripts/setup-fleet brings.
PARTS = gateway.ROOT / ".setup" / "fleet"
#: The examples for an operator, from which everything here is made.
EXAMPLES = gateway.ROOT / "envoy" / "ratelimit"

OPUS = "bedrock/us.anthropic.claude-opus-4-1-20250805-v1:0"
OTHER_OPUS = "bedrock/us.anthropic.claude-opus-4-20250514-v1:0"
EMBEDDING = "bedrock/amazon.titan-embed-text-v2:0"

#: What a request waits for the service: no loaded machine of two cores may take a living one for dead.
TIMEOUT = "0.5s"

#: More than any test here uses.
PLENTY = 4_000_000_000


@dataclass
class Part:
    """A process of the fleet that can be killed, and started again where it was."""

    name: str
    port: int
    command: list[str]
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        gateway.wait_for(self.name, self.listens, self.process)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Ends it on the spot, without a chance to save anything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            gateway.stop(self.process)


def redis(folder: Path, port: int) -> Part:
    """Redis from the example; only port and directory are others."""
    text = (EXAMPLES / "redis.conf").read_text()
    for name, value in ("port", port), ("dir", folder):
        text, found = re.subn(rf"(?m)^{name} .*", f"{name} {value}", text)
        assert found == 1
    (folder / "redis.conf").write_text(text)
    return Part("redis", port, [str(PARTS / "redis-server"), "redis.conf"], folder)


def service(folder: Path, port: int, redis_port: int, limits: Edit) -> Part:
    """The rate limit service from the example; `limits` edits its limits."""
    lines = (EXAMPLES / "service.env").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    http, debug, metrics = gateway.free_ports(3)
    own = {"PORT": str(http), "DEBUG_PORT": str(debug), "PROMETHEUS_ADDR": f"127.0.0.1:{metrics}"}
    own |= {"GRPC_PORT": str(port), "REDIS_URL": f"127.0.0.1:{redis_port}", "RUNTIME_ROOT": str(folder)}
    assert set(own) <= set(environment)
    environment |= own

    shutil.copytree(EXAMPLES, folder / environment["RUNTIME_SUBDIRECTORY"])
    (path,) = (folder / environment["RUNTIME_SUBDIRECTORY"] / environment["RUNTIME_APPDIRECTORY"]).iterdir()
    config = yaml.safe_load(path.read_text())
    limits(config)
    path.write_text(yaml.safe_dump(config))
    return Part("ratelimit", port, [str(PARTS / "ratelimit")], folder, environment)


def limits(config: dict[str, Any]) -> None:
    """What this file's teams may use; a day instead of a minute, so that no window ends while a test runs."""

    def a_day(node: Any) -> None:
        for each in node.get("descriptors", []):
            if "rate_limit" in each:
                each["rate_limit"]["unit"] = "day"
            a_day(each)

    a_day(config)
    kinds = {each["value"]: each["descriptors"] for each in config["descriptors"]}
    for kind, most in {
        "requests": {"red": 40, "gold": PLENTY, "busy": PLENTY},
        "tokens": {"green": 50, "grey": 5, "gold": PLENTY, "busy": PLENTY},
        "micro_usd": {"rich": 400, "gold": PLENTY, "busy": PLENTY},
    }.items():
        name = kinds[kind][0]["rate_limit"]["name"]
        kinds[kind] += [
            {"key": "team", "value": team, "rate_limit": {"name": name, "unit": "day", "requests_per_unit": number}}
            for team, number in most.items()
        ]
    (blue,) = [each for each in kinds["tokens"] if each.get("value") == "blue"]
    blue["descriptors"][0]["rate_limit"]["requests_per_unit"] = 15


def teams(plugin: dict[str, Any]) -> None:
    """The teams of this file, each with the key `<name>-key`; some have a limit in each Envoy, too."""
    plugin["teams"] = {name: team(["*"], key=f"{name}-key") for name in ("red", "green", "grey", "blue", "gold", "rich", "busy")}
    for name in ("local-redis", "local-service"):
        plugin["teams"][name] = team(["*"], key=f"{name}-key", requests_per_minute=20)


@dataclass
class Fleet:
    """Two Envoys and what they share."""

    redis: Part
    service: Part
    #: Lets requests pass when the service is away, as the example does.
    open: Gate
    #: Refuses them then (`failure_mode_deny`).
    closed: Gate

    @property
    def gates(self) -> tuple[Gate, Gate]:
        return self.open, self.closed

    def ask(self, number: int, name: str, script: str = "", **more: Any) -> Answer:
        """A chat request of a team, to one Envoy or the other."""
        return ask(self.gates[number % 2], name, script, **more)

    def counted(self, kind: str, name: str) -> int:
        """What Redis has of a team, of all models."""
        with socket.create_connection(("127.0.0.1", self.redis.port), timeout=5) as connection:
            lines = connection.makefile("rw", newline="\r\n")

            def reply() -> Any:
                kind, rest = (head := lines.readline().strip())[0], head[1:]
                match kind:
                    case "*":
                        return [reply() for _ in range(int(rest))]
                    case "$":
                        return "0" if rest == "-1" else lines.readline().strip()
                    case _:
                        raise AssertionError(head)

            def command(*words: str) -> Any:
                lines.write(" ".join(words) + "\n")
                lines.flush()
                return reply()

            return sum(int(command("GET", key)) for key in command("KEYS", f"fairlead_limit_{kind}_team_{name}_[0-9]*"))

    def fresh(self) -> None:
        for gate in self.gates:
            gate.fresh()

    def verify(self) -> None:
        for gate in self.gates:
            gate.verify()
            # Envoy leaves a count out if it is no number.
            assert "hits_addend" not in gate.log()


def ask(gate: Gate, name: str, script: str = "", **more: Any) -> Answer:
    body = {"model": BEDROCK, "messages": say(script), "max_tokens": 100, **more}
    return gate.post(body, headers={"authorization": f"Bearer {name}-key"})


def refused(answer: Answer) -> dict[str, Any]:
    """The error of a 429 that comes from the fleet's limits."""
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 86_400
    return answer.error


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """The rate limit filter's own part of fleet.yaml."""
    (listener,) = config["static_resources"]["listeners"]
    filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    (found,) = [each for each in filters if each["name"] == "envoy.filters.http.ratelimit"]
    return found["typed_config"]


@pytest.fixture(scope="module")
def running_fleet(version: str, cloud: StandIn) -> Iterator[Fleet]:
    for part in ("ratelimit", "redis-server"):
        if not (PARTS / part).exists():
            pytest.fail(f"missing: .setup/fleet/{part}; type: scripts/setup-fleet")
    folder = gateway.RUNS / f"fleet-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    redis_port, service_port = gateway.free_ports(2)
    parts = redis(folder, redis_port), service(folder, service_port, redis_port, limits)

    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.stop)
            part.start()

        def envoy(name: str, deny: bool) -> gateway.Envoy:
            config = gateway.load("fleet.yaml")
            settings(config).update({"failure_mode_deny": deny, "timeout": TIMEOUT})
            port, admin_port = gateway.free_ports(2)
            gateway.localise(
                config, cloud.ports, clusters={"ratelimit": service_port}, port=port, admin_port=admin_port, plugin=teams
            )
            return gateway.Envoy(gateway.envoys()[version], config, f"fleet-{name}-{version}")

        envoys = envoy("open", False), envoy("closed", True)
        for each in envoys:
            stack.callback(each.stop)
        with ThreadPoolExecutor() as pool:
            opened, closed = (Gate(each, cloud) for each in pool.map(gateway.Envoy.start, envoys))
        yield Fleet(*parts, open=opened, closed=closed)


@pytest.fixture
def fleet(running_fleet: Fleet) -> Iterator[Fleet]:
    running_fleet.fresh()
    yield running_fleet
    running_fleet.verify()


def test_the_example_is_the_one_for_a_single_envoy_and_what_it_says_of_the_fleet() -> None:
    single, fleet = gateway.load("gateway.yaml"), gateway.load("fleet.yaml")
    (listener,) = fleet["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    # Behind fairlead, before the router.
    assert [each["name"] for each in manager["http_filters"]][:2] == ["fairlead", "envoy.filters.http.ratelimit"]
    del manager["http_filters"][1]
    del manager["route_config"]["virtual_hosts"][0]["typed_per_filter_config"]
    clusters = fleet["static_resources"]["clusters"]
    assert [clusters.pop()["name"], clusters.pop()["name"]] == ["ratelimit", "fairlead_leave"]
    (wasm,), (expected,) = gateway.wasm_settings(fleet), gateway.wasm_settings(single)
    plugin, other = (yaml.safe_load(each["configuration"].pop("value")) for each in (wasm, expected))
    assert list(plugin.pop("teams")) == ["blue"]
    assert plugin.pop("limits") == {"leave_cluster": "fairlead_leave"}
    assert plugin == other
    assert routes(fleet) == routes(single)
    assert fleet == single


def test_both_envoys_together_let_through_what_the_limit_allows(fleet: Fleet) -> None:
    most, asked = 40, 100
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda number: fleet.ask(number, "red"), range(asked)))
    assert Counter(answer.status for answer in answers) == {200: most, 429: asked - most}
    for answer in answers:
        if answer.status == 429:
            error = refused(answer)
            assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
            assert error["message"].startswith(f"the shared limit requests of {most} in 86400 s is reached")
    assert len(fleet.open.requests("bedrock")) == most


def test_the_sdks_raise_what_their_own_apis_make_them_raise(fleet: Fleet) -> None:
    url = fleet.open.envoy.url
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="rich-key", max_retries=0)
    other = anthropic.Anthropic(base_url=url, api_key="rich-key", max_retries=2)
    # Three dollars for a million tokens in, fifteen out: 450 millionths, and 400 are allowed.
    client.chat.completions.create(model=BEDROCK, messages=say("text in=100 out=10"), max_tokens=100)
    until("the cost in Redis", lambda: fleet.counted("micro_usd", "rich") == 450)
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model=BEDROCK, messages=say())
    assert "the shared limit millionths of a US dollar of 400 in 86400 s" in limited.value.message
    before = fleet.counted("requests", "rich")
    with pytest.raises(anthropic.RateLimitError) as again:
        other.messages.create(model=BEDROCK, max_tokens=10, messages=say())
    assert "the shared limit" in again.value.message
    # A wait of hours is not tried again.
    assert fleet.counted("requests", "rich") == before + 1


def test_the_tokens_settled_are_those_that_the_clouds_counted(fleet: Fleet) -> None:
    def use(number: int) -> int:
        script = f"text in={number % 7 + 1} out={number % 11 + 1}"
        model = (BEDROCK, VERTEX)[number // 2 % 2]
        client = fleet.gates[number % 2].client.with_options(api_key="gold-key")
        match number % 4:
            case 0:
                whole = client.chat.completions.create(model=model, messages=say(script), max_tokens=100)
                assert whole.usage
                return whole.usage.total_tokens
            case 1:
                chunks = client.chat.completions.create(
                    model=model, messages=say(script), stream=True, stream_options={"include_usage": True}
                )
                return sum(chunk.usage.total_tokens for chunk in chunks if chunk.usage)
            case 2:
                text = "word " * (number % 5 + 1)
                return client.embeddings.create(model=EMBEDDING, input=text).usage.total_tokens
            case _:
                # Titan takes one text a call.
                texts = ["word " * (text + 1) for text in range(number % 9 + 2)]
                return client.embeddings.create(model=EMBEDDING, input=texts).usage.total_tokens

    asked = 120
    with ThreadPoolExecutor(16) as pool:
        used = sum(pool.map(use, range(asked)))
    until("the tokens in Redis", lambda: fleet.counted("tokens", "gold") == used)
    assert fleet.counted("requests", "gold") == asked

    # What a client that leaves has seen is settled, too: as much as each Envoy counts by itself.
    for number in range(10):
        gate = fleet.gates[number % 2]
        body = {"model": BEDROCK, "messages": say("frames n=50 drip=5"), "stream": True}
        headers = {"authorization": "Bearer gold-key", "content-type": "application/json"}
        with gate.open("POST", CHAT, json.dumps(body), headers) as response:
            assert response.status == 200
            response.read(200)
    seen = until("every request's end in the metrics", lambda: ended(fleet, asked + 10) and metric(fleet, TOKENS))
    assert seen > used
    until("the tokens of who has left in Redis", lambda: fleet.counted("tokens", "gold") == seen)
    cost, rounded = metric(fleet, "fairlead_cost_nanodollars_total"), fleet.counted("micro_usd", "gold")
    assert cost <= rounded * 1000 < cost + (asked + 10) * 1000


TOKENS = "gen_ai_client_token_usage_total"


def ended(fleet: Fleet, requests: int) -> bool:
    return metric(fleet, "fairlead_requests_total") == requests


def metric(fleet: Fleet, name: str) -> int:
    """A counter of team gold, of both Envoys together."""
    pages = (gate.admin("GET", "/stats/prometheus?filter=wasmcustom") for gate in fleet.gates)
    return sum(int(count) for page in pages for count in re.findall(rf'(?m)^{name}{{.*team="gold".*}} (\d+)$', page))


def test_used_up_tokens_and_money_are_used_up_for_both(fleet: Fleet) -> None:
    # The first two requests use 63 of 50 tokens.
    for number in range(3):
        assert fleet.ask(number, "green", "text in=10 out=11").status == 200
        until("the tokens in Redis", lambda number=number: fleet.counted("tokens", "green") == 21 * (number + 1))
    for number in range(4):
        assert refused(fleet.ask(number, "green"))["message"].startswith("the shared limit tokens of 50 ")
    assert fleet.counted("tokens", "green") == 63

    # Nor do requests get around them that take several calls.
    embed = lambda number: fleet.gates[number % 2].post(  # noqa: E731
        {"model": EMBEDDING, "input": ["one", "two words", "and three words"]}, {"authorization": "Bearer grey-key"}, "/v1/embeddings"
    )  # fmt: skip
    assert embed(0).status == 200
    until("the tokens of three calls", lambda: fleet.counted("tokens", "grey") == 6)
    fleet.fresh()
    assert refused(embed(1))["message"].startswith("the shared limit tokens of 5 ")
    fleet.open.nothing_was_sent()

    # All versions of a model have a limit together, and other models are none of its concern.
    assert fleet.ask(0, "blue", "text in=10 out=11", model=OPUS).status == 200
    until("the limit of a model", lambda: fleet.ask(1, "blue", "text in=1 out=1", model=OTHER_OPUS).status == 429)
    assert refused(fleet.ask(0, "blue", model=OPUS))["message"].startswith("the shared limit tokens of Claude Opus ")
    assert fleet.ask(1, "blue").status == 200


@pytest.mark.parametrize("part", ["redis", "service"])
def test_a_fleet_goes_on_when_its_counts_are_lost_under_load(fleet: Fleet, part: str) -> None:
    victim: Part = getattr(fleet, part)
    stop = threading.Event()
    answers: list[list[tuple[float, int]]] = [[], []]

    def client(number: int) -> None:
        while not stop.is_set():
            began = time.monotonic()
            answer = fleet.ask(number, "busy")
            answers[number % 2].append((began, answer.status))
            assert answer.status == 200 or answer.error["code"] == "upstream_overloaded"

    before = fleet.counted("requests", "busy")
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        try:
            until("requests of both", lambda: all(len(each) > 20 for each in answers))
            counted = fleet.counted("requests", "busy")
            victim.kill()
            dead = time.monotonic()

            # Fail-open: what each Envoy counts by itself goes on.
            with ThreadPoolExecutor(25) as others:
                mine = list(others.map(lambda _: ask(fleet.open, f"local-{part}"), range(25)))
            assert Counter(each.status for each in mine) == {200: 20, 429: 5}
            for each in mine:
                if each.status == 429:
                    assert f"requests_per_minute of team local-{part} is reached" in each.error["message"]
            # Fail-closed: a clear answer, in the client's words.
            closed = ask(fleet.closed, "busy")
            assert closed.status == 503 and closed.headers["retry-after"] == "1"
            assert "could not look up the limits" in closed.error["message"]
            with pytest.raises(anthropic.InternalServerError) as error:
                anthropic.Anthropic(base_url=fleet.closed.envoy.url, api_key="busy-key", max_retries=0).messages.create(
                    model=BEDROCK, max_tokens=10, messages=say()
                )
            assert "could not look up the limits" in error.value.message

            alive = time.monotonic()
            victim.start()
            until("ten good answers in a row", lambda: all(ask(fleet.closed, "busy").status == 200 for _ in range(10)))
        finally:
            stop.set()
        for each in clients:
            each.result()

    opened, closed_answers = answers
    assert {status for _, status in opened} == {200}
    assert sum(dead < began < alive for began, _ in opened) > 3
    assert {status for began, status in closed_answers if began < dead - 1} <= {200}
    assert {status for began, status in closed_answers if dead < began < alive} == {503}
    # Killed without a warning, and nothing that was counted is lost.
    assert before < counted < fleet.counted("requests", "busy")
