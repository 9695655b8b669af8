"""A small HTTP/1.1 server on asyncio streams that keeps the raw path and can misbehave on purpose."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import json
import socket
import struct
import sys
import traceback
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Awaitable, Callable

from .strict import Refused

#: Envoy's own default limit for request headers is 60 KiB.
HEAD_LIMIT = 64 * 1024
#: Bedrock takes request bodies up to 25 MB, Vertex inline data up to 20 MB; double leaves room for tests of limits.
BODY_LIMIT = 64 * 1024 * 1024

REASONS = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 413: "Content Too Large",
    424: "Failed Dependency", 429: "Too Many Requests", 499: "Client Closed Request",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout",
}  # fmt: skip


@dataclass
class Request:
    """One request as it came: `target` and header values are the bytes on the wire, read as Latin-1."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


class Gone(Exception):
    """The client closed its connection before the answer was complete."""


class Closed(Exception):
    """The stand-in closed the connection on purpose."""


class Exchange:
    """The answering side of one request: whole replies, pieces, resets and cuts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status: int | None = None
        #: What the header `Date` tells; None when there is to be none.
        self.clock: Callable[[], float | None] = lambda: None

    async def whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send a complete reply with a content length."""
        await self.head(status, headers | {"Content-Length": str(len(body))})
        await self.send(body)

    async def head(self, status: int, headers: dict[str, str]) -> None:
        """Send the status line and headers."""
        self.status = status
        now = self.clock()
        if now is not None:
            headers = headers | {"Date": formatdate(now, usegmt=True)}
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; no data, no chunk, since an empty one ends the body."""
        if data:
            await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """End a chunked body properly."""
        await self.send(b"0\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Write raw bytes in one go."""
        if self._reader.at_eof() or self._writer.is_closing():
            raise Gone
        self._writer.write(data)
        try:
            await self._writer.drain()
        except (ConnectionError, OSError):
            raise Gone from None

    async def wait(self, seconds: float) -> None:
        """Sleep, but notice within 20 ms when the client leaves."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            if self._reader.at_eof() or self._writer.is_closing():
                raise Gone
            await asyncio.sleep(min(left, 0.02))

    def reset(self) -> None:
        """Close the connection with a TCP RST."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise Closed

    def fin(self) -> None:
        """Close the connection in an orderly way, whatever part of the reply is still missing."""
        self._writer.close()
        raise Closed


Handler = Callable[[Request, Exchange], Awaitable[None]]


def timestamp(seconds: float) -> str:
    """A moment as both clouds write it in bodies."""
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def json_bytes(value: Any) -> bytes:
    """Write compact JSON with raw UTF-8, as both clouds do."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Server:
    """One listening port with one handler."""

    _numbers = itertools.count(1)

    def __init__(self, handler: Handler, on_refused: Callable[[Refused], None]) -> None:
        self._handler = handler
        self._on_refused = on_refused
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1; port 0 takes a free one. Returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=HEAD_LIMIT, backlog=1024)
        return self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                exchange = Exchange(reader, writer)
                try:
                    request = await read_request(reader, number)
                except Refused as refused:
                    self._on_refused(refused)
                    await exchange.whole(400, {"Connection": "close"}, refused.detail.encode())
                    return
                if request is None:
                    return
                await self._handler(request, exchange)
                if any(name.lower() == "connection" and value.lower() == "close" for name, value in request.headers):
                    return
        except (Gone, Closed, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:  # A fault of the stand-in itself: loud on stderr and among the refusals.
            traceback.print_exc(file=sys.stderr)
            self._on_refused(Refused("crash", repr(error)))
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    """Read one request; None when the client closed between requests."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Refused("http", "the connection ended inside the headers") from None
        return None
    except asyncio.LimitOverrunError:
        raise Refused("http", f"headers over {HEAD_LIMIT} bytes") from None
    lines = head[:-4].decode("latin-1").split("\r\n")
    start = lines[0].split(" ")
    if len(start) != 3 or start[2] != "HTTP/1.1":
        raise Refused("http", f"bad request line {lines[0]!r}")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
            raise Refused("http", f"bad header line {line!r}")
        # Exactly one space after the colon is what every client sends; further white space stays visible.
        headers.append((name, value[1:] if value.startswith(" ") else value))
    body = await _read_body(reader, headers)
    return Request(start[0], start[1], headers, body, connection)


async def _read_body(reader: asyncio.StreamReader, headers: list[tuple[str, str]]) -> bytes:
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    codings = [value for name, value in headers if name.lower() == "transfer-encoding"]
    if lengths and codings:
        raise Refused("http", "both content-length and transfer-encoding")
    try:
        if codings:
            if codings != ["chunked"]:
                raise Refused("http", f"transfer-encoding {codings!r}")
            return await _read_chunks(reader)
        if not lengths:
            return b""
        if len(lengths) > 1 or not lengths[0].isdecimal():
            raise Refused("http", f"content-length {lengths!r}")
        if int(lengths[0]) > BODY_LIMIT:
            raise Refused("http", f"body over {BODY_LIMIT} bytes")
        return await reader.readexactly(int(lengths[0]))
    except asyncio.IncompleteReadError:
        raise Refused("http", "the connection ended inside the body") from None


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size_line = await reader.readuntil(b"\r\n")
        try:
            size = int(size_line[:-2].split(b";")[0], 16)
        except ValueError:
            raise Refused("http", f"bad chunk size {size_line!r}") from None
        if len(body) + size > BODY_LIMIT:
            raise Refused("http", f"body over {BODY_LIMIT} bytes")
        if size == 0:
            if await reader.readuntil(b"\r\n") != b"\r\n":
                raise Refused("http", "trailers after a chunked body")
            return bytes(body)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise Refused("http", "a chunk is longer than it says")
