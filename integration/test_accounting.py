"""What is charged, held against what the stand-in cloud reported: 10,000 mixed requests, a tenth of them abandoned."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from .cloud.driver import StandIn
from .conftest import running
from .harness import BEDROCK, CHAT, CLIENT_KEY, VERTEX, Gate, say, until
from .test_teams import WORKERS, team, teams

#: How many requests there are, and from how many connections they come.
REQUESTS, CONNECTIONS = 10_000, 48

#: Frames with text that an abandoned stream shows before it says nothing more, and letters in each.
FRAMES, LETTERS = 5, 24

#: A piece of text in a stream of either API; the first chunk of OpenAI's has an empty one.
TEXT = re.compile(rb'"(?:content|text)":"[^"]')

#: The most that anyone may use here: so much that nothing is refused.
MOST = 1_000_000_000


@dataclass(frozen=True)
class Ask:
    """One request, and the tokens that the cloud will report."""

    path: str
    body: bytes
    #: `None`: the client leaves before the cloud tells.
    reported: Counter[str] | None
    #: The input, where the cloud tells it at the beginning.
    begun: int | None = None

    def head(self) -> str:
        head = f"POST {self.path} HTTP/1.1\r\nhost: gateway\r\nx-api-key: {CLIENT_KEY}\r\n"
        return head + f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n\r\n"


def asks() -> list[Ask]:
    """Both clouds and both APIs, whole and streamed, with and without a bound, in turn; every tenth is left."""
    found = []
    for number in range(REQUESTS):
        anthropic, stream = number % 3 == 0, number % 2 == 0
        body: dict[str, Any] = {"model": (BEDROCK, VERTEX)[number // 2 % 2], "stream": stream}
        if anthropic or number % 4 == 0:
            body["max_tokens"] = 100 + number % 900
        left = number % 10 == 4
        came, went = number % 97 + 1, number % 31 + 1
        script = f"text in={came} out={went}"
        if left:
            # Bedrock's first frame says that a message begins.
            first = body["model"] == BEDROCK
            script = f"frames n=99 each={LETTERS} in={came} fault=hang after={FRAMES + first} s=60"
        body["messages"] = say(script, "." * (number % 50))
        path = "/v1/messages" if anthropic else CHAT
        reported = None if left else Counter(input=came, output=went)
        # Gemini counts in every chunk, Converse in the last.
        begun = came if body["model"] == VERTEX else None
        found.append(Ask(path, json.dumps(body).encode(), reported, begun))
    return found


class Client:
    """A client that is quick enough: one request at a time over a connection that stays."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.statuses: Counter[int] = Counter()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, ask: Ask) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._reader, self._writer
        assert reader is not None
        writer.write(ask.head().encode() + ask.body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        self.statuses[int(answer.split(b" ", 2)[1])] += 1
        if ask.reported is None:
            await self._leave(reader, writer)
        elif b"content-length: " in answer:
            await reader.readexactly(int(answer.split(b"content-length: ")[1].split(b"\r\n")[0]))
        else:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()

    async def _leave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads all that there is to be read, and is gone."""
        seen = b""
        while len(TEXT.findall(seen)) < FRAMES:
            piece = await reader.read(65536)
            assert piece, seen
            seen += piece
        writer.close()
        self._reader = self._writer = None


async def send_all(port: int, all_asks: list[Ask]) -> Counter[int]:
    """Sends everything over a few connections; gives how often there was which status."""
    left = iter(all_asks)
    statuses: Counter[int] = Counter()

    async def connection() -> None:
        client = Client(port)
        for ask in left:
            await asyncio.wait_for(client.send(ask), 30)
        statuses.update(client.statuses)

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return statuses


def seen(gate: Gate, ask: Ask) -> Counter[str]:
    """What an abandoned request costs: its input as the cloud told it, or as estimated, as a dry run shows it, and a
    token for each four bytes that have come."""
    headers = {"authorization": f"Bearer {CLIENT_KEY}", "x-fairlead-dry-run": "true"}
    shown = json.loads(gate.post(ask.body, headers, ask.path).body)
    return Counter(input=ask.begun or shown["estimated_input_tokens"], output=-(-FRAMES * LETTERS // 4))


def test_ten_thousand_requests_are_charged_what_was_reported_or_seen(version: str, cloud: StandIn) -> None:
    def plugin(config: dict[str, Any]) -> None:
        budget = {"usd": MOST / 1e6, "per": "30d"}
        limits = {"tokens_per_minute": MOST, "concurrent_requests": 10 * CONNECTIONS, "budget": budget}
        teams(blue=team(["*"], **limits))(config)
        # A token is a millionth of a dollar: what is spent are the tokens, also those of minutes ago.
        config["prices"] = [{"model": "*", "input": 1, "output": 1}]

    with running(version, cloud, "accounting", plugin=plugin, concurrency=WORKERS) as gate:
        gate.fresh()
        all_asks = asks()
        charged: Counter[str] = Counter()
        for ask in all_asks:
            charged += ask.reported or seen(gate, ask)
        begun = time.monotonic()
        assert asyncio.run(send_all(gate.envoy.port, all_asks)) == {200: REQUESTS}
        print(f"{REQUESTS} requests in {time.monotonic() - begun:.0f} s")

        def blue() -> Any:
            usage = gate.call("GET", "/fairlead/usage", headers={"authorization": f"Bearer {CLIENT_KEY}"})
            return json.loads(usage.body)["teams"][0]["limits"]

        until("nothing is under way", lambda: blue()["concurrent_requests"]["reserved"] == 0)
        limits = blue()
        assert limits["tokens_per_minute"]["reserved"] == limits["budget"]["reserved"] == 0
        assert round(limits["budget"]["used"] * 1e6) == charged.total()
        assert tokens(gate) == charged
        gate.verify()


TITAN = "bedrock/amazon.titan-embed-text-v2:0"


def test_who_leaves_before_the_first_byte_pays_for_what_has_left(version: str, cloud: StandIn) -> None:
    plugin = teams(blue=team(["*"], tokens_per_minute=MOST))
    with running(version, cloud, "left", plugin=plugin) as gate:
        whole = {"model": BEDROCK, "max_tokens": 100, "messages": say("text delay=5000", "a long question " * 50)}
        # Titan takes a call for each text, and eight of them are under way.
        texts = {"model": TITAN, "input": [f"the text of number {number} " * 9 for number in range(12)]}
        for path, body, calls, of in ((CHAT, whole, 1, 1), ("/v1/embeddings", texts, 8, 12)):
            gate.fresh()
            ask = Ask(path, json.dumps(body).encode(), None)
            estimate = seen(gate, ask)["input"]
            assert estimate > 200
            before = paid(gate)
            if path != CHAT:
                cloud.script("default delay=5000", times=of)
            client = gate.socket()
            client.sendall(ask.head().encode() + ask.body)
            until("the cloud is at work", lambda: gate.counters().get("bedrock.in_flight", 0) == calls)
            client.close()
            expected = -(-estimate * calls // of)
            until(f"{expected} tokens", lambda: paid(gate) - before == expected)
            logged = lambda: [json.loads(line) for line in gate.log().splitlines() if '"DC"' in line]  # noqa: E731
            (line,) = until("a line in the access log", logged)
            assert (line["team"], line["input_tokens"], line["output_tokens"]) == ("blue", str(expected), "0")
        gate.verify()


def paid(gate: Gate) -> int:
    """Tokens that the team has used, once nothing is reserved any more."""
    usage = gate.call("GET", "/fairlead/usage", headers={"authorization": f"Bearer {CLIENT_KEY}"})
    tokens = json.loads(usage.body)["teams"][0]["limits"]["tokens_per_minute"]
    return tokens["used"] if tokens["reserved"] == 0 else 0


def tokens(gate: Gate) -> Counter[str]:
    """Tokens by their kind, of all models, as Prometheus reads them."""
    found: Counter[str] = Counter()
    for line in gate.admin("GET", "/stats/prometheus?filter=gen_ai_client_token_usage").splitlines():
        if line.startswith("gen_ai_client_token_usage_total{"):
            found[line.split('token_type="')[1].split('"')[0]] += int(line.rsplit(" ", 1)[1])
    return found
