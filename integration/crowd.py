"""Many clients at once that read every answer and hold it against its request; quick enough to be in nobody's way."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .harness import CHAT, CLIENT_KEY, say

#: Seconds within which every answer has come.
PATIENCE = 30


@dataclass(frozen=True)
class Ask:
    """One request for an answer that says its number."""

    number: int
    model: str
    stream: bool
    more: tuple[tuple[str, Any], ...] = ()

    @property
    def words(self) -> str:
        return f"number-{self.number}."

    @property
    def body(self) -> bytes:
        body = {"model": self.model, "messages": say(text=self.words), "stream": self.stream}
        return json.dumps(body | dict(self.more)).encode()


@dataclass
class Seen:
    """What the clients have seen: how many answers came from where, after how many tries."""

    statuses: Counter[int] = field(default_factory=Counter)
    backends: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    #: The first few answers that were not as they should be.
    wrong: list[str] = field(default_factory=list)

    def add(self, ask: Ask, status: int, headers: dict[str, str], body: bytes) -> None:
        self.statuses[status] += 1
        self.backends[headers.get("x-fairlead-backend", "")] += 1
        self.attempts[int(headers.get("x-fairlead-attempts", 0))] += 1
        internal = [name for name in headers if name in ("x-fairlead-retry", "x-fairlead-cluster", "x-fairlead-stream")]
        problem = f"{internal} have left" if internal else wrong(ask, status, body)
        if problem and len(self.wrong) < 5:
            self.wrong.append(f"{problem}: {status} {headers} {body[:500]!r}")


def asks(model: str, count: int, **more: Any) -> list[Ask]:
    """Whole and streamed in turn."""
    return [Ask(number, model, number % 2 == 1, tuple(more.items())) for number in range(count)]


def wrong(ask: Ask, status: int, body: bytes) -> str:
    """What is wrong with an answer; nothing is, if it is complete and says what was asked."""
    if status != 200:
        return "an error"
    text = body.decode()
    if not ask.stream:
        (choice,) = json.loads(text)["choices"]
        said, end = choice["message"]["content"], choice["finish_reason"]
    else:
        if not text.endswith("data: [DONE]\n\n"):
            return "no end"
        chunks = [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n")[:-2]]
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        said = "".join(choice["delta"].get("content") or "" for choice in choices)
        (end,) = (choice["finish_reason"] for choice in choices if choice["finish_reason"])
        if sum("role" in choice["delta"] for choice in choices) != 1:
            return "two beginnings"
    return "" if ask.words in said and end == "stop" else "other words"


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask, seen: Seen) -> None:
    body = ask.body
    head = f"POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    if "content-length" in headers:
        answer = await reader.readexactly(int(headers["content-length"]))
    else:
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        answer = b"".join(pieces)
    seen.add(ask, int(line.split(" ", 2)[1]), headers, answer)


async def _all(port: int, all_asks: Iterable[Ask], clients: int) -> Seen:
    left, seen = iter(all_asks), Seen()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for ask in left:
            await asyncio.wait_for(_one(reader, writer, ask, seen), PATIENCE)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seen


def send(port: int, all_asks: Iterable[Ask], clients: int = 64) -> Seen:
    """Sends everything, a request at a time over each connection."""
    return asyncio.run(_all(port, all_asks, clients))
