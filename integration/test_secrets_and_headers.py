"""No header of a client reaches a cloud, no secret reaches a client, and every way to send is the same."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest

from . import gateway
from .cloud.aws_settings import ContainerSettings
from .harness import (
    BEDROCK, CHAT, CLIENT_KEY, MODELS, PROMPT, SECRETS, SESSION_ACCESS_KEY_ID, SESSION_TOKEN, Gate, leaks, say,
)  # fmt: skip

#: What may leave, and nothing else.
LEAVES = {
    "bedrock": {"host", "content-type", "content-length", "authorization", "x-amz-date"},
    "vertex": {"host", "content-type", "content-length", "authorization"},
}
HOSTS = {"bedrock": "bedrock-runtime.us-east-1.amazonaws.com", "vertex": "us-central1-aiplatform.googleapis.com"}

#: What clients, their proxies and attackers send.
CLIENT_HEADERS = {
    "authorization": f"Bearer {CLIENT_KEY}",
    "x-api-key": CLIENT_KEY,
    "api-key": CLIENT_KEY,
    "cookie": f"session={CLIENT_KEY}",
    "openai-organization": "org-1",
    "openai-project": "proj-1",
    "user-agent": "OpenAI/Python 3.52.0",
    "x-stainless-lang": "python",
    "accept-encoding": "gzip, br",
    "accept": "application/json",
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-host": "inside.example",
    "forwarded": "for=203.0.113.9",
    "via": "1.1 proxy",
    "x-real-ip": "203.0.113.9",
    "x-request-id": "00000000-0000-4000-8000-000000000001",
    "x-amz-date": "20200101T000000Z",
    "x-amz-security-token": "the-clients-own",
    "x-amzn-bedrock-guardrailidentifier": "none",
    "x-goog-user-project": "somebody-else",
    "x-goog-api-key": CLIENT_KEY,
    "metadata-flavor": "Google",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-retry-on": "5xx",
    "x-envoy-original-path": "/other",
    "x-fairlead-cluster": "gcp_metadata",
    "x-fairlead-backend": "vertex-us-central1",
    "x-fairlead-anything": "1",
    "te": "trailers",
    "range": "bytes=0-1",
    "expect": "",
    "if-none-match": "*",
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_nothing_of_a_clients_headers_reaches_a_cloud(gate: Gate, where: str, stream: bool) -> None:
    sent = {name: value for name, value in CLIENT_HEADERS.items() if value}
    answer = gate.post({"model": MODELS[where], "messages": say(), "stream": stream}, sent)
    assert answer.status == 200, answer.body
    request = gate.sent(where)
    headers = {name.lower(): value for name, value in request["headers"]}
    assert set(headers) == LEAVES[where]
    assert headers["host"] == HOSTS[where]
    everything = json.dumps([request["path"], request["headers"]])
    for name, value in sent.items():
        if name not in ("accept", "x-envoy-upstream-rq-timeout-ms", "x-fairlead-anything", "if-none-match"):
            assert value not in everything, name
    other = {"bedrock": "vertex", "vertex": "bedrock"}[where]
    assert gate.requests(other) == [] and gate.requests("metadata") == []


def test_no_secret_reaches_a_client(gate: Gate) -> None:
    for body in (
        {"model": BEDROCK, "messages": say("error type=InvalidSignatureException")},
        {"model": "session", "messages": say("error type=expired")},
        {"model": MODELS["vertex"], "messages": say("error type=denied")},
        {"model": "session", "messages": say()},
    ):
        answer = gate.post(body)
        told = json.dumps(answer.headers) + answer.body.decode()
        for secret in SECRETS:
            assert secret == PROMPT or secret not in told, secret
        assert gateway.AWS_ACCESS_KEY_ID not in told and SESSION_ACCESS_KEY_ID not in told


def test_what_was_handed_out_would_be_found_in_a_log_or_a_reply(gate: Gate) -> None:
    """By what looks behind every test, `Gate.verify`."""
    connection = http.client.HTTPConnection("127.0.0.1", gate.cloud.ports["container"], timeout=15)
    connection.putrequest("GET", ContainerSettings().path, skip_accept_encoding=True)
    connection.endheaders()
    key = json.loads(connection.getresponse().read())
    connection.close()
    for secret in (key["SecretAccessKey"], key["Token"], gate.cloud.control("POST", "/tokens/issue")["access_token"]):
        for text in (f'[debug] {{"x":"{secret}"}}\n', f"/path?x={quote(secret, safe='')}&y", f"Credential={secret},"):
            assert leaks(text, gate.cloud.issued()) == [secret], text
    gate.verify()
    gate._told.append(key["SecretAccessKey"].encode())
    with pytest.raises(AssertionError, match="is in a reply"):
        gate.verify()
    gate._told.clear()


@pytest.mark.parametrize("name", ["x-fairlead-cluster", "X-Fairlead-Cluster", "X-FAIRLEAD-CLUSTER"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("POST", "/v1/other"), ("OPTIONS", CHAT), ("POST", "/model/x/converse"), ("GET", "/latest/api"),
     ("GET", "/computeMetadata/v1/instance/service-accounts/default/token"), ("HEAD", "/v1/files")],
)  # fmt: skip
def test_a_client_cannot_choose_a_cluster(gate: Gate, name: str, method: str, path: str) -> None:
    for cluster in ("gcp_metadata", "bedrock_us_east_1"):
        body = b"{}" if method == "POST" else None
        answer = gate.call(method, path, body, {name: cluster, "metadata-flavor": "Google"})
        assert answer.status == 404, answer.body
    for cloud in ("bedrock", "vertex", "metadata"):
        assert gate.requests(cloud) == []


def test_a_client_cannot_choose_a_cluster_by_saying_it_twice(gate: Gate) -> None:
    with gate.socket() as client:
        spoof = "x-fairlead-cluster: gcp_metadata\r\n" * 2
        client.sendall(f"GET /x HTTP/1.1\r\nhost: x\r\n{spoof}\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 404 ")
    assert gate.requests("metadata") == []


def test_session_tokens_are_sent_and_signed(gate: Gate) -> None:
    assert gate.completions.create(model="session", messages=say()).choices
    headers = {name.lower(): value for name, value in gate.sent("bedrock")["headers"]}
    assert headers["x-amz-security-token"] == SESSION_TOKEN
    assert SESSION_ACCESS_KEY_ID in headers["authorization"]
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert "x-amz-security-token" in signed and "host" in signed and "x-amz-date" in signed


def test_keys_may_come_from_the_environment(gate: Gate) -> None:
    assert gate.completions.create(model="environment", messages=say()).choices
    headers = {name.lower(): value for name, value in gate.sent("bedrock")["headers"]}
    assert gateway.AWS_ACCESS_KEY_ID in headers["authorization"]


ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"
ENCODED = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2c3d4e5f6"


@pytest.mark.parametrize("written", [ARN, ENCODED, ENCODED.replace("%3A", "%3a"), ARN.replace(":", "%3A")])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_model_id_is_one_segment_encoded_once_however_it_was_written(
    gate: Gate, written: str, stream: bool
) -> None:
    answer = gate.post({"model": f"bedrock/{written}", "messages": say(), "stream": stream})
    assert answer.status == 200, answer.body
    assert gate.sent("bedrock")["path"] == f"/model/{ENCODED}/converse{'-stream' if stream else ''}"
    assert unquote(ENCODED) == ARN


@pytest.mark.parametrize("model", ["../../x", "a?b=c", "a#b", "a b", "é", "a/converse"])
def test_a_model_cannot_leave_its_place_in_the_path(gate: Gate, where: str, model: str) -> None:
    gate.refusals_expected = True
    prefix = MODELS[where].partition("/")[0]
    answer = gate.post({"model": f"{prefix}/{model}", "messages": say()})
    assert answer.status in (400, 404), answer.body
    for request in gate.requests(where):
        path = request["path"]
        assert path.count("/") == (3 if where == "bedrock" else 9) and "?" not in path, path


# Ways to send the same


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def talk(port: int, head: str, *pieces: bytes, until: bytes = b"") -> str:
    """Sends a head and then pieces, each a packet; gives the whole answer, which must close or end in `until`."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(head.replace("\n", "\r\n").encode())
        for piece in pieces:
            client.sendall(piece)
        received = b""
        while data := client.recv(65536):
            received += data
            if until and received.endswith(until):
                break
    return received.decode()


def test_a_body_in_chunks_of_one_byte(gate: Gate, where: str) -> None:
    body = json.dumps({"model": MODELS[where], "messages": say(text="ü €")}, ensure_ascii=False).encode()
    pieces = [chunked(bytes([byte]), 1) for byte in body]
    head = f"POST {CHAT} HTTP/1.1\nhost: x\nconnection: close\ntransfer-encoding: chunked\n\n"
    text = talk(gate.envoy.port, head, *pieces, b"0\r\n\r\n")
    assert text.startswith("HTTP/1.1 200 OK") and "ü €" in text
    assert gate.sent(where)["outcome"] == "sent"


def test_a_client_that_waits_for_100_continue(gate: Gate, where: str) -> None:
    body = json.dumps({"model": MODELS[where], "messages": say()}).encode()
    with gate.socket() as client:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_many_requests_on_one_connection(gate: Gate, where: str) -> None:
    with gate.socket() as client:
        answers = client.makefile("rb")
        for number in range(5):
            good = number % 2 == 0
            model = MODELS[where] if good else "unknown"
            body = json.dumps({"model": model, "messages": say(f"text say=turn-{number}")}).encode()
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            client.sendall(head + body)
            status = answers.readline()
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            whole = json.loads(answers.read(length))
            assert status.startswith(b"HTTP/1.1 200 " if good else b"HTTP/1.1 404 ")
            assert not good or whole["choices"][0]["message"]["content"] == f"turn-{number}"


def test_an_image_of_five_megabytes(gate: Gate, where: str) -> None:
    raw = b"\x89PNG\r\n\x1a\n" + os.urandom(3_900_000)
    data = base64.b64encode(raw).decode()
    assert len(data) > 5_000_000
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    parts = [{"type": "text", "text": PROMPT}, image]
    reply = gate.completions.create(model=MODELS[where], messages=[{"role": "user", "content": parts}])
    assert "1 image" in (reply.choices[0].message.content or "")
    assert gate.sent(where)["body_bytes"] > 5_000_000


# HTTP/2, by another Envoy in front: the way a gateway is reached behind a load balancer.


def front_config(port: int, admin_port: int, gate_port: int) -> dict[str, Any]:
    """An Envoy without any filter of ours that speaks HTTP/2 to the gateway and passes trailers on."""
    types = "type.googleapis.com/envoy.extensions"
    manager = {
        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "http_protocol_options": {"enable_trailers": True},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{types}.filters.http.router.v3.Router"}}
        ],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "gateway", "timeout": "0s"}}]}
            ]
        },
    }  # fmt: skip
    address = {"socket_address": {"address": "127.0.0.1", "port_value": gate_port}}
    options = f"{types}.upstreams.http.v3.HttpProtocolOptions"
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "front",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "gateway",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": options, "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "gateway",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ],
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def front_port(version: str, common_gate: Gate) -> Iterator[int]:
    port, admin_port = gateway.free_ports(2)
    config = front_config(port, admin_port, common_gate.envoy.port)
    with gateway.Envoy(gateway.envoys()[version], config, f"front-{version}", concurrency=1):
        yield port


@pytest.mark.parametrize(
    "trailers", ["", "x-check: 1\r\n", "x-fairlead-cluster: gcp_metadata\r\n"], ids=["none", "one", "ours"]
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_http_2_and_trailers_behind_the_body(
    gate: Gate, front_port: int, where: str, stream: bool, trailers: str
) -> None:
    before = gate.stats("http.llm.downstream_rq_http2_total")
    request = {"model": MODELS[where], "messages": say("text say=arrived"), "stream": stream}
    body = json.dumps(request).encode()
    head = f"POST {CHAT} HTTP/1.1\nhost: x\nconnection: close\ntransfer-encoding: chunked\ntrailer: x-check\n\n"
    text = talk(front_port, head, chunked(body, 50), b"0\r\n" + trailers.encode() + b"\r\n")
    assert text.startswith("HTTP/1.1 200 OK"), text
    assert "arrived" in text and (not stream or "data: [DONE]" in text)
    assert gate.stats("http.llm.downstream_rq_http2_total") == before + 1
    assert {name.lower() for name, _ in gate.sent(where)["headers"]} == LEAVES[where]


def test_errors_over_http_2_with_trailers(gate: Gate, front_port: int) -> None:
    head = f"POST {CHAT} HTTP/1.1\nhost: x\nconnection: close\ntransfer-encoding: chunked\n\n"
    text = talk(front_port, head, chunked(b"{", 1), b"0\r\nx-check: 1\r\n\r\n")
    assert text.startswith("HTTP/1.1 400 ") and '"code":"invalid_json"' in text
    text = talk(front_port, head, b"0\r\nx-check: 1\r\n\r\n")
    assert text.startswith("HTTP/1.1 400 ") and '"code":"invalid_json"' in text


def test_a_large_body_over_http_2(gate: Gate, front_port: int, where: str) -> None:
    # Far above HTTP/2's first window of 64 KiB.
    body = json.dumps({"model": MODELS[where], "messages": say("text say=arrived", "x" * 3_000_000)}).encode()
    head = f"POST {CHAT} HTTP/1.1\nhost: x\nconnection: close\ncontent-length: {len(body)}\n\n"
    assert "arrived" in talk(front_port, head, body)
    assert gate.sent(where)["body_bytes"] > 3_000_000


def test_a_long_stream_over_http_2(gate: Gate, front_port: int, where: str) -> None:
    body = json.dumps({"model": MODELS[where], "messages": say("frames n=500 each=500"), "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\nhost: x\nconnection: close\ncontent-length: {len(body)}\n\n"
    text = talk(front_port, head, body)
    assert text.count("data: ") == 500 + 3 and "data: [DONE]" in text
