"""Google's access tokens from the metadata server: fetched once, renewed ahead, and missed with a clean answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openai
import pytest

from . import gateway
from .conftest import running
from .harness import BEDROCK, CHAT, VERTEX, Answer, Gate, say, unavailable, until
from .cloud.driver import StandIn
from .cloud.embeddings import vector

#: What Envoy's log says of a source that fails; nothing else may be wrong there.
SOURCE_FAILS = r"credentials of backend vertex-us-central1 \(metadata_server, cluster gcp_metadata\)"

WORKERS = 4

#: A failing source is told within this many seconds; the call for a token may take three of them.
IN_TIME = 6


@pytest.fixture(scope="module")
def cloud_of_tokens() -> Iterator[StandIn]:
    """A cloud of its own, because these tests revoke every token there is."""
    with StandIn() as cloud:
        yield cloud


@contextmanager
def tokens(
    version: str, cloud: StandIn, name: str, metadata: dict[str, object] | None = None, port: int = 0
) -> Iterator[Gate]:
    """A gateway that has no token yet, before a metadata server with these settings, or behind another port."""
    cloud.reset()
    cloud.config(metadata=metadata or {})
    clusters = {"gcp_metadata": port} if port else {}
    with running(version, cloud, f"tokens-{name}", concurrency=WORKERS, clusters=clusters) as gate:
        yield gate
        gate.verify()


def ask(gate: Gate, model: str = VERTEX) -> Answer:
    return gate.post({"model": model, "messages": say()})


def timely(gate: Gate) -> Answer:
    """Asks Vertex AI, which must answer in bounded time, and Bedrock, which must not notice."""
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        vertex = pool.submit(ask, gate)
        assert ask(gate, BEDROCK).status == 200
        assert time.monotonic() - begin < 2, "Bedrock waited for Google's token"
        answer = vertex.result()
    assert time.monotonic() - begin < IN_TIME
    return answer


def test_a_hundred_cold_requests_cause_one_call(version: str, cloud_of_tokens: StandIn) -> None:
    with tokens(version, cloud_of_tokens, "herd", {"delay_s": 1.5}) as gate:
        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(lambda _: ask(gate), range(100)))
        assert [answer.status for answer in answers] == [200] * 100
        counters = gate.counters()
        assert counters["metadata.token_calls"] == 1
        assert counters["vertex.sent"] == 100
        (call,) = gate.requests("metadata")
        names = {name.lower() for name, _ in call["headers"]}
        assert names <= {"host", "metadata-flavor", "x-envoy-internal", "x-envoy-expected-rq-timeout-ms"}


def test_embeddings_of_several_calls_wait_for_the_first_token_as_well(version: str, cloud_of_tokens: StandIn) -> None:
    with tokens(version, cloud_of_tokens, "fan", {"delay_s": 1}) as gate:
        inputs = [f"text {number}" for number in range(20)]
        reply = gate.client.embeddings.create(model="vertex_ai/gemini-embedding-001", input=inputs)
        assert [item.embedding for item in reply.data] == [vector(text, 3072) for text in inputs]
        assert gate.counters()["metadata.token_calls"] == 1
        assert len(gate.requests("vertex")) == 20


def test_a_revoked_token_in_the_midst_of_several_calls_is_a_503(version: str, cloud_of_tokens: StandIn) -> None:
    with tokens(version, cloud_of_tokens, "fan-revoked") as gate:
        begin = time.monotonic()
        ask = lambda: gate.client.embeddings.create(model="vertex_ai/gemini-embedding-001", input=["a", "b"])  # noqa: E731
        assert len(ask().data) == 2
        until("the token is old enough to be doubted", lambda: time.monotonic() > begin + 5.2)
        gate.refusals_expected = True
        gate.cloud.control("POST", "/tokens/revoke", {})
        with pytest.raises(openai.InternalServerError) as raised:
            ask()
        assert (raised.value.status_code, raised.value.code) == (503, "credentials_unavailable")
        until("a new token has come", lambda: gate.counters()["metadata.token_calls"] == 2)
        assert len(ask().data) == 2


def test_tokens_of_five_seconds_are_renewed_ahead_and_no_request_fails(version: str, cloud_of_tokens: StandIn) -> None:
    seconds, lifetime = 8.0, 5
    with tokens(version, cloud_of_tokens, "short", {"lifetime_s": lifetime}) as gate:
        end = time.monotonic() + seconds

        def load(_: int) -> list[int]:
            statuses = []
            while time.monotonic() < end:
                statuses.append(ask(gate).status)
                time.sleep(0.02)
            return statuses

        with ThreadPoolExecutor(4) as pool:
            statuses = [status for one in pool.map(load, range(4)) for status in one]
        assert set(statuses) == {200} and len(statuses) > 100
        # A token is due after half of such a short life.
        calls = gate.counters()["metadata.token_calls"]
        assert seconds / lifetime <= calls <= seconds / (lifetime / 2) + 2
        assert not gate.cloud.refusals(), "an expired token was sent"


def test_a_revoked_token_is_replaced_and_the_sdk_does_not_notice(version: str, cloud_of_tokens: StandIn) -> None:
    with tokens(version, cloud_of_tokens, "revoked") as gate:
        begin = time.monotonic()
        assert ask(gate).status == 200
        gate.refusals_expected = True
        gate.cloud.control("POST", "/tokens/revoke", {})
        # A token of a moment ago is not thrown away: the source would only give it again.
        unavailable(ask(gate))
        assert gate.counters()["metadata.token_calls"] == 1
        until("the token is old enough to be doubted", lambda: time.monotonic() > begin + 5.2)
        patient = gate.client.with_options(max_retries=1)
        assert patient.chat.completions.create(model=VERTEX, messages=say()).choices
        assert [request["status"] for request in gate.requests("vertex")] == [200, 401, 401, 200]
        assert gate.counters()["metadata.token_calls"] == 2


@pytest.mark.parametrize(
    "metadata",
    [{"status": 500}, {"body": "<html>no token"}, {"body": '{"access_token": "a\\r\\nb", "expires_in": 60}'}],
    ids=["500", "html", "unprintable"],
)  # fmt: skip
def test_a_source_that_answers_badly_costs_one_clean_503(
    version: str, cloud_of_tokens: StandIn, metadata: dict[str, object]
) -> None:
    with tokens(version, cloud_of_tokens, "bad", metadata) as gate:
        gate.expected_errors = [SOURCE_FAILS]
        unavailable(timely(gate))
        assert gate.requests("vertex") == []
        gate.cloud.config(metadata={"status": 200, "body": None})
        until("it recovers", lambda: ask(gate).status == 200)


def test_a_source_that_is_slow_costs_one_clean_503_in_bounded_time(version: str, cloud_of_tokens: StandIn) -> None:
    with tokens(version, cloud_of_tokens, "slow", {"delay_s": 10}) as gate:
        gate.expected_errors = [SOURCE_FAILS]
        # Clients that lose patience while they wait for the token.
        for _ in range(5):
            with gate.socket() as client:
                body = b'{"model": "gemini-flash", "messages": [{"role": "user", "content": "x"}]}'
                head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
                client.sendall(head.encode() + body)
                time.sleep(0.02)
        unavailable(timely(gate))
        with pytest.raises(openai.InternalServerError) as streamed:
            gate.completions.create(model=VERTEX, messages=say(), stream=True)
        assert streamed.value.code == "credentials_unavailable"
        assert gate.requests("vertex") == []
        gate.cloud.config(metadata={"delay_s": 0})
        until("it recovers", lambda: ask(gate).status == 200)


@contextmanager
def forwarding(port: int, target: int) -> Iterator[None]:
    """Passes what comes to `port` on to `target`, one connection after the other."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, socket.create_connection(("127.0.0.1", target)) as server:
                server.sendall(client.recv(65536))
                server.settimeout(1)
                try:
                    while data := server.recv(65536):
                        client.sendall(data)
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_source_that_is_down_costs_one_clean_503_until_it_is_back(version: str, cloud_of_tokens: StandIn) -> None:
    (port,) = gateway.free_ports(1)
    with tokens(version, cloud_of_tokens, "down", port=port) as gate:
        gate.expected_errors = [SOURCE_FAILS]
        unavailable(timely(gate))
        assert gate.requests("vertex") == []
        with forwarding(port, gate.cloud.ports["metadata"]):
            until("it recovers", lambda: ask(gate).status == 200)
