"""Anthropic's Messages API in its four editions: what each wants around the body, and one dialect of answers."""

from __future__ import annotations

import base64
import json
import re
import uuid
from typing import Any

from . import aws, eventstream, frame, google, messages_rules, messages_shapes
from .delivery import Whole
from .errors import ANTHROPIC, anthropic_body, anthropic_name, aws_body, aws_name
from .http import Request, json_bytes
from .replies import Call, Error, Fault, Reasoning, Redacted, Reply, Text, Tool, Turn, count, seal, words
from .strict import Refused

#: Common and other clouds' stop words -> Anthropic's; anything else goes out as it is.
STOPS = {
    "end": "end_turn",
    "tool": "tool_use",
    "STOP": "end_turn",
    "MAX_TOKENS": "max_tokens",
    "SAFETY": "refusal",
    "content_filtered": "refusal",
    "guardrail_intervened": "refusal",
}

#: Members of a body that every edition takes.
EVERYWHERE = frozenset(
    {"max_tokens", "messages", "system", "stop_sequences", "temperature", "top_p", "top_k", "tools", "tool_choice",
     "thinking", "metadata", "output_config"}
)  # fmt: skip

VERSION = "2023-06-01"


#: Headers of InvokeModel, and what botocore's model lets them be.
HEADERS = {
    "x-amzn-bedrock-guardrailidentifier": r"[a-z0-9]+|arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+",
    "x-amzn-bedrock-guardrailversion": r"[1-9][0-9]{0,7}|DRAFT",
    "x-amzn-bedrock-trace": r"ENABLED|DISABLED|ENABLED_FULL",
    "x-amzn-bedrock-performanceconfig-latency": r"standard|optimized",
    "x-amzn-bedrock-service-tier": r"priority|default|flex|reserved",
    "x-amzn-bedrock-request-metadata": r"\{.{2,}\}",
}


def check_headers(headers: dict[str, str]) -> None:
    """Refuse a header of InvokeModel that says something else, or half of what it takes."""
    for name, pattern in HEADERS.items():
        if name in headers and not re.fullmatch(pattern, headers[name]):
            raise Refused("headers", f"{name}: {headers[name]!r} does not match {pattern}")
    if len({"x-amzn-bedrock-guardrailidentifier", "x-amzn-bedrock-guardrailversion"} & headers.keys()) == 1:
        raise Refused("headers", "a guardrail has an identifier and a version")
    metadata = json.loads(headers.get("x-amzn-bedrock-request-metadata", "{}"))
    if not all(isinstance(value, str) for value in metadata.values()):
        raise Refused("headers", "x-amzn-bedrock-request-metadata: must be an object of strings")


class Messages(frame.Api):
    """What all editions do alike. A subclass names its path and the members that only it takes."""

    top = EVERYWHERE
    required: tuple[str, ...] = ("max_tokens", "messages")
    body: dict[str, Any]

    def __init__(self, cloud: str, request: Request, found: re.Match[str]) -> None:
        super().__init__(cloud, request, found)
        self._id = f"msg_{uuid.uuid4().hex[:24]}"

    def headers(self) -> dict[str, str]:
        """The request's headers by lower-case name."""
        return {name.lower(): value for name, value in self.request.headers}

    def betas(self, body: dict[str, Any]) -> list[str]:
        """Experimental features that the request asks for, where the edition wants them."""
        value = self.headers().get("anthropic-beta", "")
        return [beta.strip() for beta in value.split(",") if beta.strip()]

    def told(self, body: dict[str, Any]) -> None:
        """Check what the edition wants in or beside the body: version, model, whether to stream."""
        raise NotImplementedError

    def admit(self, body: Any) -> Turn:
        more = {"context_management"} if isinstance(body, dict) and any(
            beta.startswith(("context-management-", "compact-")) for beta in self.betas(body)
        ) else set()  # fmt: skip
        messages_shapes.check_body(body, self.top | more, self.required)
        self.told(body)
        messages_rules.check(body, self.model)
        self.body = body
        return _turn(self, body)

    def whole(self, reply: Reply) -> bytes:
        content = [_block(block) for block in reply.blocks]
        return json_bytes(self._message(reply, content, self._stop(reply), self._usage(reply)))

    def frames(self, reply: Reply) -> list[bytes]:
        usage = self._usage(reply)
        start = self._message(reply, [], None, usage | {"output_tokens": 1})
        events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
        parallel: list[tuple[int, Call]] = []
        for index, block in enumerate(reply.blocks):
            if isinstance(block, Call) and reply.interleaved:
                parallel.append((index, block))
                continue
            events += _calls(parallel)
            parallel = []
            events += _calls([(index, block)]) if isinstance(block, Call) else _words(index, block)
        events += _calls(parallel)
        delta: dict[str, Any] = {
            "type": "message_delta", "delta": {"stop_reason": self._stop(reply), "stop_sequence": self._sequence(reply)}
        }  # fmt: skip
        delta["usage"] = {} if reply.usage_missing else usage
        events += [delta, {"type": "message_stop"}]
        return [self.framed(event) for event in events]

    def framed(self, event: dict[str, Any]) -> bytes:
        """An event as this edition frames it."""
        return f"event: {event['type']}\ndata: ".encode() + json_bytes(event) + b"\n\n"

    def broken(self, fault: Fault, following: bytes) -> bytes:
        if fault.kind in ("sse_error", "exception", "error"):
            return self.framed(anthropic_body(anthropic_name(fault.type), fault.message))
        if fault.kind in ("junk", "crc"):
            return b"event: content_block_delta\ndata: {this is not JSON\n\n"
        if fault.kind == "cut":
            return following[: len(following) // 2]
        return b""  # The others only end the connection.

    def _message(self, reply: Reply, content: list[Any], stop: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {
            "model": self.model, "id": self._id, "type": "message", "role": "assistant", "content": content,
            "stop_reason": stop, "stop_sequence": None if stop is None else self._sequence(reply),
        }  # fmt: skip
        return message | ({"usage": {}} if reply.usage_missing else {"usage": usage})

    def _stop(self, reply: Reply) -> str:
        return STOPS.get(reply.stop, reply.stop)

    def _sequence(self, reply: Reply) -> str | None:
        sequences = self.body.get("stop_sequences", [])
        return sequences[0] if sequences and reply.stop == "stop_sequence" else None

    def _usage(self, reply: Reply) -> dict[str, Any]:
        usage = count(reply, self.turn)
        told: dict[str, Any] = {
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cache_read,
            "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0},
            "output_tokens": usage.output,
            "service_tier": "standard",
        }
        return told | ({"output_tokens_details": {"thinking_tokens": usage.reasoning}} if usage.reasoning else {})


class Own(Messages):
    """Anthropic's own: everything is in the body, key and version are headers."""

    path = re.compile(r"/v1/messages")
    more_headers = ("x-api-key", "anthropic-version", "anthropic-beta", "anthropic-user-profile-id")
    top = EVERYWHERE | {
        "model", "stream", "cache_control", "container", "inference_geo", "mcp_servers", "service_tier", "speed",
        "diagnostics", "user_profile_id", "output_format",
    }  # fmt: skip

    def told(self, body: dict[str, Any]) -> None:
        if self.headers().get("anthropic-version") != VERSION:
            raise Refused("headers", "anthropic-version: header is required")
        self.model, self.stream = body.get("model", ""), body.get("stream", False)
        if not re.fullmatch(r"claude-[a-z0-9-]+", self.model):
            raise Refused("rule", f"model: {self.model}", "not_found_error")

    def head(self) -> dict[str, str]:
        return {"request-id": f"req_{uuid.uuid4().hex[:24]}", "anthropic-organization-id": str(uuid.uuid4())}

    def error(self, error: Error) -> Whole:
        return answer(error, self.head())


class Mantle(aws.Api, Messages):
    """Bedrock's own edition of the API, at a host of its own."""

    path = re.compile(r"/anthropic/v1/messages")
    host = re.compile(r"bedrock-mantle\.(?P<region>[a-z0-9-]+)\.api\.aws")
    service = "bedrock-mantle"
    more_headers = ("anthropic-version", "anthropic-beta")
    top = EVERYWHERE | {"model", "stream", "user_profile_id"}

    def told(self, body: dict[str, Any]) -> None:
        if self.headers().get("anthropic-version") != VERSION:
            raise Refused("headers", "anthropic-version: header is required")
        self.model, self.stream = body.get("model", ""), body.get("stream", False)
        if not re.fullmatch(r"anthropic\.claude-[a-z0-9-]+", self.model):
            raise Refused("rule", f"model: {self.model}", "ResourceNotFoundException")

    def error(self, error: Error) -> Whole:
        """Errors of the model are Anthropic's; those of AWS's front end are AWS's."""
        return answer(error, self.head())


class Invoke(aws.Api, Messages):
    """InvokeModel and InvokeModelWithResponseStream with Claude."""

    path = re.compile(r"/model/(?P<model>[^/]*anthropic\.claude[^/]*)/(?P<operation>invoke|invoke-with-response-stream)")
    stream_type = "application/vnd.amazon.eventstream"
    more_headers = tuple(HEADERS)
    top = EVERYWHERE | {"anthropic_version", "anthropic_beta"}

    def betas(self, body: dict[str, Any]) -> list[str]:
        return body.get("anthropic_beta", [])

    def told(self, body: dict[str, Any]) -> None:
        self.stream = self.found["operation"] == "invoke-with-response-stream"
        if body.get("anthropic_version") != "bedrock-2023-05-31":
            raise Refused("rule", f"Invalid API version: {body.get('anthropic_version')}")
        check_headers(self.headers())
        if any(not re.fullmatch(r"[a-z0-9-]+-20\d\d-\d\d-\d\d|[a-z-]+-20\d{6}", beta) for beta in self.betas(body)):
            raise Refused("rule", "invalid beta flag")

    def _message(self, reply: Reply, content: list[Any], stop: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        message = super()._message(reply, content, stop, usage)
        return message | (self._action(reply) if stop is not None else {})

    def _stop(self, reply: Reply) -> str:
        # A guardrail puts its own words in the place of the model's, and the reason stays what it was.
        return "end_turn" if reply.stop == "guardrail_intervened" else super()._stop(reply)

    def _action(self, reply: Reply) -> dict[str, str]:
        if "x-amzn-bedrock-guardrailidentifier" not in self.headers() and reply.stop != "guardrail_intervened":
            return {}
        return {"amazon-bedrock-guardrailAction": "INTERVENED" if reply.stop == "guardrail_intervened" else "NONE"}

    def frames(self, reply: Reply) -> list[bytes]:
        self._reply = reply
        return super().frames(reply)

    def framed(self, event: dict[str, Any]) -> bytes:
        if event["type"] == "message_stop":
            event = event | self._action(self._reply)
            metrics = {"inputTokenCount": 1, "outputTokenCount": 2, "invocationLatency": 7, "firstByteLatency": 3}
            event = event | {"amazon-bedrock-invocationMetrics": metrics}
        chunk = {"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abcdefghijkl"}
        return eventstream.event("chunk", json_bytes(chunk))

    def broken(self, fault: Fault, following: bytes) -> bytes:
        if fault.kind == "exception":
            name = aws_name(fault.type)
            return eventstream.exception(name[0].lower() + name[1:], json_bytes(aws_body(name, fault.message)))
        if fault.kind == "error":
            return eventstream.error(fault.type, fault.message or "The stream failed.")
        if fault.kind == "crc":
            return eventstream.spoil(following)
        if fault.kind == "junk":
            return b"HTTP/1.1 502 Bad Gateway\r\n\r\nthis is no frame"
        return Messages.broken(self, fault, following)


class RawPredict(google.Api, Messages):
    """Claude on Vertex AI."""

    path = google.path("publishers/anthropic/models/{model}:(?P<verb>rawPredict|streamRawPredict)")
    more_headers = ("anthropic-beta",)
    top = EVERYWHERE | {"anthropic_version", "stream"}

    def told(self, body: dict[str, Any]) -> None:
        self.stream = self.found["verb"] == "streamRawPredict"
        if not self.model.startswith("claude-"):
            raise Refused("rule", "the publisher has no such model", "NOT_FOUND")
        if body.get("anthropic_version") != "vertex-2023-10-16":
            raise Refused("rule", f"anthropic_version: {body.get('anthropic_version')} is not supported")
        if body.get("stream", False) != self.stream:
            raise Refused("rule", "stream: the path and the body say different things")

    def error(self, error: Error) -> Whole:
        """What the model refuses is told in Anthropic's words, the rest in Google's."""
        if error.type in ("invalid", "invalid_request_error"):
            return answer(error, self.head())
        return google.told(error, self.head())


class Count(Messages):
    """Counts the words of a conversation: `MessageCountTokensParams` of the `anthropic` package."""

    required = ("messages",)

    def whole(self, reply: Reply) -> bytes:
        return json_bytes({"input_tokens": self.turn.words})


#: What a count takes.
COUNTED = frozenset({"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"})


class CountOwn(Count, Own):
    path = re.compile(r"/v1/messages/count_tokens")
    top = COUNTED | {"mcp_servers", "context_management", "cache_control"}


class CountMantle(Count, Mantle):
    path = re.compile(r"/anthropic/v1/messages/count_tokens")
    #: `USER_PROFILE_ID_BODY_PATHS` of the `anthropic` package's client for mantle.
    top = COUNTED | {"user_profile_id"}


class CountRawPredict(Count, RawPredict):
    """`_prepare_options` of the `anthropic` package's client for Vertex AI: the body names the model."""

    path = google.path("publishers/anthropic/models/count-tokens:rawPredict")
    top = COUNTED | {"anthropic_version"}

    def told(self, body: dict[str, Any]) -> None:
        self.model = body.get("model", "")
        if not self.model.startswith("claude-"):
            raise Refused("rule", "the publisher has no such model", "NOT_FOUND")
        if body.get("anthropic_version") != "vertex-2023-10-16":
            raise Refused("rule", f"anthropic_version: {body.get('anthropic_version')} is not supported")


def answer(error: Error, head: dict[str, str]) -> Whole:
    """An error in Anthropic's words."""
    name = anthropic_name(error.type)
    headers = head | {"Content-Type": "application/json"}
    if error.retry_after:
        headers["Retry-After"] = error.retry_after
    return ANTHROPIC[name], headers, json_bytes(anthropic_body(name, error.message))


def _block(block: Any) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": "".join(block.pieces)}
    if isinstance(block, Reasoning):
        thought = "".join(block.pieces)
        return {"type": "thinking", "thinking": thought, "signature": seal(thought) if block.signed else ""}
    if isinstance(block, Redacted):
        return {"type": "redacted_thinking", "data": base64.b64encode(block.data).decode()}
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": block.args}


def _words(index: int, block: Any) -> list[dict[str, Any]]:
    """The events of a block that is no call."""
    whole = _block(block)
    deltas: list[dict[str, Any]] = []
    empty = whole
    if isinstance(block, Text):
        deltas = [{"type": "text_delta", "text": piece} for piece in block.pieces]
        empty = whole | {"text": ""}
    elif isinstance(block, Reasoning):
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in block.pieces]
        if block.signed:
            deltas.append({"type": "signature_delta", "signature": whole["signature"]})
        empty = whole | {"thinking": "", "signature": ""}
    return [
        {"type": "content_block_start", "index": index, "content_block": empty},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _calls(calls: list[tuple[int, Call]]) -> list[dict[str, Any]]:
    """Start all calls, deal their argument pieces in turn, stop all. The first piece is always empty."""
    events: list[dict[str, Any]] = []
    queues = []
    for index, call in calls:
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        queues.append((index, [""] + (call.pieces or [])))
    for step in range(max((len(pieces) for _, pieces in queues), default=0)):
        for index, pieces in queues:
            if step < len(pieces):
                delta = {"type": "input_json_delta", "partial_json": pieces[step]}
                events.append({"type": "content_block_delta", "index": index, "delta": delta})
    return events + [{"type": "content_block_stop", "index": index} for index, _ in queues]


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _turn(api: Messages, body: dict[str, Any]) -> Turn:
    messages = [_blocks(message["content"]) for message in body["messages"]]
    last = messages[-1]
    names = {block["id"]: block["name"] for blocks in messages for block in blocks if block["type"] == "tool_use"}
    last_text = "\n".join(block["text"] for block in last if block["type"] == "text")
    results = [
        (names.get(block["tool_use_id"], "?"), " ".join(part.get("text", "") for part in _blocks(block.get("content"))))
        for block in last
        if block["type"] == "tool_result"
    ]
    texts = [block.get("text", "") for block in _blocks(body.get("system"))]
    for blocks in messages:
        for block in blocks:
            texts.append(block.get("text", ""))
            texts += [part.get("text", "") for part in _blocks(block.get("content"))] if block["type"] == "tool_result" else []
            texts.append(json.dumps(block["input"]) if block["type"] == "tool_use" else "")
    choice = body.get("tool_choice", {"type": "auto"})
    schema = body.get("output_config", {}).get("format")
    return Turn(
        cloud=api.cloud,
        place=api.place,
        model=api.model,
        stream=api.stream,
        messages=len(messages),
        last_text=last_text,
        tool_results=results,
        images=sum(block["type"] == "image" for blocks in messages for block in blocks),
        words=sum(words(text) for text in texts),
        tools=[Tool(tool["name"], tool["input_schema"]) for tool in body.get("tools", []) if {"name", "input_schema"} <= tool.keys()],
        forced_tool={"tool": choice.get("name"), "any": "*"}.get(choice["type"]),
        schema=schema["schema"] if schema else None,
        marked_text=last_text or " ".join(text for _, text in results),
    )
