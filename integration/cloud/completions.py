"""Chat completions as all who speak them write them: what a script sees of a request, whole answers and chunks."""

from __future__ import annotations

import json
import uuid
from typing import Any

from . import frame
from .errors import openai_body, openai_name
from .http import Request, json_bytes
from .replies import Block, Call, Fault, Reasoning, Redacted, Reply, Text, Tool, Turn, Usage, count, words

#: Common, Converse and Gemini stop words -> OpenAI's; anything else goes out as it is.
STOPS = {
    "end": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "STOP": "stop",
    "tool": "tool_calls",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "SAFETY": "content_filter",
}


class Completions(frame.Api):
    """One request for a completion. Subclasses say where, what is checked, and how that server differs."""

    #: The counts of a stream come only if they were asked for.
    usage_on_demand = True

    def __init__(self, cloud: str, request: Request, found: Any) -> None:
        super().__init__(cloud, request, found)
        self._usage = Usage(0, 0)
        self._counted = False
        self._id = "chatcmpl-" + uuid.uuid4().hex[:24]

    def check(self, body: Any) -> None:
        """Refuse what this server would not take, and more."""
        raise NotImplementedError

    def admit(self, body: Any) -> Turn:
        self.check(body)
        self.stream = body.get("stream", False)
        self._counted = not self.usage_on_demand or body.get("stream_options", {}).get("include_usage", False)
        return _turn(self, body)

    # How servers differ.

    def call_id(self, call: Call, index: int) -> str:
        """The id that this server gives a call."""
        return call.id

    def call_pieces(self, call: Call) -> list[str]:
        """The arguments as a stream has them."""
        return call.pieces if call.pieces is not None else ["{}"]

    def thought(self, text: str) -> dict[str, Any]:
        """The member of a message or delta that shows a thought; none where thoughts are hidden."""
        return {"reasoning_content": text}

    def spoken(self, blocks: list[Block]) -> list[Block]:
        """What the model says, as this server tells it."""
        return blocks

    # The dialect.

    def whole(self, reply: Reply) -> bytes:
        self._usage = count(reply, self.turn)
        answer: dict[str, Any] = self._title("chat.completion")
        answer["choices"] = []
        if not reply.no_candidates:
            message = {"role": "assistant"} | self._message(self.spoken(reply.blocks))
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._stop(reply)}
            answer["choices"].append(choice)
        if not reply.usage_missing:
            answer["usage"] = self._told_usage()
        return json_bytes(answer)

    def _message(self, blocks: list[Block]) -> dict[str, Any]:
        message: dict[str, Any] = {"content": None, "refusal": None}
        calls = []
        for block in blocks:
            if isinstance(block, Text):
                message["content"] = (message["content"] or "") + "".join(block.pieces)
            elif isinstance(block, Reasoning):
                for name, value in self.thought("".join(block.pieces)).items():
                    message[name] = (message.get(name) or "") + value
            elif isinstance(block, Call):
                function = {"name": block.name, "arguments": json.dumps(block.args, ensure_ascii=False)}
                calls.append({"id": self.call_id(block, len(calls)), "type": "function", "function": function})
        if calls:
            message["tool_calls"] = calls
        return message

    def frames(self, reply: Reply) -> list[bytes]:
        self._usage = count(reply, self.turn)
        chunks = []
        if not reply.no_candidates:
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *self._deltas(reply)]
            chunks = [self._chunk(delta, None) for delta in deltas] + [self._chunk({}, self._stop(reply))]
        if self._counted and not reply.usage_missing:
            self._count(chunks)
        end = (reply.eol * 2).encode()
        return [b"data: " + json_bytes(chunk) + end for chunk in chunks] + [b"data: [DONE]" + end]

    def _count(self, chunks: list[dict[str, Any]]) -> None:
        for chunk in chunks:
            chunk["usage"] = None
        chunks.append(self._title("chat.completion.chunk") | {"choices": [], "usage": self._told_usage()})

    def _deltas(self, reply: Reply) -> list[dict[str, Any]]:
        deltas = []
        calls: list[list[dict[str, Any]]] = []
        for block in self.spoken(reply.blocks):
            if isinstance(block, Text):
                deltas += [{"content": piece} for piece in block.pieces if piece]
            elif isinstance(block, Reasoning):
                deltas += [thought for piece in block.pieces if (thought := self.thought(piece))]
            elif isinstance(block, Call):
                pieces = self._call(block, len(calls))
                calls.append(pieces)
                if not reply.interleaved:
                    deltas += pieces
            else:
                assert isinstance(block, Redacted)  # Nobody here shows such thoughts.
        if reply.interleaved:
            for turn in range(max(map(len, calls), default=0)):
                deltas += [pieces[turn] for pieces in calls if turn < len(pieces)]
        return deltas

    def _call(self, call: Call, index: int) -> list[dict[str, Any]]:
        pieces = self.call_pieces(call)
        function = {"name": call.name, "arguments": ""}
        begin = {"index": index, "id": self.call_id(call, index), "type": "function", "function": function}
        if len(pieces) == 1:
            function["arguments"] = pieces[0]
            pieces = []
        more = [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces]
        return [{"tool_calls": [begin]}, *more]

    def broken(self, fault: Fault, following: bytes) -> bytes:
        if fault.kind in ("sse_error", "exception", "error"):
            return self.broken_off(fault)
        if fault.kind in ("junk", "crc"):
            return b"data: {this is not JSON\n\n"
        if fault.kind == "cut":
            return following[: len(following) // 2]
        return b""  # The others only end the connection.

    def broken_off(self, fault: Fault) -> bytes:
        """An error in the middle of a stream."""
        return b"data: " + json_bytes(openai_body(openai_name(fault.type), fault.message)) + b"\n\n"

    def _title(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": 1795239540, "model": self.turn.model}

    def _chunk(self, delta: dict[str, Any], stop: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": stop}
        return self._title("chat.completion.chunk") | {"choices": [choice]}

    def _stop(self, reply: Reply) -> str:
        return STOPS.get(reply.stop, reply.stop)

    def _told_usage(self) -> dict[str, Any]:
        usage = self._usage
        prompt = usage.input + usage.cache_read + usage.cache_write
        return {
            "prompt_tokens": prompt,
            "completion_tokens": usage.output,
            "total_tokens": prompt + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        }


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def _turn(api: Completions, body: dict[str, Any]) -> Turn:
    messages = body["messages"]
    calls = [call for one in messages for call in one.get("tool_calls", ())]
    names = {call["id"]: call[call["type"]]["name"] for call in calls}
    last = messages[-1]
    results = []
    for message in reversed(messages):
        if message["role"] not in ("tool", "user") or message["role"] == "user" and results:
            break
        if message["role"] == "tool":
            results.insert(0, (names[message["tool_call_id"]], _text(message["content"])))
    last_text = _text(last["content"]) if last["role"] != "tool" else ""
    choice = body.get("tool_choice")
    forced = choice.get("function", {}).get("name") if isinstance(choice, dict) else "*" if choice == "required" else None
    form = body.get("response_format", {})
    schema = form.get("json_schema", {}).get("schema")
    if form.get("type") == "json_object":
        schema = {"type": "object", "properties": {"ok": {"const": True}}}
    parts = [part for one in messages if isinstance(one.get("content"), list) for part in one["content"]]
    said = [_text(one.get("content")) for one in messages]
    asked = [call[call["type"]].get("arguments") or call[call["type"]].get("input", "") for call in calls]
    functions = [tool["function"] for tool in body.get("tools", ()) if "function" in tool]
    return Turn(
        cloud=api.cloud,
        place=api.place,
        model=body["model"],
        stream=api.stream,
        messages=sum(one["role"] != "system" for one in messages),
        last_text=last_text,
        tool_results=results,
        images=sum(part["type"] == "image_url" for part in parts),
        words=sum(map(words, said + asked)),
        tools=[Tool(one["name"], one.get("parameters") or {"type": "object"}) for one in functions],
        forced_tool=forced,
        schema=schema,
        marked_text=last_text or " ".join(text for _, text in results),
    )
