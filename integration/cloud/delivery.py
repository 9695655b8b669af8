"""Puts an answer on the wire for any cloud: whole or streamed, paced, cut, and broken where a script says so."""

from __future__ import annotations

from typing import Protocol

from .http import Exchange
from .replies import Answer, Drop, Error, Fault, Pace, Raw, Reply


#: Status, headers and body.
Whole = tuple[int, dict[str, str], bytes]


class Dialect(Protocol):
    """How one API writes answers to one request."""

    stream: bool
    stream_type: str

    def head(self) -> dict[str, str]:
        """Headers that every answer carries."""

    def whole(self, reply: Reply) -> bytes:
        """The body of an answer that is not streamed."""

    def frames(self, reply: Reply) -> list[bytes]:
        """The frames or events of a streamed answer."""

    def broken(self, fault: Fault, following: bytes) -> bytes:
        """What a fault that writes bytes puts in place of the frame `following`."""

    def error(self, error: Error) -> Whole:
        """An error answer."""


async def deliver(dialect: Dialect, answer: Answer, exchange: Exchange) -> None:
    """Send an answer. Raises `Closed` where the stand-in ends the connection, `Gone` where the client does."""
    if isinstance(answer, Drop):
        await exchange.wait(answer.seconds)
        _leave(answer.how, exchange)
    if answer.pace.delay:
        await exchange.wait(answer.pace.delay)
    if isinstance(answer, Raw):
        await _whole(exchange, answer.pace, answer.status, {"Content-Type": answer.content_type}, answer.body)
    elif isinstance(answer, Error):
        await _whole(exchange, answer.pace, *dialect.error(answer))
    elif dialect.stream:
        await _stream(dialect, answer, exchange)
    elif answer.fault is None:
        headers = dialect.head() | {"Content-Type": "application/json"}
        await _whole(exchange, answer.pace, 200, headers, dialect.whole(answer))
    else:
        await _broken_whole(dialect, answer, answer.fault, exchange)


async def _stream(dialect: Dialect, reply: Reply, exchange: Exchange) -> None:
    frames = dialect.frames(reply)
    fault = reply.fault
    if fault is not None:
        at = min(fault.after, len(frames))
        following = frames[at] if at < len(frames) else frames[-1] if frames else b"{}"
        frames = frames[:at] + [dialect.broken(fault, following)]
    await exchange.head(
        200, dialect.head() | {"Content-Type": dialect.stream_type, "Transfer-Encoding": "chunked"}
    )
    for piece in _pieces(frames, reply.pace.cut):
        await exchange.chunk(piece)
        if reply.pace.drip:
            await exchange.wait(reply.pace.drip)
    if fault is not None and fault.kind == "hang":
        await exchange.wait(fault.seconds)
        exchange.fin()
    if fault is not None and fault.kind in ("reset", "fin"):
        # The bytes before must have left the kernel: a reset throws away what is still queued.
        await exchange.wait(0.02)
        _leave(fault.kind, exchange)
    await exchange.end()


def _pieces(frames: list[bytes], cut: int) -> list[bytes]:
    if not cut:
        return frames
    joined = b"".join(frames)
    return [joined[i : i + cut] for i in range(0, len(joined), cut)]


async def _broken_whole(dialect: Dialect, reply: Reply, fault: Fault, exchange: Exchange) -> None:
    """The nearest thing to a stream's fault where the answer is one body."""
    if fault.kind in ("exception", "error", "sse_error"):
        await _whole(exchange, reply.pace, *dialect.error(Error(fault.type, fault.message)))
        return
    body = dialect.whole(reply)
    half = body[: len(body) // 2]
    headers = dialect.head() | {"Content-Type": "application/json"}
    if fault.kind in ("reset", "fin", "hang"):
        await exchange.head(200, headers | {"Content-Length": str(len(body))})
        await exchange.send(half)
        await exchange.wait(fault.seconds if fault.kind == "hang" else 0.02)
        _leave("reset" if fault.kind == "reset" else "fin", exchange)
    await _whole(exchange, reply.pace, 200, headers, half)


async def _whole(exchange: Exchange, pace: Pace, status: int, headers: dict[str, str], body: bytes) -> None:
    if not pace.cut:
        await exchange.whole(status, headers, body)
        return
    await exchange.head(status, headers | {"Content-Length": str(len(body))})
    for piece in _pieces([body], pace.cut):
        await exchange.send(piece)
        await exchange.wait(pace.drip)


def _leave(how: str, exchange: Exchange) -> None:
    if how == "reset":
        exchange.reset()
    exchange.fin()
