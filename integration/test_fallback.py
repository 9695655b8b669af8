"""A gate and its tries through a real Envoy: when a backend fails, another one serves, and no client hears of it."""

from __future__ import annotations

import asyncio
import copy
import http.client
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from . import crowd, gateway
from .cloud.driver import StandIn
from .cloud.embeddings import vector
from .conftest import routes, running
from .harness import BEDROCK, CHAT, CLIENT_KEY, VERTEX, Answer, Gate, events, say, until
from .test_resilience import MIB, resident
from .test_teams import WORKERS, team, teams

#: How many requests meet each fault, and from how many clients they come.
REQUESTS, CLIENTS = 1000, 64

#: How long a backend may be silent in these tests. Above what a loaded machine needs for an answer.
SILENCE = 2.0

FIRST, SECOND = "bedrock-us-east-1", "vertex-us-central1"

#: What clients prove themselves with.
KEY = {"authorization": f"Bearer {CLIENT_KEY}"}

#: What the first backend does, by a script of the stand-in, and how `fairlead_tries_total` calls it.
FAULTS = {
    "throttled": ("error type=throttle", "throttled"),
    "unavailable": ("error type=unavailable", "overloaded"),
    "failing": ("error type=internal", "failed"),
    "expired": ("error type=expired", "no_credentials"),
    "denied": ("error type=denied", "denied"),
    "reset": ("reset", "lost"),
    "exception first": ("text fault=exception after=0 type=throttle", "throttled"),
    "exception second": ("text fault=exception after=1 type=internal", "failed"),
    "nothing": ("text fault=end after=0", "garbled"),
    "garbage": ("raw kind=wrong", "garbled"),
    "half an answer": ("text fault=cut after=0", "garbled"),
}


#: Known only when all of the reply is there.
AT_ITS_END = ("nothing", "garbage", "half an answer")


def is_old(gate: Gate) -> bool:
    """Whether a retry at the end of a reply takes this Envoy down: github.com/envoyproxy/envoy/pull/41879."""
    return "envoy-1.36" in str(gate.envoy.binary)


def aggregate(config: dict[str, Any], name: str, members: list[str]) -> None:
    """Adds a chain of clusters like those of the file."""
    clusters = config["static_resources"]["clusters"]
    (known,) = [cluster for cluster in clusters if cluster["name"] == "from_us_east_1"]
    chain = copy.deepcopy(known)
    chain["name"] = name
    chain["cluster_type"]["typed_config"]["clusters"] = members
    clusters.insert(0, chain)


def pairs(plugin: dict[str, Any]) -> None:
    """Models that two backends have: the first or another one that may be killed, and then Vertex."""
    model = BEDROCK
    for name, first in (("pair", FIRST), ("mortal", "bedrock-us-west-2")):
        targets = [{"backend": first, "model": model, "order": 1}, {"backend": SECOND, "model": VERTEX, "order": 2}]
        plugin["models"].append({"name": name, "targets": targets})
        plugin["chains"].append({"cluster": name, "backends": [first, SECOND]})
    # Vectors of one text in a call; one of the backends has a cluster that Envoy does not know.
    plugin["backends"]["missing"] = plugin["backends"][FIRST] | {"cluster": "missing"}
    for name, first in (("vectors", FIRST), ("lost-vectors", "missing")):
        plugin["models"].append({"name": name, "targets": [
            {"backend": first, "model": "bedrock/amazon.titan-embed-text-v2:0", "order": 1},
            {"backend": SECOND, "model": "vertex_ai/gemini-embedding-001", "order": 2},
        ]})  # fmt: skip
    # Asked first where the first backend of a pair is passed over.
    plugin["chains"].append({"cluster": "riap", "backends": [SECOND, FIRST]})


def paired(config: dict[str, Any]) -> None:
    aggregate(config, "pair", ["bedrock_us_east_1", "vertex_us_central1"])
    aggregate(config, "mortal", ["bedrock_us_west_2", "vertex_us_central1"])
    aggregate(config, "riap", ["vertex_us_central1", "bedrock_us_east_1"])
    for route in routes(config)[:2]:
        route["route"]["retry_policy"]["per_try_idle_timeout"] = f"{SILENCE}s"


class Door:
    """A port that leads to another one while it is open; closed, connections to it are refused."""

    def __init__(self, port: int) -> None:
        self._to = port
        (self.port,) = gateway.free_ports(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def open(self) -> None:
        async def begin() -> None:
            self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(10)

    def close(self) -> None:
        async def end() -> None:
            assert self._server is not None
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, back}

        async def copy_all(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    to.write(data)
                    await to.drain()
            except OSError:
                pass
            finally:
                to.close()

        await asyncio.gather(copy_all(reader, back), copy_all(there, writer))
        self._writers -= {writer, back}


def opened(port: int) -> Iterator[Door]:
    door = Door(port)
    door.open()
    yield door
    door.stop()


@pytest.fixture(scope="module")
def door(cloud: StandIn) -> Iterator[Door]:
    """The way to us-west-2."""
    yield from opened(cloud.ports["bedrock"])


@pytest.fixture(scope="module")
def strict_gate(version: str, cloud: StandIn, door: Door) -> Iterator[Gate]:
    """A gate whose backends are never left alone, however often they fail: so every request meets the fault."""

    def edit(config: dict[str, Any]) -> None:
        paired(config)
        for cluster in config["static_resources"]["clusters"]:
            cluster.pop("outlier_detection", None)

    clusters = {"bedrock_us_west_2": door.port}
    with running(
        version, cloud, "fallback", plugin=pairs, edit=edit, clusters=clusters, file="fallback.yaml",
        concurrency=WORKERS,
    ) as gate:  # fmt: skip
        yield gate


@pytest.fixture
def strict(strict_gate: Gate) -> Iterator[Gate]:
    strict_gate.fresh()
    yield strict_gate
    strict_gate.verify()
    leaves_nothing(strict_gate)


def leaves_nothing(gate: Gate) -> None:
    until("Envoy holds nothing", lambda: gate.stats("http.llm.downstream_rq_active") == 0)


@contextmanager
def broken(gate: Gate, script: str, cloud: str = "bedrock") -> Iterator[None]:
    """A cloud that answers everything alike."""
    gate.force(script, cloud, 1_000_000)
    try:
        yield
    finally:
        gate.cloud.control("DELETE", "/script")


def metric(gate: Gate, name: str, **labels: str) -> int:
    """A counter of the plugin's with some of its labels, as Prometheus reads it."""
    total = 0
    for line in gate.admin("GET", f"/stats/prometheus?filter={name}").splitlines():
        if f"{name}{{" in line and all(f'{label}="{value}"' in line for label, value in labels.items()):
            total += int(line.rsplit(" ", 1)[1])
    return total


def tries(gate: Gate) -> Counter[tuple[str, str]]:
    """Tries by backend and outcome."""
    found: Counter[tuple[str, str]] = Counter()
    for line in gate.admin("GET", "/stats/prometheus?filter=fairlead_tries_total").splitlines():
        # Envoy 1.36 puts the cluster before it.
        if "fairlead_tries_total{" in line:
            label = lambda name: line.split(f'{name}="')[1].split('"')[0]  # noqa: E731, B023
            found[label("backend"), label("outcome")] += int(line.rsplit(" ", 1)[1])
    return found


def all_served(seen: crowd.Seen, by: str, attempts: int, count: int = REQUESTS) -> None:
    assert seen.wrong == [] and seen.statuses == {200: count}, (seen.statuses, seen.wrong)
    assert seen.backends == {by: count}, seen.backends
    assert seen.attempts == {attempts: count}, seen.attempts


@pytest.mark.parametrize("fault", FAULTS)
def test_a_thousand_requests_that_meet_a_fault_are_served_by_the_second(strict: Gate, fault: str) -> None:
    script, outcome = FAULTS[fault]
    if fault in AT_ITS_END and is_old(strict):
        pytest.skip("such an Envoy is not asked to retry when all of a reply is there")
    before = tries(strict)
    with broken(strict, script):
        all_served(crowd.send(strict.envoy.port, crowd.asks("pair", REQUESTS), CLIENTS), SECOND, 2)
    assert tries(strict) - before == {(FIRST, outcome): REQUESTS, (SECOND, "ok"): REQUESTS}
    healed = crowd.send(strict.envoy.port, crowd.asks("pair", CLIENTS), CLIENTS)
    all_served(healed, FIRST, 1, CLIENTS)


@pytest.mark.parametrize(
    ("model", "script", "outcome"),
    [
        ("vectors", "error type=unavailable", "overloaded"),
        ("vectors", "error type=denied", "denied"),
        ("vectors", "reset", "unreachable"),
        ("lost-vectors", "default", "unreachable"),
    ],
)
def test_all_of_several_calls_are_made_at_the_second(strict: Gate, model: str, script: str, outcome: str) -> None:
    before = tries(strict)
    inputs = [f"text {number}" for number in range(20)]
    with broken(strict, script):
        reply = strict.post({"model": model, "input": inputs}, KEY, "/v1/embeddings")
    assert reply.status == 200, reply.body[:300]
    assert [item["embedding"] for item in json.loads(reply.body)["data"]] == [vector(text, 3072) for text in inputs]
    assert reply.headers["x-fairlead-backend"] == SECOND
    first = "missing" if model == "lost-vectors" else FIRST
    assert tries(strict) - before == {(first, outcome): 1, (SECOND, "ok"): 1}


def test_a_backend_that_asks_for_time_is_passed_over_until_it_is_up(strict: Gate) -> None:
    """By all workers; only those who had asked already are served by a second try."""
    seconds = 3
    with broken(strict, f"error type=throttle retry_after={seconds}"):
        begun = time.monotonic()
        seen = crowd.send(strict.envoy.port, crowd.asks("pair", REQUESTS), CLIENTS)
        took = time.monotonic() - begun
    assert seen.wrong == [] and seen.backends == {SECOND: REQUESTS}, (seen.backends, seen.wrong)
    # Nobody has waited for the first one, and after the first few nobody has asked it.
    assert took < seconds, took
    assert seen.attempts[2] <= 2 * CLIENTS and seen.attempts[1] + seen.attempts[2] == REQUESTS, seen.attempts
    ask = lambda: crowd.send(strict.envoy.port, crowd.asks("pair", 10), 1)  # noqa: E731
    all_served(ask(), SECOND, 1, 10)
    until("the first one is used again", lambda: ask().backends == {FIRST: 10}, 2 * seconds)


def test_a_silent_backend_is_left_for_the_second(strict: Gate) -> None:
    clients = 250
    with broken(strict, f"hang s={10 * SILENCE}"):
        begun = time.monotonic()
        all_served(crowd.send(strict.envoy.port, crowd.asks("pair", REQUESTS), clients), SECOND, 2)
        assert time.monotonic() - begun > SILENCE * REQUESTS / clients
    all_served(crowd.send(strict.envoy.port, crowd.asks("pair", CLIENTS), CLIENTS), FIRST, 1, CLIENTS)


def test_a_backend_that_is_gone_is_replaced_by_the_second_and_used_again(strict: Gate, door: Door) -> None:
    ask = lambda count: crowd.send(strict.envoy.port, crowd.asks("mortal", count), CLIENTS)  # noqa: E731
    all_served(ask(CLIENTS), "bedrock-us-west-2", 1, CLIENTS)
    door.close()
    try:
        all_served(ask(REQUESTS), SECOND, 2)
    finally:
        door.open()
    all_served(ask(CLIENTS), "bedrock-us-west-2", 1, CLIENTS)


def test_what_is_the_clients_own_fault_is_tried_once(strict: Gate) -> None:
    before = tries(strict)
    with broken(strict, "error type=invalid"):
        for stream in (False, True):
            answer = strict.post({"model": "pair", "messages": say(), "stream": stream}, KEY)
            assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
            assert (answer.headers["x-fairlead-attempts"], answer.headers["x-fairlead-backend"]) == ("1", FIRST)
    assert tries(strict) - before == {(FIRST, "refused"): 2}
    answer = strict.post({"model": "pair", "messages": say(), "temperature": "hot"}, KEY)
    assert (answer.status, answer.error["param"]) == (400, "temperature")
    assert tries(strict) - before == {(FIRST, "refused"): 2} and strict.requests("vertex") == []


@pytest.mark.parametrize("fault", ["exception", "reset", "fin", "cut", "junk", "hang"])
def test_a_stream_that_breaks_later_is_told_to_the_client_and_not_tried_again(strict: Gate, fault: str) -> None:
    before = tries(strict)
    body = {"model": "pair", "messages": say(f"frames n=30 drip=20 fault={fault} after=9 s=30"), "stream": True}
    try:
        answer = strict.post(body, KEY)
    except http.client.IncompleteRead as cut:
        # Envoy has had no time to say more.
        assert fault in ("reset", "fin", "hang"), fault
        assert b"data: [DONE]" not in cut.partial
        text = cut.partial.decode()
    else:
        assert answer.status == 200 and answer.headers["x-fairlead-attempts"] == "1"
        text = answer.body.decode()
        assert "error" in events(text)[-1], text[-300:]
    assert text.count('"role":"assistant"') == 1 and '"content":"5' in text
    assert tries(strict) - before == {(FIRST, "ok"): 1} and strict.requests("vertex") == []


def test_requests_are_split_by_weight(strict: Gate) -> None:
    count = 10_000
    seen = crowd.send(strict.envoy.port, crowd.asks("fast", count), CLIENTS)
    assert seen.wrong == [] and seen.attempts == {1: count}, (seen.attempts, seen.wrong)
    # The file asks for 3 to 1.
    assert abs(seen.backends[FIRST] / count - 0.75) < 0.02, seen.backends
    assert seen.backends[FIRST] + seen.backends[SECOND] == count


#: What anyone may use here: so much that nothing is refused.
MOST = 1_000_000_000


@pytest.fixture(scope="module")
def far(cloud: StandIn) -> Iterator[Door]:
    """The way to us-east-1."""
    yield from opened(cloud.ports["bedrock"])


@pytest.fixture(scope="module")
def shipped_gate(version: str, cloud: StandIn, far: Door) -> Iterator[Gate]:
    """The file as it is, with teams and models of several kinds; only what it waits for is shorter."""

    def edit(config: dict[str, Any]) -> None:
        for cluster in config["static_resources"]["clusters"]:
            if known := cluster.get("outlier_detection"):
                known |= {"interval": "0.2s", "base_ejection_time": "1s", "max_ejection_time": "2s"}
        for route in routes(config)[:2]:
            route["route"]["retry_policy"]["per_try_idle_timeout"] = f"{SILENCE}s"
        clusters = config["static_resources"]["clusters"]
        (known,) = [cluster for cluster in clusters if cluster["name"] == "bedrock_us_east_1"]
        busy = copy.deepcopy(known)
        busy["name"] = busy["load_assignment"]["cluster_name"] = "busy"
        (endpoint,) = busy["load_assignment"]["endpoints"][0]["lb_endpoints"]
        endpoint["metadata"] = {"filter_metadata": {"fairlead": {"backend": "busy"}}}
        clusters.append(busy)
        aggregate(config, "counted", ["busy", "vertex_us_central1"])

    def plugin(config: dict[str, Any]) -> None:
        limits = {"tokens_per_minute": MOST, "concurrent_requests": 1000, "budget": {"usd": MOST / 1e6, "per": "30d"}}
        bound = team(["narrow", "bedrock/*", "vertex_ai/*"], key="bound-key")
        teams(blue=team(["*"], **limits), bound=bound)(config)
        # A token is a millionth of a dollar: what is spent are the tokens, also those of minutes ago.
        config["prices"] = [{"model": "*", "input": 1, "output": 1}]
        nova, gemini = "bedrock/us.amazon.nova-lite-v1:0", "vertex_ai/gemini-2.5-flash"
        config["backends"]["busy"] = config["backends"][FIRST] | {
            "cluster": "busy", "limits": {"requests_per_minute": 100}}
        config["models"] += [
            {"name": "narrow", "backend": FIRST, "model": nova, "context_window": 1000,
             "fallbacks": [], "context_window_fallbacks": ["wide"]},
            {"name": "wide", "backend": SECOND, "model": gemini},
            {"name": "bare", "backend": FIRST, "model": nova, "fallbacks": []},
            {"name": "counted", "targets": [
                {"backend": "busy", "model": nova, "order": 1}, {"backend": SECOND, "model": gemini, "order": 2}]},
        ]  # fmt: skip
        config["chains"].append({"cluster": "counted", "backends": ["busy", SECOND]})
        config["default_fallbacks"] = ["wide"]
        config["models"][0]["fallbacks"] = []

    with running(
        version, cloud, "fallback-shipped", plugin=plugin, edit=edit, clusters={"bedrock_us_east_1": far.port},
        file="fallback.yaml", concurrency=WORKERS,
    ) as gate:  # fmt: skip
        yield gate


@pytest.fixture
def shipped(shipped_gate: Gate) -> Iterator[Gate]:
    shipped_gate.fresh()
    yield shipped_gate
    shipped_gate.verify()
    leaves_nothing(shipped_gate)


SONNET = "claude-sonnet"


def ask(gate: Gate, count: int, model: str = SONNET, **more: Any) -> crowd.Seen:
    return crowd.send(gate.envoy.port, crowd.asks(model, count, **more), CLIENTS)


def heals(gate: Gate) -> None:
    """Nobody is left alone any more, and all workers ask the first backend again."""
    ejected = r"/stats?filter=^cluster\..*\.outlier_detection\.ejections_active$"
    until("all are back", lambda: not re.search(r": [1-9]", gate.admin("GET", ejected)))
    until("the first is used again", lambda: ask(gate, 100).backends == {FIRST: 100})


def test_a_region_that_is_gone_is_left_alone_until_it_is_back(shipped: Gate, far: Door) -> None:
    heals(shipped)
    far.close()
    try:
        seen = ask(shipped, REQUESTS)
        assert seen.wrong == [] and seen.backends == {"bedrock-us-west-2": REQUESTS}, (seen.backends, seen.wrong)
        assert seen.attempts[1] + seen.attempts[2] == REQUESTS and seen.attempts[1] > REQUESTS // 2, seen.attempts
    finally:
        far.open()
    heals(shipped)


@pytest.mark.parametrize("script", ["error type=unavailable", "text fault=exception after=0 type=internal"])
def test_a_cloud_that_fails_is_left_alone_until_it_is_well(shipped: Gate, script: str) -> None:
    heals(shipped)
    with broken(shipped, script):
        seen = ask(shipped, REQUESTS)
    assert seen.wrong == [] and seen.backends == {SECOND: REQUESTS}, (seen.backends, seen.wrong)
    # How soon it is left alone depends on how fast the machine is beside its interval of a second.
    assert seen.attempts[1] + seen.attempts[2] > REQUESTS // 5, seen.attempts
    heals(shipped)


def test_the_last_of_the_chain_serves_when_all_others_fail(shipped: Gate) -> None:
    heals(shipped)
    with broken(shipped, "error type=throttle"), broken(shipped, "error type=denied", "vertex"):
        seen = ask(shipped, 100)
    assert seen.wrong == [] and seen.backends == {"anthropic": 100}, (seen.backends, seen.wrong)
    heals(shipped)


def test_when_all_fail_the_client_hears_what_the_last_one_said(shipped: Gate) -> None:
    heals(shipped)
    with (
        broken(shipped, "error type=throttle"), broken(shipped, "error type=throttle", "vertex"),
        broken(shipped, "error type=throttle message=last-words", "anthropic"),
    ):  # fmt: skip
        answer = shipped.post({"model": SONNET, "messages": say()}, KEY)
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert "last-words" in answer.error["message"]
    assert (answer.headers["x-fairlead-attempts"], answer.headers["x-fairlead-backend"]) == ("4", "anthropic")


def failing(*scripts: str) -> list[dict[str, Any]]:
    """A conversation of which only some places hear: each script names its model or its cloud."""
    return say(text=" ".join(f"[[script:{script}]]" for script in scripts))


def test_models_stand_in_as_the_file_or_the_request_says(shipped: Gate) -> None:
    heals(shipped)
    nova, gemini = "error type=throttle model=nova", "error type=throttle model=gemini"
    both = failing(nova, gemini)

    def call(model: str, messages: Any, **more: Any) -> Answer:
        return shipped.post({"model": model, "messages": messages, **more}, more.pop("key", KEY))

    def place(answer: Answer) -> tuple[str, str]:
        assert answer.status == 200, answer.body
        model = answer.headers["x-fairlead-model"]
        return answer.headers["x-fairlead-backend"], next(word for word in ("nova", "gemini", "claude") if word in model)

    # Each of the two that `fast` has comes before what stands in for it.
    assert {place(call("fast", failing(nova))) for _ in range(20)} == {(SECOND, "gemini")}
    assert {place(call("fast", failing(gemini))) for _ in range(20)} == {(FIRST, "nova")}
    stood_in = Counter(place(call("fast", both)) for _ in range(20))
    assert {model for _, model in stood_in} == {"claude"}, stood_in
    refused = [call("fast", both, disable_fallbacks=True) for _ in range(20)]
    assert {(each.status, each.headers["x-fairlead-attempts"]) for each in refused} == {(429, "2")}

    assert place(call("counted", failing(nova))) == (SECOND, "gemini"), "no fallback is needed"
    assert call("bare", failing(nova)).status == 429, "it has none"
    own = call("bare", failing(nova), fallbacks=["fast", SONNET])
    assert place(own)[1] in ("gemini", "claude")
    assert all("fallbacks" not in request["body"] for request in shipped.requests("bedrock"))


def test_a_team_brings_no_model_that_it_may_not_use(shipped: Gate) -> None:
    key = {"authorization": "Bearer bound-key"}
    body = {"model": "narrow", "messages": say(), "fallbacks": [SONNET]}
    answer = shipped.post(body, key)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (403, "model_not_allowed", "fallbacks[0]")
    shipped.nothing_was_sent()


def test_what_is_too_long_goes_to_a_wider_model_before_or_after(shipped: Gate) -> None:
    heals(shipped)
    before = tries(shipped)
    long = shipped.post({"model": "narrow", "messages": say(text="word " * 5000)}, KEY)
    assert (long.status, long.headers["x-fairlead-backend"]) == (200, SECOND), long.body
    assert tries(shipped) - before == {(SECOND, "ok"): 1}
    script = "error type=invalid model=nova message='Input is too long for requested model.'"
    # Told only when all of the reply is there.
    for stream in () if is_old(shipped) else (False, True):
        told = shipped.post({"model": "narrow", "messages": failing(script), "stream": stream}, KEY)
        assert (told.status, told.headers["x-fairlead-backend"]) == (200, SECOND), told.body
        assert told.headers["x-fairlead-attempts"] == "2"
    other = shipped.post({"model": "narrow", "messages": failing("error type=throttle model=nova")}, KEY)
    assert other.status == 429, "it is not for those that are short enough"


def test_an_account_that_is_used_up_is_passed_over_by_all_workers(shipped: Gate) -> None:
    seen = ask(shipped, 400, "counted")
    assert seen.wrong == [] and seen.attempts == {1: 400}, (seen.attempts, seen.wrong)
    # A window slides: it may be a few more where it turns within these seconds.
    assert 90 <= seen.backends["busy"] <= 200, seen.backends
    assert seen.backends["busy"] + seen.backends[SECOND] == 400


def usage(gate: Gate) -> dict[str, Any]:
    """What team blue has used and holds."""
    return json.loads(gate.call("GET", "/fairlead/usage", headers=KEY).body)["teams"][0]["limits"]


def test_a_request_is_reserved_and_charged_once_however_many_tries_it_takes(shipped: Gate) -> None:
    heals(shipped)
    count, came, went = 200, 11, 5
    before, wasted = usage(shipped), metric(shipped, "fairlead_failed_try_tokens_total")
    last = f"text in={came} out={went} only=anthropic"
    messages = failing("text fault=exception after=0 only=bedrock", "error type=throttle only=vertex", last)
    body = json.dumps({"model": SONNET, "messages": messages, "stream": True}).encode()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: shipped.post(body, KEY), range(count)))
    assert Counter(each.status for each in answers) == {200: count}
    assert {each.headers["x-fairlead-backend"] for each in answers} == {"anthropic"}
    until("all is settled", lambda: usage(shipped)["concurrent_requests"]["reserved"] == 0)
    after = usage(shipped)
    assert after["tokens_per_minute"]["reserved"] == after["budget"]["reserved"] == 0
    charged = round((after["budget"]["used"] - before["budget"]["used"]) * 1e6)
    assert charged == count * (came + went), "as often as there were answers, and not as tries"
    assert metric(shipped, "fairlead_failed_try_tokens_total") == wasted, "what is refused is not billed"


def test_clients_that_leave_between_tries_and_within_them_leave_nothing_behind(shipped: Gate) -> None:
    heals(shipped)
    text = "x" * 20_000
    slow = failing("error type=throttle only=bedrock delay=60", "frames n=40 drip=5 delay=30 only=vertex")
    body = json.dumps({"model": SONNET, "messages": say(text=text) + slow, "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
    request = head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body

    def leave(number: int) -> None:
        with shipped.socket() as client:
            client.sendall(request if number % 8 else request[: len(request) * (number % 64) // 64])
            time.sleep(number % 50 / 100)

    def load(count: int) -> None:
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(leave, range(count)))
        leaves_nothing(shipped)
        until("all is settled", lambda: usage(shipped)["concurrent_requests"]["reserved"] == 0)

    load(300)
    before = resident(shipped)
    load(600)
    held = usage(shipped)
    assert held["tokens_per_minute"]["reserved"] == held["budget"]["reserved"] == 0
    # A ticket holds its request's translation: 600 of them would be 12 MB and more.
    assert resident(shipped) - before < 6 * MIB
    heals(shipped)


def test_several_calls_counts_models_and_looks_are_the_gates_own(shipped: Gate) -> None:
    """They go to a backend's own cluster, or nowhere."""
    heals(shipped)
    before = tries(shipped)
    inputs = [f"text {number}" for number in range(40)]
    body = {"model": "bedrock/amazon.titan-embed-text-v2:0", "input": inputs}
    many = shipped.post(body, KEY, "/v1/embeddings")
    assert many.status == 200, many.body[:300]
    assert [item["embedding"] for item in json.loads(many.body)["data"]] == [vector(text, 1024) for text in inputs]
    images = {"model": "bedrock/stability.stable-image-core-v1:1", "prompt": "a bridge", "n": 3}
    made = shipped.post(images, KEY, "/v1/images/generations")
    assert made.status == 200 and len(json.loads(made.body)["data"]) == 3, made.body[:300]
    assert tries(shipped) - before == {(FIRST, "ok"): 2}
    assert len(shipped.requests("bedrock")) >= 43

    chat = {"model": BEDROCK, "messages": say(), "max_tokens": 20}
    counted = shipped.post(chat, KEY, "/v1/messages/count_tokens")
    assert counted.status == 200 and json.loads(counted.body)["input_tokens"] > 0, counted.body
    listed = shipped.call("GET", "/v1/models", headers=KEY)
    assert {"claude-sonnet", "fast"} <= {model["id"] for model in json.loads(listed.body)["data"]}
    shown = shipped.post({**chat, "model": SONNET}, KEY | {"x-fairlead-dry-run": "true"})
    assert json.loads(shown.body)["estimated_input_tokens"] > 0


def test_bodies_of_any_size_come_through_a_gate_and_its_tries(shipped: Gate) -> None:
    heals(shipped)

    def send(number: int) -> tuple[int, int]:
        size = (0, 1, 300, 70_000, 1_000_000, 5_000_000)[number % 6]
        if size == 0:
            return size, shipped.post(b"", KEY).status
        script = "error type=throttle only=bedrock" if number % 2 else ""
        return size, shipped.post({"model": SONNET, "messages": say(script, "x" * size)}, KEY).status

    with ThreadPoolExecutor(16) as pool:
        for size, status in pool.map(send, range(48)):
            assert status == (200 if size else 400), size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_stays_where_it_is_from_the_first_thousand_to_the_fifth(shipped: Gate) -> None:
    """A ticket that stays holds a request's translation: 4,000 of them would be 8 MiB and more."""
    heals(shipped)
    stop = ["x" * 2000]
    with broken(shipped, "error type=throttle"):
        assert ask(shipped, 1000, stop=stop).wrong == []
        before = resident(shipped)
        for _ in range(4):
            assert ask(shipped, 1000, stop=stop).wrong == []
    assert resident(shipped) - before < 4 * MIB


def test_the_log_and_the_metrics_tell_who_asked_what_and_where_it_was_had(shipped: Gate) -> None:
    heals(shipped)
    before = tries(shipped)
    served = metric(shipped, "fairlead_requests_total", team="blue", model=SONNET, status="200")
    messages = failing("error type=throttle only=bedrock", "text in=13 out=7 only=vertex")
    answer = shipped.post({"model": SONNET, "messages": messages}, KEY)
    assert answer.status == 200
    assert metric(shipped, "fairlead_requests_total", team="blue", model=SONNET, status="200") == served + 1
    throttled = {(FIRST, "throttled"): 1, ("bedrock-us-west-2", "throttled"): 1, (SECOND, "ok"): 1}
    assert tries(shipped) - before == throttled

    def line() -> Any:
        lines = [line for line in shipped.log().splitlines() if answer.headers["x-request-id"] in line]
        return json.loads(lines[0]) if lines else None

    told = until("the access log is written", line)
    known = {name: told[name] for name in ("status", "team", "backend", "attempts", "input_tokens", "output_tokens")}
    assert known == {
        "status": 200, "team": "blue", "backend": SECOND, "attempts": "3", "input_tokens": "13", "output_tokens": "7",
    }  # fmt: skip


def test_tries_that_know_nothing_of_the_gate_say_what_to_set(version: str, cloud: StandIn) -> None:
    """Bedrock's have another VM, Vertex's are shown no body."""

    def edit(config: dict[str, Any]) -> None:
        for cluster in config["static_resources"]["clusters"]:
            if cluster["name"] in ("only_us_east_1", "only_vertex"):
                options = copy.deepcopy(cluster["typed_extension_protocol_options"])
                cluster["typed_extension_protocol_options"] = options
                (settings,) = gateway.wasm_settings(options)
                if cluster["name"] == "only_us_east_1":
                    settings["vm_config"] = settings["vm_config"] | {"vm_id": "another"}
                else:
                    del settings["allow_on_headers_stop_iteration"]

    with running(version, cloud, "fallback-misled", edit=edit, file="fallback.yaml", concurrency=1) as gate:
        gate.fresh()
        gate.expected_errors = ["allow_on_headers_stop_iteration"]
        strange = gate.post({"model": BEDROCK, "messages": say()})
        assert (strange.status, strange.error["code"]) == (500, "internal_error")
        assert "vm_config of both positions is the same" in strange.error["message"]
        begun = time.monotonic()
        shut = gate.post({"model": VERTEX, "messages": say()})
        if is_old(gate):
            assert shut.status == 200, "it needs no such setting here"
            return
        assert (shut.status, shut.error["code"]) == (500, "internal_error")
        assert "allow_on_headers_stop_iteration" in shut.error["message"] and time.monotonic() - begun < 10
        gate.nothing_was_sent()
        gate.verify()
