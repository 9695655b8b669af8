"""Where the pause flag cannot be set: a second filter holds the headers, and everything is as with the flag."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from . import gateway
from .cloud.driver import StandIn
from .conftest import Edit, more_backends, ready_for_tests, routes, running
from .harness import BEDROCK, CHAT, CLIENT_KEY, MODELS, PROMPT, Gate, events, say, until

# These run here once more: `common_gate` below puts the gateway with the latch in the place of the other.
from .test_resilience import (  # noqa: F401
    test_a_backend_that_is_down_does_not_hold_up_the_others,
    test_a_reply_without_end_is_not_kept,
    test_clients_that_leave_at_any_moment_do_no_harm,
    test_memory_stays_where_it_is_over_two_thousand_requests,
    test_sixty_four_clients_of_all_kinds_at_once,
)
from .test_stream import *  # noqa: F403

KIB = 1024


@pytest.fixture(scope="module")
def common_gate(version: str, cloud: StandIn) -> Iterator[Gate]:
    clusters, edit = ready_for_tests(cloud)
    edits = both(edit, gateway.with_latch)
    with running(version, cloud, "latch", plugin=more_backends, edit=edits, clusters=clusters) as gate:
        yield gate


def both(*edits: Edit) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        for one in edits:
            one(config)

    return edit


# Large bodies, small buffers, many clients

#: Sizes of texts in requests, in bytes.
SIZES = [0, 1, 1000, 16 * KIB, 100 * KIB, 5_000_000]


def small_buffers(config: dict[str, Any]) -> None:
    """Buffers as small as operators make them for the edge."""
    (listener,) = config["static_resources"]["listeners"]
    listener["per_connection_buffer_limit_bytes"] = 32 * KIB


@pytest.fixture(scope="module")
def small_gate(version: str, cloud: StandIn) -> Iterator[Gate]:
    edit = both(gateway.with_latch, small_buffers)
    with running(version, cloud, "latch-small", edit=edit, plugin=more_backends, concurrency=4) as gate:
        yield gate


@pytest.mark.parametrize("size", SIZES)
def test_bodies_of_any_size_pass_whatever_envoys_buffers_hold(small_gate: Gate, where: str, size: int) -> None:
    small_gate.fresh()
    text = "x" * size
    answer = small_gate.post({"model": MODELS[where], "messages": say("text say=ok", text)})
    assert answer.status == 200, answer.body[:500]
    # The largest are not kept, only counted.
    sent = small_gate.sent(where)
    assert text in json.dumps(sent["body"]) if sent["body"] else sent["body_bytes"] > size
    small_gate.verify()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_replies_of_any_size_pass_whatever_envoys_buffers_hold(small_gate: Gate, where: str, stream: bool) -> None:
    small_gate.fresh()
    body = {"model": MODELS[where], "messages": say("text size=3000000 piece=10000"), "stream": stream}
    answer = small_gate.post(body)
    assert answer.status == 200, answer.body[:500]
    if stream:
        *chunks, done = events(answer.body.decode())
        said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        assert done == "[DONE]"
    else:
        said = json.loads(answer.body)["choices"][0]["message"]["content"]
    assert len(said) == 3_000_000
    small_gate.verify()


def test_an_empty_body_is_refused_like_any_that_is_no_json(small_gate: Gate) -> None:
    small_gate.fresh()
    for body in (None, b"", iter([b""])):
        answer = small_gate.call("POST", CHAT, body, {"content-type": "application/json"})
        assert (answer.status, answer.error["code"]) == (400, "invalid_json")
    small_gate.nothing_was_sent()
    small_gate.verify()


def test_sixty_four_clients_on_four_workers_with_bodies_from_nothing_to_five_megabytes(small_gate: Gate) -> None:
    """Some leave in the middle of their request or of their reply; all others get their own answer."""
    small_gate.fresh()
    end = time.monotonic() + 5
    wrong: list[Any] = []

    def client(number: int) -> Counter[str]:
        chance = random.Random(number)
        done: Counter[str] = Counter()
        turn = 0
        while time.monotonic() < end:
            turn += 1
            size = chance.choices(SIZES, [4, 4, 8, 4, 2, 1])[0]
            said = f"mine-{number}-{turn}"
            stream = chance.random() < 0.5
            messages = say(f"text say={said} size=2000", "x" * size)
            body = json.dumps({"model": chance.choice(list(MODELS.values())), "messages": messages, "stream": stream})
            connection = http.client.HTTPConnection("127.0.0.1", small_gate.envoy.port, timeout=30)
            connection.putrequest("POST", CHAT)
            connection.putheader("content-length", str(len(body)))
            connection.endheaders()
            leaves = chance.random()
            if leaves < 0.1:
                connection.send(body[: chance.randrange(len(body))].encode())
                done["left early"] += 1
            else:
                connection.send(body.encode())
                if leaves < 0.2:
                    done["left late"] += 1
                else:
                    response = connection.getresponse()
                    data = response.read().decode()
                    done[str(response.status)] += 1
                    if stream and response.status == 200:
                        *chunks, last = events(data)
                        data = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
                        data += "" if last == "[DONE]" else "no end"
                    elif response.status == 200:
                        data = json.loads(data)["choices"][0]["message"]["content"]
                    if response.status != 200 or data != (said * 2000)[:2000]:
                        wrong.append((response.status, said, data[:200]))
            connection.close()
        return done

    with ThreadPoolExecutor(64) as pool:
        total = sum(pool.map(client, range(64)), Counter())
    assert not wrong, wrong[:3]
    assert set(total) == {"200", "left early", "left late"} and total["200"] > 64, total
    for cloud in MODELS:
        until("the clouds are let go", lambda cloud=cloud: small_gate.counters().get(f"{cloud}.in_flight", 0) == 0)
    until("Envoy holds nothing", lambda: small_gate.stats("http.llm.downstream_rq_active") == 0)
    # Who leaves while Envoy is still handing five megabytes over ends that connection with them.
    assert {refusal["detail"] for refusal in small_gate.cloud.refusals()} <= {"the connection ended inside the body"}
    small_gate.refusals_expected = True
    small_gate.verify()


# A latch that is not where it should be


def alone(config: dict[str, Any]) -> None:
    """No latch at all."""
    gateway.with_latch(config)
    for filters in gateway.http_filters(config):
        filters[:] = [each for each in filters if each["name"] != "fairlead.latch"]


def of_its_own(config: dict[str, Any]) -> None:
    """A latch in a VM of its own."""
    gateway.with_latch(config)
    _, latch = gateway.wasm_settings(config)
    latch["vm_config"]["vm_id"] = "other"


def before(config: dict[str, Any]) -> None:
    """A latch in the same VM that comes too early, and a route that takes everything."""
    gateway.with_latch(config)
    for filters in gateway.http_filters(config):
        filters.insert(0, filters.pop(1))
    routes(config)[-1:] = [{"match": {"prefix": "/"}, "route": {"cluster": "bedrock_us_east_1"}}]


def before_and_of_its_own(config: dict[str, Any]) -> None:
    """One that comes too early, and one of another VM in the right place."""
    before(config)
    early, _ = gateway.wasm_settings(config)
    latch = {**early, "name": "late", "vm_config": {**early["vm_config"], "vm_id": "other"}}
    for filters in gateway.http_filters(config):
        filters.insert(2, {"name": "late", "typed_config": {**filters[0]["typed_config"], "config": latch}})


@pytest.mark.parametrize("wrong", [alone, of_its_own, before, before_and_of_its_own])
def test_a_latch_that_is_not_there_is_told_at_once_and_nothing_leaks(version: str, cloud: StandIn, wrong: Edit) -> None:
    cloud.reset()
    with running(version, cloud, f"latch-{wrong.__name__}", edit=wrong, concurrency=1) as gate:
        gate.refusals_expected = True
        begun = time.monotonic()
        body = {"model": BEDROCK, "messages": say()}
        secrets = {"authorization": f"Bearer {CLIENT_KEY}", "cookie": CLIENT_KEY}
        for path, headers in ((CHAT, secrets), ("/v1/messages", {"x-api-key": CLIENT_KEY})):
            answer = gate.post({**body, "max_tokens": 9}, headers, path)
            assert answer.status == 500, answer.body
            assert "fairlead.latch" in json.loads(answer.body)["error"]["message"]
        assert time.monotonic() - begun < 3
        reached = json.dumps(gate.requests("bedrock"))
        assert CLIENT_KEY not in reached and PROMPT not in reached
        # What is not for the gateway is nobody's to hold.
        assert gate.call("GET", "/health").status == 200
        gate.verify()


def test_a_latch_alone_lets_everything_pass(version: str, cloud: StandIn) -> None:
    def lonely(config: dict[str, Any]) -> None:
        gateway.with_latch(config)
        for filters in gateway.http_filters(config):
            del filters[0]

    cloud.reset()
    with running(version, cloud, "latch-lonely", edit=lonely, concurrency=1) as gate:
        assert gate.call("GET", "/elsewhere").status == 404
        assert gate.call("POST", "/elsewhere", b"body").status == 404
        gate.verify()
