"""What a model says, before a cloud's dialect: blocks, stop reason, usage, and how the delivery goes wrong."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, Union


@dataclass
class Text:
    """Text in the pieces in which a stream delivers it."""

    pieces: list[str]


@dataclass
class Reasoning:
    """Thinking in pieces; a cloud adds the signature unless told not to."""

    pieces: list[str]
    signed: bool = True


@dataclass
class Redacted:
    """Thinking that only the model can read."""

    data: bytes


@dataclass
class Call:
    """A tool call; `pieces` is the argument text as a stream cuts it, None for the default cut."""

    name: str
    args: dict[str, Any]
    id: str
    pieces: list[str] | None = None


@dataclass
class Pictures:
    """What becomes of the images that were asked for."""

    #: How many the filter withholds, and its reason in the cloud's own words; empty for the usual one.
    withheld: int = 0
    reason: str = ""
    #: Least bytes of each image.
    size: int = 0
    #: The prompt as the model has rewritten it, where its cloud tells.
    prompt: str = ""


Block = Union[Text, Reasoning, Redacted, Call]


@dataclass
class Usage:
    """Token counts; `input` excludes what came from or went to the cache, `output` includes reasoning."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass
class Fault:
    """What goes wrong in a stream once `after` frames were sent.

    kind: reset (RST), fin (orderly close, no end of body), cut (half a frame, then a proper end), end (a proper end
    too early), exception, error, crc, sse_error, junk, hang.
    """

    kind: str
    after: int = 0
    type: str = "internal"
    message: str | None = None
    seconds: float = 0.0


@dataclass
class Pace:
    """How bytes leave: `delay` before the headers, `drip` between pieces (seconds), `cut` bytes a piece."""

    delay: float = 0.0
    drip: float = 0.0
    cut: int = 0


@dataclass
class Reply:
    """An answer of the model."""

    blocks: list[Block]
    stop: str = "end"
    usage: Usage | None = None
    interleaved: bool = False
    blocked_prompt: bool = False
    no_candidates: bool = False
    fault: Fault | None = None
    pace: Pace = field(default_factory=Pace)
    #: Overrides of single usage figures, and of the line ends of server-sent events.
    usage_given: dict[str, int] = field(default_factory=dict)
    usage_missing: bool = False
    eol: str = "\r\n"
    #: For image APIs, which write nothing else of it.
    pictures: Pictures = field(default_factory=Pictures)


@dataclass
class Error:
    """An error that the cloud itself answers."""

    type: str
    message: str | None = None
    retry_after: str | None = None
    array: bool = False
    pace: Pace = field(default_factory=Pace)


@dataclass
class Raw:
    """Bytes that no cloud would write: from a proxy in between, or from a broken machine."""

    status: int
    content_type: str
    body: bytes
    pace: Pace = field(default_factory=Pace)


@dataclass
class Drop:
    """No answer: the connection is reset, or closed, or stays silent first."""

    how: Literal["reset", "fin"] = "reset"
    seconds: float = 0.0


Answer = Union[Reply, Error, Raw, Drop]


@dataclass
class Tool:
    """A declared tool."""

    name: str
    schema: dict[str, Any]


@dataclass
class Turn:
    """What a script may know of the request."""

    cloud: str
    place: str
    model: str
    stream: bool
    messages: int
    last_text: str
    tool_results: list[tuple[str, str]]
    images: int
    words: int
    tools: list[Tool]
    forced_tool: str | None  # A name, "*" for any, None when the model is free.
    schema: dict[str, Any] | None
    marked_text: str


def split(text: str, size: int) -> list[str]:
    """Cut text into pieces of `size` characters."""
    return [text[i : i + size] for i in range(0, len(text), size)] or [""]


def words(text: str) -> int:
    """The stand-in's tokens: words parted by white space."""
    return len(text.split())


def count(reply: Reply, turn: Turn) -> Usage:
    """Count a reply's tokens: words in, words out; figures given by the script win."""
    spoken = thought = 0
    for block in reply.blocks:
        if isinstance(block, Text):
            spoken += words("".join(block.pieces))
        elif isinstance(block, Reasoning):
            thought += words("".join(block.pieces))
        elif isinstance(block, Call):
            spoken += 1 + words(json.dumps(block.args))
    usage = Usage(turn.words, spoken + thought, reasoning=thought)
    for name, figure in reply.usage_given.items():
        setattr(usage, name, figure)
    return usage


#: Marks bytes as made here; the rest of a signature binds it to what it signs.
SEAL = b"stand-in thought "


def seal(signed: str) -> str:
    """Make the signature of a thought or call, bound to its exact text."""
    return base64.b64encode(SEAL + hashlib.sha512(signed.encode()).digest() * 2).decode()
