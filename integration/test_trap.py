"""A fault in the plugin: it costs what its worker had under way, shows nobody anything, and is over in two seconds."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from . import gateway
from .cloud.driver import StandIn
from .conftest import Edit, running
from .harness import ANSWER, CHAT, CLIENT_KEY, MODELS, PATIENCE, PROMPT, Gate, events, say, until
from .wasm import with_trap

@pytest.fixture(scope="module")
def trapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin that traps on requests with trailers."""
    path: Path = tmp_path_factory.mktemp("trap") / "fairlead.wasm"
    path.write_bytes(with_trap(gateway.WASM.read_bytes(), "proxy_on_request_trailers"))
    return path


def flag(_: dict[str, Any]) -> None:
    """As it is written."""


def taking_trailers(hold: Edit) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        hold(config)
        (listener,) = config["static_resources"]["listeners"]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_protocol_options"] = {"enable_trailers": True}

    return edit


@pytest.fixture(scope="module", params=[flag, gateway.with_latch])
def gate(request: pytest.FixtureRequest, version: str, cloud: StandIn, trapping: Path) -> Iterator[Gate]:
    """A gateway of one worker."""
    hold: Edit = request.param
    edit = taking_trailers(hold)
    with running(version, cloud, f"trap-{hold.__name__}", edit=edit, concurrency=1, wasm=trapping) as gate:
        yield gate


def with_trailers(gate: Gate) -> tuple[int, bytes]:
    """A request that makes the plugin trap; status 0 when the connection breaks."""
    body = json.dumps({"model": MODELS["bedrock"], "messages": say("text say=trapped")}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
    head += "transfer-encoding: chunked\r\n\r\n"
    with gate.socket() as client:
        client.sendall(head.encode() + b"%x\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(body), body))
        response = http.client.HTTPResponse(client)
        with suppress(ConnectionError, http.client.HTTPException):
            response.begin()
            return response.status, response.read()
    return 0, b""


def served(gate: Gate, where: str) -> bool:
    answer = gate.post({"model": MODELS[where], "messages": say(f"text say={ANSWER}")})
    assert answer.status in (200, 503), answer.body
    return answer.status == 200


def test_a_trap_costs_one_request_and_is_over_in_two_seconds(gate: Gate, where: str) -> None:
    for _ in range(2):
        gate.fresh()
        until("the plugin is up", lambda: served(gate, where))
        before = len(gate.requests(where))
        status, body = with_trailers(gate)
        begun = time.monotonic()
        assert status in (0, 500, 503), (status, body)
        assert PROMPT.encode() not in body and CLIENT_KEY.encode() not in body
        until("the plugin is back", lambda: served(gate, where), 5)
        assert time.monotonic() - begun < 2
        assert len(gate.requests(where)) == before + 1, "nothing of the trapped request went on"
        assert CLIENT_KEY not in json.dumps(gate.requests(where))


def test_what_was_under_way_ends_and_shows_nothing_that_is_not_its_own(gate: Gate, where: str) -> None:
    """Streams, replies that are awaited, and a body that is coming, while another request traps."""
    gate.fresh()
    until("the plugin is up", lambda: served(gate, where))
    bodies = [
        {"model": MODELS[where], "messages": say("frames n=100 drip=20"), "stream": True}
        for _ in range(3)
    ]
    bodies += [{"model": MODELS[where], "messages": say("text say=late delay=1500")} for _ in range(3)]

    def ask(body: dict[str, Any]) -> tuple[int, str]:
        with gate.open("POST", CHAT, json.dumps(body), {"content-type": "application/json"}) as response:
            try:
                return response.status, response.read().decode()
            except http.client.IncompleteRead as broken:
                return response.status, broken.partial.decode()

    def safely(body: dict[str, Any]) -> tuple[int, str]:
        try:
            return ask(body)
        except (ConnectionError, http.client.HTTPException):
            return 0, ""

    with ThreadPoolExecutor(8) as pool, gate.socket() as coming:
        asked = [pool.submit(safely, body) for body in bodies]
        coming.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())
        until("they are under way", lambda: gate.counters().get(f"{where}.in_flight") == 6)
        begun = time.monotonic()
        with_trailers(gate)
        coming.settimeout(PATIENCE)
        with suppress(ConnectionError):
            coming.sendall(b" " * 99)
            told = coming.recv(65536).decode()
            assert told == "" or told.startswith("HTTP/1.1 5"), told
        for one in asked:
            status, text = one.result(timeout=PATIENCE)
            assert status in (0, 200, 500, 503), (status, text)
            # Of a stream what had come before; of the cloud's own words nothing.
            for event in text.split("\n\n")[:-1] if status == 200 else []:
                assert event.startswith("data: ") and "candidates" not in event and ":event-type" not in event, event
            assert status != 200 or not text.startswith("{"), text
        assert time.monotonic() - begun < 5
    until("the plugin is back", lambda: served(gate, where), 5)
    until("the cloud is let go", lambda: gate.counters()[f"{where}.in_flight"] == 0)
    until("Envoy holds nothing", lambda: gate.stats("http.llm.downstream_rq_active") == 0)
    stream = {"model": MODELS[where], "messages": say(f"text say={ANSWER}"), "stream": True}
    assert events(gate.post(stream).body.decode())[-1] == "[DONE]"


@pytest.mark.parametrize("hold", [flag, gateway.with_latch])
def test_the_shipped_plugin_takes_trailers(version: str, cloud: StandIn, hold: Edit) -> None:
    cloud.reset()
    with running(version, cloud, f"trailers-{hold.__name__}", edit=taking_trailers(hold), concurrency=1) as gate:
        status, body = with_trailers(gate)
        assert status == 200 and b"trapped" in body, body
        gate.verify()
