"""The clouds of the benchmark in one small server: it reads a request to its end and has the answer ready.

An Envoy with direct responses needs six times as much CPU for this, and the load would run out.
"""

from __future__ import annotations

import argparse
import asyncio
from urllib.parse import quote

from integration.bench import bodies

#: The model whose stream comes frame by frame.
DRIPPING = "anthropic.dripping-v1:0"

#: Seconds between two frames of it: each is read by itself, as from a real model.
PAUSE = 0.002

#: How a chunked body ends. JSON has no bare line ends, so it is nowhere else.
LAST_CHUNK = b"\r\n0\r\n\r\n"


def _whole(content_type: str, body: bytes) -> bytes:
    return _head(content_type, f"content-length: {len(body)}") + body


def _head(content_type: str, length: str) -> bytes:
    request_id = "x-amzn-requestid: 7c1d9a52-6a0e-4b9e-9f43-2f0f6f1f9a10"
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{request_id}\r\n{length}\r\n\r\n".encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_EVENT_STREAM = "application/vnd.amazon.eventstream"
_STREAM_HEAD = _head(_EVENT_STREAM, "transfer-encoding: chunked")
_FRAMES = [_chunk(frame) for frame in bodies.stream_frames()]

#: Part of the request line -> the answer; the first that is found.
_ANSWERS = {
    b"/converse-stream ": _STREAM_HEAD + b"".join(_FRAMES) + b"0\r\n\r\n",
    b"/converse ": _whole("application/json", bodies.converse_reply()),
    b":rawPredict ": _whole("application/json", bodies.messages_reply()),
    b":generateContent ": _whole("application/json; charset=UTF-8", bodies.gemini_reply()),
    b"/computeMetadata/": _whole("application/json", bodies.token_reply()),
}
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_DRIPPING_PATH = f"/model/{quote(DRIPPING, safe='')}/".encode()


class Cloud(asyncio.Protocol):
    """One connection; requests come one after another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._fresh()

    def _fresh(self) -> None:
        self._line = b""
        self._start = b""
        #: Bytes of the body still to come; `None`: it is chunked.
        self._left: int | None = 0
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        if not self._line:
            data = self._start + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._start = data
                return
            head, data = data[:end].lower() + b"\r\n", data[end + 4 :]
            self._line = head[: head.find(b"\r\n")]
            at = head.find(b"\r\ncontent-length: ")
            chunked = head.find(b"\r\ntransfer-encoding: chunked") >= 0
            self._left = None if chunked else 0 if at < 0 else int(head[at + 18 : head.find(b"\r\n", at + 18)])
        if self._left is None:
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            if self._tail != LAST_CHUNK:
                return
        else:
            self._left -= len(data)
            if self._left > 0:
                return
        self._answer(self._line)
        self._fresh()

    def _answer(self, line: bytes) -> None:
        if _DRIPPING_PATH.lower() in line:
            self._transport.write(_STREAM_HEAD)
            self._drip(0)
            return
        for part, answer in _ANSWERS.items():
            if part.lower() in line:
                self._transport.write(answer)
                return
        self._transport.write(_NOT_FOUND)

    def _drip(self, number: int) -> None:
        if self._transport.is_closing():
            return
        if number == len(_FRAMES):
            self._transport.write(b"0\r\n\r\n")
            return
        self._transport.write(_FRAMES[number])
        self._loop.call_later(PAUSE, self._drip, number + 1)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Cloud, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the clouds of the benchmark, on a loopback port")
    parser.add_argument("port", type=int)
    try:
        asyncio.run(_serve(parser.parse_args().port))
    except KeyboardInterrupt:
        pass
