"""The Converse APIs of the Bedrock stand-in: shape of the body, what a script sees of it, and the answer's dialect."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from . import aws, converse_rules, eventstream
from .errors import aws_body, aws_name
from .http import json_bytes
from .replies import Call, Fault, Reasoning, Redacted, Reply, Text, Tool, Turn, count, seal, words
from .shapes import check_body, check_text, service
from .strict import Refused

#: Bedrock pads each event with a member `p` so that sizes tell nothing about the text.
PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

#: Common and Gemini stop words -> Converse's; anything else goes out as it is.
STOPS = {
    "end": "end_turn",
    "tool": "tool_use",
    "STOP": "end_turn",
    "MAX_TOKENS": "max_tokens",
    "SAFETY": "content_filtered",
    "RECITATION": "content_filtered",
    "MALFORMED_FUNCTION_CALL": "malformed_tool_use",
}


#: CountTokens takes ids of foundation models, no inference profiles, and of Claude alone:
#: https://docs.aws.amazon.com/bedrock/latest/userguide/count-tokens.html and pydantic-ai issue 4001.
COUNTED = re.compile(r"(arn:aws:bedrock:[a-z0-9-]+::foundation-model/)?anthropic\.claude-[a-z0-9.:-]+")


class CountTokens(aws.Api):
    """Counts the words of a conversation."""

    path = re.compile(r"/model/(?P<model>[^/]*)/count-tokens")

    def admit(self, body: Any) -> Turn:
        _shape(self.model, "CountTokens", body)
        if not COUNTED.fullmatch(self.model):
            raise Refused("rule", "The provided model doesn't support counting tokens.")
        conversation = body["input"].get("converse")
        if conversation is None:
            raise Refused("rule", "the stand-in counts what Converse would get, and nothing else")
        converse_rules.check(self.model, conversation, counting=True)
        return _turn(self, conversation)

    def whole(self, reply: Reply) -> bytes:
        return json_bytes({"inputTokens": self.turn.words})


class Converse(aws.Api):
    """Converse, and ConverseStream with its frames."""

    path = re.compile(r"/model/(?P<model>[^/]*)/(?P<operation>converse|converse-stream)")
    stream_type = "application/vnd.amazon.eventstream"
    body: dict[str, Any]

    def admit(self, body: Any) -> Turn:
        self.stream = self.found["operation"] == "converse-stream"
        _shape(self.model, "ConverseStream" if self.stream else "Converse", body)
        converse_rules.check(self.model, body, stream=self.stream)
        self.body = body
        return _turn(self, body)

    def whole(self, reply: Reply) -> bytes:
        content = []
        for block in reply.blocks:
            if isinstance(block, Text):
                content.append({"text": "".join(block.pieces)})
            elif isinstance(block, Reasoning):
                thought: dict[str, Any] = {"text": "".join(block.pieces)}
                if block.signed:
                    thought["signature"] = seal(thought["text"])
                content.append({"reasoningContent": {"reasoningText": thought}})
            elif isinstance(block, Redacted):
                content.append({"reasoningContent": {"redactedContent": base64.b64encode(block.data).decode()}})
            else:
                content.append({"toolUse": {"input": block.args, "name": block.name, "toolUseId": block.id}})
        answer: dict[str, Any] = {
            "metrics": {"latencyMs": 7},
            "output": {"message": {"content": content, "role": "assistant"}},
            "stopReason": self._stop(reply),
        }
        if not reply.usage_missing:
            answer["usage"] = self._usage(reply)
        extra = self._extra(reply)
        return json_bytes({"additionalModelResponseFields": extra} | answer if extra else answer)

    def frames(self, reply: Reply) -> list[bytes]:
        events: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
        parallel: list[tuple[int, Call]] = []
        for index, block in enumerate(reply.blocks):
            if isinstance(block, Call) and reply.interleaved:
                parallel.append((index, block))
                continue
            events += _interleave(parallel)
            parallel = []
            events += _block(index, block)
        events += _interleave(parallel)
        stop: dict[str, Any] = {"stopReason": self._stop(reply)}
        extra = self._extra(reply)
        events.append(("messageStop", {"additionalModelResponseFields": extra} | stop if extra else stop))
        if not reply.usage_missing:
            events.append(("metadata", {"metrics": {"latencyMs": 7}, "usage": self._usage(reply)}))
        return [
            eventstream.event(kind, json_bytes(_padded(payload, number)))
            for number, (kind, payload) in enumerate(events)
        ]

    def broken(self, fault: Fault, following: bytes) -> bytes:
        if fault.kind in ("exception", "sse_error"):
            name = aws_name(fault.type)
            return eventstream.exception(name[0].lower() + name[1:], json_bytes(aws_body(name, fault.message)))
        if fault.kind == "error":
            return eventstream.error(fault.type, fault.message or "The stream failed.")
        if fault.kind == "crc":
            return eventstream.spoil(following)
        if fault.kind == "junk":
            return b"HTTP/1.1 502 Bad Gateway\r\n\r\nthis is no frame"
        if fault.kind == "cut":
            return following[: len(following) // 2]
        return b""  # The others only end the connection.

    def _stop(self, reply: Reply) -> str:
        return STOPS.get(reply.stop, reply.stop)

    def _extra(self, reply: Reply) -> dict[str, Any]:
        """Claude tells which stop sequence it met when asked for `/stop_sequence`."""
        wanted = "/stop_sequence" in self.body.get("additionalModelResponseFieldPaths", [])
        sequences = self.body.get("inferenceConfig", {}).get("stopSequences", [])
        return {"stop_sequence": sequences[0]} if wanted and sequences and reply.stop == "stop_sequence" else {}

    def _usage(self, reply: Reply) -> dict[str, Any]:
        usage = count(reply, self.turn)
        return {
            "cacheReadInputTokenCount": usage.cache_read,
            "cacheReadInputTokens": usage.cache_read,
            "cacheWriteInputTokenCount": usage.cache_write,
            "cacheWriteInputTokens": usage.cache_write,
            "inputTokens": usage.input,
            "outputTokens": usage.output,
            "serverToolUsage": {},
            "totalTokens": usage.input + usage.output + usage.cache_read + usage.cache_write,
        }


def _shape(model: str, operation: str, body: Any) -> None:
    shape = service("bedrock-runtime").operation_model(operation).input_shape
    check_text(shape.members["modelId"], model, "modelId")
    check_body(shape, body)


def _words(body: dict[str, Any]) -> int:
    """Count the words of every text in a conversation."""
    texts = [block.get("text", "") for block in body.get("system", [])]
    for message in body.get("messages", []):
        for block in message["content"]:
            texts.append(block.get("text", ""))
            texts += [item.get("text", "") for item in block.get("toolResult", {}).get("content", [])]
            if "toolUse" in block:
                texts.append(json.dumps(block["toolUse"]["input"]))
    return sum(words(text) for text in texts)


def _turn(api: aws.Api, body: dict[str, Any]) -> Turn:
    messages = body["messages"]
    last = messages[-1]["content"] if messages else []
    names = {
        block["toolUse"]["toolUseId"]: block["toolUse"]["name"]
        for message in messages
        for block in message["content"]
        if "toolUse" in block
    }
    last_text = "\n".join(block["text"] for block in last if "text" in block)
    results = []
    for block in last:
        if "toolResult" in block:
            result = block["toolResult"]
            text = " ".join(
                item["text"] if "text" in item else json.dumps(item.get("json", sorted(item)))
                for item in result["content"]
            )
            results.append((names.get(result["toolUseId"], "?"), text))
    specs = [tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", []) if "toolSpec" in tool]
    choice = body.get("toolConfig", {}).get("toolChoice", {})
    forced = choice["tool"]["name"] if "tool" in choice else "*" if "any" in choice else None
    text_format = body.get("outputConfig", {}).get("textFormat")
    return Turn(
        cloud=api.cloud,
        place=api.place,
        model=api.model,
        stream=api.stream,
        messages=len(messages),
        last_text=last_text,
        tool_results=results,
        images=sum("image" in block for message in messages for block in message["content"]),
        words=_words(body),
        tools=[Tool(spec["name"], spec["inputSchema"]["json"]) for spec in specs],
        forced_tool=forced,
        schema=json.loads(text_format["structure"]["jsonSchema"]["schema"]) if text_format else None,
        marked_text=last_text or " ".join(text for _, text in results),
    )


def _padded(payload: dict[str, Any], number: int) -> dict[str, Any]:
    padded = payload | {"p": PADDING[: (number * 17 + 5) % len(PADDING)]}
    return dict(sorted(padded.items()))


def _delta(index: int, delta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}


def _block(index: int, block: Any) -> list[tuple[str, dict[str, Any]]]:
    """A block's events; only tool calls have a start in real life."""
    if isinstance(block, Call):
        return _interleave([(index, block)])
    if isinstance(block, Text):
        events = [_delta(index, {"text": piece}) for piece in block.pieces]
    elif isinstance(block, Reasoning):
        events = [_delta(index, {"reasoningContent": {"text": piece}}) for piece in block.pieces]
        if block.signed:
            events.append(_delta(index, {"reasoningContent": {"signature": seal("".join(block.pieces))}}))
    else:
        data = base64.b64encode(block.data).decode()
        events = [_delta(index, {"reasoningContent": {"redactedContent": data}})]
    return events + [("contentBlockStop", {"contentBlockIndex": index})]


def _interleave(calls: list[tuple[int, Call]]) -> list[tuple[str, dict[str, Any]]]:
    """Start all calls, deal their argument pieces in turn, stop all. Claude's first piece is always empty."""
    events: list[tuple[str, dict[str, Any]]] = []
    queues = []
    for index, call in calls:
        start = {"toolUse": {"name": call.name, "toolUseId": call.id}}
        events.append(("contentBlockStart", {"contentBlockIndex": index, "start": start}))
        queues.append((index, [""] + (call.pieces or [])))
    for step in range(max((len(pieces) for _, pieces in queues), default=0)):
        for index, pieces in queues:
            if step < len(pieces):
                events.append(_delta(index, {"toolUse": {"input": pieces[step]}}))
    return events + [("contentBlockStop", {"contentBlockIndex": index}) for index, _ in queues]
