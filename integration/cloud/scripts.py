"""The scripts: a marker in the conversation, or the control port, decides what the model answers."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import Callable

from .replies import Answer, Call, Drop, Error, Fault, Pace, Pictures, Raw, Reasoning, Redacted, Reply, Text, Tool, Turn, split
from .sample import sample

#: The clouds that scripts play on.
CLOUDS = ("bedrock", "vertex", "anthropic", "openai")

MARKER = re.compile(r"\[\[script:(.*?)\]\]", re.DOTALL)

#: Every kind of trouble in text: 2, 3 and 4 byte letters, combining marks, joiners, quotes, escapes, line ends.
UNICODE = (
    "Grüße, 世界! 👩\u200d🚀🏳️\u200d🌈 e\u0301 a\u0323\u0307 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \"quoted\" back\\slash </tag> "
    "tab\there\r\nline two\u2028separator\x7f data: [DONE]\n\nevent: x 漢字𠮷 ﷽ \u200fعربي "
)


class BadScript(Exception):
    """A marker that the stand-in does not understand: a fault of the test, answered with 400."""


class Args:
    """A script's `key=value` arguments; what nobody asked for is an error, so typing mistakes are loud."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given = dict(given)

    def text(self, name: str, fallback: str = "") -> str:
        return self._given.pop(name, fallback)

    def has(self, name: str) -> bool:
        return name in self._given

    def number(self, name: str, fallback: int = 0) -> int:
        return int(self._parse(name, str(fallback), r"-?\d+"))

    def seconds(self, name: str, fallback: float = 0.0) -> float:
        return float(self._parse(name, str(fallback), r"\d+(\.\d+)?"))

    def flag(self, name: str) -> bool:
        return self._parse(name, "0", "[01]") == "1"

    def _parse(self, name: str, fallback: str, pattern: str) -> str:
        value = self._given.pop(name, fallback)
        if not re.fullmatch(pattern, value):
            raise BadScript(f"{name}={value!r}")
        return value

    def done(self) -> None:
        if self._given:
            raise BadScript(f"unknown argument {sorted(self._given)[0]!r}")


@dataclass
class Forced:
    """A script that the control port ordered for the next `times` requests."""

    cloud: str | None
    script: str
    times: int


class Stage:
    """Chooses the script of each request and remembers which markers have had their turns."""

    def __init__(self) -> None:
        self.forced: list[Forced] = []
        self.played: Counter[tuple[str, str]] = Counter()

    def reset(self) -> None:
        self.forced.clear()
        self.played.clear()

    def answer(self, turn: Turn) -> tuple[str, Answer]:
        """Play the script for this request; returns its line and what to answer."""
        for order in self.forced:
            if order.cloud in (None, turn.cloud) and order.times > 0:
                order.times -= 1
                name, args = parse(order.script)
                return order.script, play(name, args, turn)
        for line in MARKER.findall(turn.marked_text):
            name, args = parse(line)
            only, model, times = args.text("only"), args.text("model"), args.number("times", 0)
            if only not in ("", *CLOUDS):
                raise BadScript(f"only={only!r}; there are {', '.join(CLOUDS)}")
            if only not in ("", turn.cloud) or (model and model not in turn.model):
                continue
            if times and self.played[turn.cloud, line] >= times:
                continue
            self.played[turn.cloud, line] += 1
            return line.strip(), play(name, args, turn)
        return "default", play("default", Args({}), turn)


def parse(line: str) -> tuple[str, Args]:
    """Take a script line apart: a name, then `key=value` words with shell quoting."""
    try:
        name, *pairs = shlex.split(line)
    except ValueError as error:
        raise BadScript(f"{line!r}: {error}") from None
    given = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise BadScript(f"{pair!r} is not key=value")
        given[key] = value
    if name not in SCRIPTS:
        raise BadScript(f"no script called {name!r}; there are {', '.join(sorted(SCRIPTS))}")
    return name, Args(given)


def play(name: str, args: Args, turn: Turn) -> Answer:
    """Run a script and the modifiers that go with any script."""
    cut = args.number("cut")
    pace = Pace(args.seconds("delay") / 1000, args.seconds("drip", 1 if cut else 0) / 1000, cut)
    answer = SCRIPTS[name](args, turn)
    if not isinstance(answer, Drop):
        answer.pace = pace
    if isinstance(answer, Reply):
        _modify(answer, args)
    args.done()
    return answer


#: Usage arguments that every reply takes: script's word -> field of `Usage`.
USAGE = {
    "in": "input",
    "out": "output",
    "cache_read": "cache_read",
    "cache_write": "cache_write",
    "thoughts": "reasoning",
}


#: Faults of a stream; see `replies.Fault`.
FAULTS = frozenset({"reset", "fin", "cut", "end", "exception", "error", "crc", "sse_error", "junk", "hang"})


def _modify(reply: Reply, args: Args) -> None:
    for word, figure in USAGE.items():
        if args.has(word):
            reply.usage_given[figure] = args.number(word)
    reply.usage_missing = args.flag("no_usage") or reply.usage_missing
    reply.stop = args.text("stop", reply.stop)
    reply.eol = {"crlf": "\r\n", "lf": "\n", "cr": "\r"}[args.text("eol", "crlf")]
    kind = args.text("fault")
    if kind and kind not in FAULTS:
        raise BadScript(f"fault={kind!r}; there are {', '.join(sorted(FAULTS))}")
    if kind:
        reply.fault = Fault(
            kind, args.number("after", 2), args.text("type", "internal"), args.text("message") or None,
            args.seconds("s", 30),
        )  # fmt: skip


def default(args: Args, turn: Turn) -> Reply:
    """A friendly sentence about the request; a forced tool or a schema is obeyed as a model would."""
    if turn.forced_tool is not None and turn.tools:
        return Reply([_call(turn, _find(turn, turn.forced_tool), 0)], "tool")
    if turn.schema is not None:
        return json_instance(args, turn)
    count = f"{turn.messages} message" + ("s" if turn.messages != 1 else "")
    images = f" and {turn.images} image" + ("s" if turn.images != 1 else "") if turn.images else ""
    said = MARKER.sub("", turn.last_text).strip()
    said = said if len(said) <= 120 else said[:119] + "…"
    if turn.tool_results:
        heard = "; ".join(f"{name} returned {text[:80]}" for name, text in turn.tool_results)
        tail = f"Your tools answered: {heard}."
    else:
        tail = f"You said: “{said}”."
    text = f"Hello from the stand-in for {turn.place}, playing {turn.model}. I got {count}{images}. {tail}"
    return Reply([Text(re.findall(r"\S+\s*", text))])


def text(args: Args, turn: Turn) -> Reply:
    """text [say=…] [size=CHARS] [blocks=N] [piece=CHARS] [unicode=1]: plain text."""
    say = args.text("say") or (UNICODE if args.flag("unicode") else "The quick brown fox jumps over the lazy dog. ")
    size = args.number("size", len(say))
    whole = (say * (size // len(say) + 1))[:size]
    piece = args.number("piece", max(7, size // 2000))
    blocks = args.number("blocks", 1)
    return Reply([Text(split(f"[{i}] {whole}" if blocks > 1 else whole, piece)) for i in range(blocks)])


def frames(args: Args, turn: Turn) -> Reply:
    """frames n=N [each=CHARS]: a stream of N text deltas."""
    each = args.number("each", 5)
    return Reply([Text([f"{i:<{each - 1}}"[: each - 1] + " " for i in range(args.number("n", 100))])])


def tools(args: Args, turn: Turn) -> Reply:
    """tools [which=first|all|NAME] [args=sample|empty|JSON] [before=…] [after=…] [interleaved=1] [piece=CHARS]."""
    if not turn.tools:
        raise BadScript("tools: the request declares none")
    which = args.text("which", "first")
    chosen = turn.tools if which == "all" else [turn.tools[0] if which == "first" else _find(turn, which)]
    wanted, piece = args.text("args", "sample"), args.number("piece", 6)
    before, after = args.text("before"), args.text("after")
    calls = [_call(turn, tool, i, wanted, piece) for i, tool in enumerate(chosen * args.number("repeat", 1))]
    blocks = [Text(split(before, 5))] if before else []
    blocks += calls
    blocks += [Text(split(after, 5))] if after else []
    return Reply(blocks, "tool", interleaved=args.flag("interleaved"))


def _find(turn: Turn, name: str) -> Tool:
    for tool in turn.tools:
        if name in ("*", tool.name):
            return tool
    raise BadScript(f"no tool called {name!r}")


def _call(turn: Turn, tool: Tool, index: int, wanted: str = "sample", piece: int = 6) -> Call:
    if wanted == "sample":
        args = sample(tool.schema)
    elif wanted == "empty":
        args = {}
    else:
        args = json.loads(wanted)
    if not isinstance(args, dict):
        raise BadScript("tool arguments must be an object")
    pieces = split(json.dumps(args, ensure_ascii=False), piece) if args else None
    # The number of messages makes ids unique along a conversation.
    return Call(tool.name, args, f"tooluse_{turn.messages}_{index}_{tool.name}"[:64], pieces)


def json_instance(args: Args, turn: Turn) -> Reply:
    """json: an instance of the request's response schema, or of {} without one."""
    made = sample(turn.schema if turn.schema is not None else {"type": "object", "properties": {"ok": {"const": True}}})
    return Reply([Text(split(json.dumps(made, ensure_ascii=False), 9))])


def reasoning(args: Args, turn: Turn) -> Reply:
    """reasoning [say=…] [signed=0|1] [redacted=1] [tool=1]: thinking, then text or a tool call."""
    thought = args.text("say", "First I read the question. Then I think: 2 + 2 = 4 …")
    signed = args.text("signed", "1") == "1"
    blocks = [Reasoning(split(thought, 8), signed)]
    if args.flag("redacted"):
        blocks.append(Redacted(b"\x00\x01redacted thought\xff" * 4))
    if args.flag("tool"):
        return Reply(blocks + [_call(turn, _find(turn, "*"), 0)], "tool")
    return Reply(blocks + [Text(split(args.text("then", "The answer is 4."), 6))])


def stop(args: Args, turn: Turn) -> Reply:
    """stop reason=REASON [say=…]: text that ends for a reason of the cloud's own vocabulary."""
    said = args.text("say", "This ends here")
    return Reply([Text(split(said, 5))] if said else [], args.text("reason", "end"))


def blocked(args: Args, turn: Turn) -> Reply:
    """blocked [reason=SAFETY]: the prompt is refused (Gemini promptFeedback; Bedrock guardrail_intervened)."""
    if turn.cloud == "bedrock":
        args.text("reason")
        return Reply([Text(["Sorry, the model cannot answer this question."])], "guardrail_intervened")
    return Reply([], args.text("reason", "SAFETY"), blocked_prompt=True)


def nothing(args: Args, turn: Turn) -> Reply:
    """nothing: an answer without content (Gemini: without candidates)."""
    return Reply([], no_candidates=True)


def images(args: Args, turn: Turn) -> Reply:
    """images [withheld=N] [reason=…] [size=BYTES] [prompt=…]: images, of which the filter withholds some."""
    made = Pictures(args.number("withheld"), args.text("reason"), args.number("size"), args.text("prompt"))
    return Reply([Text(["I made your images."])], pictures=made)


def error(args: Args, turn: Turn) -> Error:
    """error type=TYPE [message=…] [retry_after=S] [array=1]: an error reply; TYPE of either cloud or a common word."""
    return Error(
        args.text("type", "throttle"), args.text("message") or None, args.text("retry_after") or None, args.flag("array")
    )  # fmt: skip


def raw(args: Args, turn: Turn) -> Raw:
    """raw kind=html|empty|text|truncated|wrong [status=N]: a reply that no cloud writes."""
    kind = args.text("kind", "html")
    bodies = {
        "html": (502, "text/html", b"<html><head><title>502 Bad Gateway</title></head><body><h1>502</h1></body></html>"),
        "empty": (500, "application/json", b""),
        "text": (200, "text/plain", b"upstream says hello"),
        "truncated": (200, "application/json", b'{"output":{"message":{"content":[{"te'),
        "wrong": (200, "application/json", b'{"hello":["world"]}'),
    }
    if kind not in bodies:
        raise BadScript(f"raw: kind={kind!r}")
    status, content_type, body = bodies[kind]
    return Raw(args.number("status", status), content_type, body)


def reset(args: Args, turn: Turn) -> Drop:
    """reset [s=S] [how=reset|fin]: the connection dies before any header, S seconds after the request."""
    how = args.text("how", "reset")
    return Drop("fin" if how == "fin" else "reset", args.seconds("s"))


def hang(args: Args, turn: Turn) -> Drop:
    """hang [s=S]: no answer for S seconds, then the connection is closed."""
    return Drop("fin", args.seconds("s", 600))


SCRIPTS: dict[str, Callable[[Args, Turn], Answer]] = {
    "default": default,
    "text": text,
    "frames": frames,
    "tools": tools,
    "json": json_instance,
    "reasoning": reasoning,
    "stop": stop,
    "blocked": blocked,
    "nothing": nothing,
    "images": images,
    "error": error,
    "raw": raw,
    "reset": reset,
    "hang": hang,
}
