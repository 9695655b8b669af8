"""The rows of the table: what is sent, where it goes, and when its answer is right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from integration.bench import bodies, upstream

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
GEMINI = "gemini-2.5-flash"
GEMINI_PATH = f"/v1/projects/my-project/locations/us-central1/publishers/google/models/{GEMINI}:generateContent"
VERTEX_CLAUDE = "claude-sonnet-4-5@20250929"
CLAUDE_PATH = f"/v1/projects/my-project/locations/us-central1/publishers/anthropic/models/{VERTEX_CLAUDE}:rawPredict"

#: What openai-python sends besides its body.
CLIENT_HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": "OpenAI/Python 2.8.0",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "2.8.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.13.5",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
    "authorization": "Bearer sk-bench",
}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    key: str
    title: str
    body: bytes
    cluster: str
    #: Where the plugin sends it, and where plain Envoy is asked to send it.
    path: str
    #: Where the client sends it.
    asked: str = "/v1/chat/completions"
    stream: bool = False
    #: Its frames come one by one, which takes a second; so whole streams are counted, not time.
    drip: bool = False
    #: How the plugin stands in Envoy: as in gateway.yaml, with a `latch`, or in two positions (`tries`).
    setup: str = "plugin"

    @property
    def connections(self) -> int:
        return 16 if self.drip else 8


def cases() -> list[Case]:
    """All rows, in their order."""

    def bedrock(key: str, title: str, body: bytes, model: str = CLAUDE, **more: Any) -> Case:
        action = "converse-stream" if more.get("stream") else "converse"
        return Case(key, title, body, "bedrock_us_east_1", f"/model/{quote(model, safe='')}/{action}", **more)

    def at_vertex(key: str, title: str, body: bytes) -> Case:
        return Case(key, title, body, "vertex_us_central1", GEMINI_PATH)

    def passed(key: str, title: str, body: bytes) -> Case:
        return Case(key, title, bodies.message(body), "vertex_us_central1", CLAUDE_PATH, "/v1/messages")

    same = f"vertex_ai/{VERTEX_CLAUDE}"
    claude, dripping, gemini = f"bedrock/{CLAUDE}", f"bedrock/{upstream.DRIPPING}", f"vertex_ai/{GEMINI}"
    streams = [bodies.conversation(model, 2000, stream=True) for model in (claude, dripping)]
    return [
        bedrock("bedrock_300b", "Bedrock, 300 B", bodies.conversation(claude, 300)),
        bedrock("bedrock_2kb", "Bedrock, 2 kB", bodies.conversation(claude, 2000)),
        bedrock("bedrock_20kb", "Bedrock, 20 kB", bodies.conversation(claude, 20_000)),
        bedrock("bedrock_1mb", "Bedrock, 1 MB of turns", bodies.conversation(claude, 1_000_000)),
        bedrock("bedrock_1mb_image", "Bedrock, 1 MB image", bodies.picture(claude, 1_000_000)),
        bedrock("bedrock_60_turns", "Bedrock, 60 tool turns", bodies.agent(claude, 60)),
        bedrock("bedrock_70kb_tools", "Bedrock, 70 kB of tools", bodies.schemas(claude, 70_000)),
        at_vertex("vertex_2kb", "Vertex, 2 kB", bodies.conversation(gemini, 2000)),
        at_vertex("vertex_1mb_image", "Vertex, 1 MB image", bodies.picture(gemini, 1_000_000)),
        at_vertex("vertex_60_turns", "Vertex, 60 tool turns", bodies.agent(gemini, 60)),
        at_vertex("vertex_70kb_tools", "Vertex, 70 kB of tools", bodies.schemas(gemini, 70_000)),
        passed("pass_2kb", "Anthropic to Claude, 2 kB", bodies.conversation(same, 2000)),
        passed("pass_60_turns", "Anthropic to Claude, 60 tool turns", bodies.agent(same, 60)),
        passed("pass_70kb_tools", "Anthropic to Claude, 70 kB of tools", bodies.schemas(same, 70_000)),
        bedrock("stream", f"stream of {bodies.FRAMES} frames", streams[0], stream=True),
        bedrock("latch_2kb", "Bedrock, 2 kB, latch", bodies.conversation(claude, 2000), setup="latch"),
        bedrock("latch_1mb_image", "1 MB image, latch", bodies.picture(claude, 1_000_000), setup="latch"),
        bedrock("latch_stream", "stream, latch", streams[0], stream=True, setup="latch"),
        bedrock("tries_2kb", "Bedrock, 2 kB, gate and attempt", bodies.conversation(claude, 2000), setup="tries"),
        bedrock("tries_stream", "stream, gate and attempt", streams[0], stream=True, setup="tries"),
        bedrock("drip", "the same, frame by frame", streams[1], upstream.DRIPPING, stream=True, drip=True),
    ]


def untranslated(case: Case, body: bytes) -> str:
    """What is wrong with an answer of the plugin's; empty if nothing is."""
    if not case.stream:
        answer = json.loads(body)
        if case.asked == "/v1/messages":
            return "" if body == bodies.messages_reply() else "other bytes than the cloud's"
        said = answer["choices"][0]["message"]["content"] if answer.get("object") == "chat.completion" else None
        return "" if said == bodies.SAID else "no translation of what the cloud said"
    if not body.endswith(b"data: [DONE]\n\n"):
        return "a stream without [DONE]"
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    chunks = [json.loads(line) for line in lines[:-1]]
    if any(chunk["object"] != "chat.completion.chunk" for chunk in chunks):
        return "no chat.completion.chunk"
    texts = sum(bool(choice["delta"].get("content")) for chunk in chunks for choice in chunk["choices"])
    return "" if texts == bodies.FRAMES - 4 else f"{texts} pieces of text"
