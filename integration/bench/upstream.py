"""The clouds of the benchmark: an Envoy with ready-made answers, and a server that lets frames drip."""

from __future__ import annotations

import argparse
import asyncio
import base64
from typing import Any

from integration.bench import bodies

#: The model whose stream comes frame by frame.
DRIPPING = "anthropic.dripping-v1:0"

#: Seconds between two frames of it: each is read by itself, as from a real model.
PAUSE = 0.002

EVENT_STREAM = "application/vnd.amazon.eventstream"
REQUEST_ID = "7c1d9a52-6a0e-4b9e-9f43-2f0f6f1f9a10"


def config(port: int, admin_port: int, drip_port: int) -> dict[str, Any]:
    """An Envoy that reads a request to its end and gives the answer of the cloud it is meant for."""
    routes = [
        {
            # "%3A" is how the colon of a model id arrives.
            "match": {"prefix": f"/model/{DRIPPING.replace(':', '%3A')}/"},
            "route": {"cluster": "drip", "timeout": "0s"},
        },
        _answer({"safe_regex": {"regex": "/model/[^/]+/converse-stream"}}, EVENT_STREAM, b"".join(bodies.stream_frames())),
        _answer({"safe_regex": {"regex": "/model/[^/]+/converse"}}, "application/json", bodies.converse_reply()),
        _answer({"prefix": "/v1/projects/"}, "application/json; charset=UTF-8", bodies.gemini_reply()),
        _answer({"prefix": "/computeMetadata/"}, "application/json", bodies.token_reply()),
    ]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clouds",
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "http_filters": [
            # A direct response does not wait for the request's body and closes the connection after it; a
            # cloud does and does not.
            {
                "name": "buffer",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
                    "max_request_bytes": 64 * 1024 * 1024,
                },
            },
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            },
        ],
        "route_config": {
            "name": "clouds",
            "max_direct_response_body_size_bytes": 1024 * 1024,
            "virtual_hosts": [{"name": "clouds", "domains": ["*"], "routes": routes}],
        },
    }
    return {
        "admin": {"address": _address(admin_port)},
        "static_resources": {
            "listeners": [
                {
                    "name": "clouds",
                    "address": _address(port),
                    "filter_chains": [
                        {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "drip",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "drip",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(drip_port)}}]}],
                    },
                }
            ],
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _answer(match: dict[str, Any], content_type: str, body: bytes) -> dict[str, Any]:
    headers = {"content-type": content_type, "x-amzn-requestid": REQUEST_ID}
    return {
        "match": match,
        "direct_response": {"status": 200, "body": {"inline_bytes": base64.b64encode(body).decode()}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
    }


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: {EVENT_STREAM}\r\nx-amzn-requestid: {REQUEST_ID}\r\n"
        "transfer-encoding: chunked\r\n\r\n"
    ).encode()
    try:
        while request := await reader.readuntil(b"\r\n\r\n"):
            fields = dict(line.lower().split(b": ", 1) for line in request.split(b"\r\n")[1:-2])
            if b"content-length" in fields:
                await reader.readexactly(int(fields[b"content-length"]))
            else:
                while size := int(await reader.readline(), 16):
                    await reader.readexactly(size + 2)
                await reader.readline()
            writer.write(head)
            for frame in bodies.stream_frames():
                writer.write(b"%x\r\n%b\r\n" % (len(frame), frame))
                await asyncio.sleep(PAUSE)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_drip, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the server whose frames drip")
    parser.add_argument("port", type=int)
    try:
        asyncio.run(_serve(parser.parse_args().port))
    except KeyboardInterrupt:
        pass
