"""The Gemini APIs of the Vertex stand-in: shape of the body, what a script sees of it, and the answer's dialect."""

from __future__ import annotations

import base64
import json
import re
import uuid
from typing import Any, Iterable

from . import gemini_rules, gemini_shapes, google
from .errors import google_body, google_name
from .http import Request, json_bytes
from .replies import Call, Fault, Reasoning, Redacted, Reply, Text, Tool, Turn, Usage, count, seal, words
from .strict import Refused

#: Common and Converse stop words -> Gemini's; anything else goes out as it is.
STOPS = {
    "end": "STOP",
    "tool": "STOP",
    "end_turn": "STOP",
    "tool_use": "STOP",
    "stop_sequence": "STOP",
    "max_tokens": "MAX_TOKENS",
    "model_context_window_exceeded": "MAX_TOKENS",
    "content_filtered": "SAFETY",
    "guardrail_intervened": "SAFETY",
    "malformed_tool_use": "MALFORMED_FUNCTION_CALL",
}


#: How soon a request is to be served: docs.cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo, …/flex-paygo.
TIERS = {
    "x-vertex-ai-llm-shared-request-type": {"priority": "ON_DEMAND_PRIORITY", "flex": "ON_DEMAND_FLEX", "standard": "ON_DEMAND"},
    "x-vertex-ai-llm-request-type": {"dedicated": "PROVISIONED_THROUGHPUT", "shared": "ON_DEMAND"},
}


class CountTokens(google.Api):
    """Counts the words of a conversation."""

    path = google.path("publishers/google/models/{model}:countTokens")

    def admit(self, body: Any) -> Turn:
        gemini_shapes.check_body(body, gemini_shapes.COUNT_BODY)
        gemini_rules.check(self.model, body)
        self._characters = len(str(body))
        return _turn(self, body)

    def whole(self, reply: Reply) -> bytes:
        return json_bytes({"totalTokens": self.turn.words, "totalBillableCharacters": self._characters})


class Gemini(google.Api):
    """generateContent, and streamGenerateContent with its events."""

    path = google.path("publishers/google/models/{model}:(?P<verb>generateContent|streamGenerateContent)")
    more_headers = tuple(TIERS)

    def __init__(self, cloud: str, request: Request, found: Any) -> None:
        super().__init__(cloud, request, found)
        self.stream = found["verb"] == "streamGenerateContent"
        self.query = "alt=sse" if self.stream else ""
        self._usage = Usage(0, 0)
        self._id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")

    def admit(self, body: Any) -> Turn:
        gemini_shapes.check_body(body)
        gemini_rules.check(self.model, body)
        self._config = body.get("generationConfig", {})
        self._traffic = "ON_DEMAND"
        for name, value in self.request.headers:
            if name.lower() in TIERS:
                if value not in TIERS[name.lower()]:
                    raise Refused("headers", f"{name}: no such type {value!r}")
                self._traffic = TIERS[name.lower()][value]
        self._searches = any("googleSearch" in tool for tool in body.get("tools", []))
        if self.stream and (self._config.get("candidateCount", 1) > 1 or "responseLogprobs" in self._config):
            raise Refused("rule", "candidateCount and logprobs are not supported by streamGenerateContent")
        return _turn(self, body)

    def whole(self, reply: Reply) -> bytes:
        self._usage = count(reply, self.turn)
        parts = [part for chunk in self._chunks(reply) for part in chunk]
        answer = self._answer(reply, _joined(parts), last=True)
        if "candidates" in answer:
            (candidate,) = answer["candidates"]
            if self._config.get("responseLogprobs"):
                candidate["logprobsResult"] = _logprobs(_text(parts), self._config.get("logprobs", 0))
            # The first has no index: proto3 leaves a zero out.
            others = range(1, self._config.get("candidateCount", 1))
            answer["candidates"] += [candidate | {"index": index} for index in others]
        return json_bytes(answer)

    def frames(self, reply: Reply) -> list[bytes]:
        self._usage = count(reply, self.turn)
        chunks = self._chunks(reply)
        # Real streams end text with an empty part, and calls with the chunk that holds the last one.
        if not reply.blocked_prompt and not reply.no_candidates and not (chunks and "functionCall" in chunks[-1][-1]):
            chunks.append([{"text": ""}])
        if not chunks:
            chunks = [[]]
        return [
            b"data: " + json_bytes(self._answer(reply, chunk, number == len(chunks) - 1)) + (reply.eol * 2).encode()
            for number, chunk in enumerate(chunks)
        ]

    def broken(self, fault: Fault, following: bytes) -> bytes:
        if fault.kind in ("sse_error", "exception", "error"):
            return b"data: " + json_bytes(google_body(google_name(fault.type), fault.message)) + b"\r\n\r\n"
        if fault.kind in ("junk", "crc"):
            return b"data: {this is not JSON\r\n\r\n"
        if fault.kind == "cut":
            return following[: len(following) // 2]
        return b""  # The others only end the connection.

    def _chunks(self, reply: Reply) -> list[list[dict[str, Any]]]:
        """The parts of each chunk of a stream. Parallel calls share a chunk unless they are interleaved."""
        chunks: list[list[dict[str, Any]]] = []
        calls_open = False
        sign_call = gemini_rules.is_third_generation(self.turn.model)
        thought: str | None = None
        for block in reply.blocks:
            if isinstance(block, Call):
                call: dict[str, Any] = {"name": block.name, "args": block.args}
                part: dict[str, Any] = {"functionCall": call}
                if not calls_open and (sign_call or thought is not None):
                    part["thoughtSignature"] = gemini_rules.call_seal(call)
                if calls_open and not reply.interleaved:
                    chunks[-1].append(part)
                else:
                    chunks.append([part])
                calls_open = True
                continue
            calls_open = False
            if isinstance(block, Text):
                chunks += [[{"text": piece}] for piece in block.pieces if piece]
                if thought is not None:  # The signature comes last, on a part of its own.
                    chunks.append([{"text": "", "thoughtSignature": seal("thought " + thought)}])
                    thought = None
            elif isinstance(block, Reasoning):
                chunks += [[{"text": piece, "thought": True}] for piece in block.pieces if piece]
                thought = "".join(block.pieces) if block.signed else None
            else:
                assert isinstance(block, Redacted)  # Gemini never shows such thoughts.
        return chunks

    def _answer(self, reply: Reply, parts: list[dict[str, Any]], last: bool) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        if reply.blocked_prompt:
            answer["promptFeedback"] = {
                "blockReason": reply.stop,
                "blockReasonMessage": "The prompt was blocked.",
                "safetyRatings": [RATING | {"blocked": True}],
            }
        elif not reply.no_candidates:
            content: dict[str, Any] = {"role": "model"}
            if parts:
                content["parts"] = parts
            candidate: dict[str, Any] = {"content": content}
            if last:
                candidate["finishReason"] = STOPS.get(reply.stop, reply.stop)
                if candidate["finishReason"] in ("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII"):
                    candidate["safetyRatings"] = [RATING | {"blocked": True}]
                if self._searches:
                    said = _text(part for chunk in self._chunks(reply) for part in chunk)
                    candidate["groundingMetadata"] = _grounding(said)
            answer["candidates"] = [candidate]
        if not reply.usage_missing:
            answer["usageMetadata"] = self._told_usage(last)
        return answer | {
            "modelVersion": self.turn.model,
            "createTime": "2026-11-21T04:19:00.000000Z",
            "responseId": self._id,
        }

    def _told_usage(self, last: bool) -> dict[str, Any]:
        usage = self._usage
        prompt = usage.input + usage.cache_read + usage.cache_write
        told: dict[str, Any] = {"trafficType": self._traffic}
        if not last:  # Earlier chunks tell nothing but the traffic type, or the prompt.
            return told | {"promptTokenCount": prompt, "totalTokenCount": prompt}
        told |= {
            "promptTokenCount": prompt,
            "candidatesTokenCount": usage.output - usage.reasoning,
            "totalTokenCount": prompt + usage.output,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": usage.output - usage.reasoning}],
        }
        if usage.cache_read:
            told["cachedContentTokenCount"] = usage.cache_read
        if usage.reasoning:
            told["thoughtsTokenCount"] = usage.reasoning
        return told


def _text(parts: Iterable[dict[str, Any]]) -> str:
    """What is said aloud."""
    return "".join(part.get("text", "") for part in parts if not part.get("thought"))


def _grounding(text: str) -> dict[str, Any]:
    """The whole text rests on one page. Places are told in bytes, and one of zero is left out."""
    return {
        "webSearchQueries": ["stand-in"],
        "searchEntryPoint": {"renderedContent": "<div>stand-in</div>"},
        "groundingChunks": [{"web": {"uri": "https://example.com/page", "title": "example.com"}}],
        "groundingSupports": [
            {"segment": {"endIndex": len(text.encode()), "text": text}, "groundingChunkIndices": [0]}
        ],
    }


def _logprobs(text: str, others: int) -> dict[str, Any]:
    """A word is a token; the likeliest were certain, and proto3 leaves a zero out."""
    tokens = re.findall(r"\s*\S+|\s+", text)
    chosen = [{"token": token, "tokenId": number} for number, token in enumerate(tokens)]
    result: dict[str, Any] = {"chosenCandidates": chosen}
    if others:
        rest = [{"token": f"other {one}", "tokenId": 0, "logProbability": -1.5 - one} for one in range(others - 1)]
        result["topCandidates"] = [{"candidates": [token, *rest]} for token in chosen]
    return result


RATING = {
    "category": "HARM_CATEGORY_DANGEROUS_CONTENT",
    "probability": "HIGH",
    "probabilityScore": 0.9,
    "severity": "HARM_SEVERITY_HIGH",
    "severityScore": 0.9,
}


def _joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring text of one kind; a signature closes its text."""
    joined: list[dict[str, Any]] = []
    texts: list[str] = []
    for part in parts:
        before = joined[-1] if joined else {}
        alike = "text" in part and "text" in before and "thoughtSignature" not in before
        if alike and part.get("thought") == before.get("thought"):
            texts.append(part["text"])
            joined[-1] = before | {name: value for name, value in part.items() if name != "text"}
        else:
            if texts:
                before["text"] = "".join(texts)
            joined.append(dict(part))
            texts = [part["text"]] if "text" in part else []
    if texts:
        joined[-1]["text"] = "".join(texts)
    return joined


def _parts(body: dict[str, Any]) -> list[dict[str, Any]]:
    contents = body["contents"] + ([body["systemInstruction"]] if "systemInstruction" in body else [])
    return [part for content in contents for part in content["parts"]]


def _words(body: dict[str, Any]) -> int:
    total = 0
    for part in _parts(body):
        total += words(part.get("text", ""))
        if "functionCall" in part:
            total += words(json.dumps(part["functionCall"].get("args", {})))
        if "functionResponse" in part:
            total += words(json.dumps(part["functionResponse"]["response"]))
    return total


def _turn(api: google.Api, body: dict[str, Any]) -> Turn:
    last = body["contents"][-1]["parts"]
    last_text = "\n".join(part["text"] for part in last if "text" in part)
    results = [
        (part["functionResponse"]["name"], json.dumps(part["functionResponse"]["response"], ensure_ascii=False))
        for part in last
        if "functionResponse" in part
    ]
    declared = [one for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    forced = calling.get("allowedFunctionNames", ["*"])[0] if calling.get("mode") == "ANY" else None
    config = body.get("generationConfig", {})
    schema = config.get("responseSchema") or config.get("responseJsonSchema")
    if schema is None and config.get("responseMimeType") == "application/json":
        schema = {"type": "object", "properties": {"ok": {"const": True}}}
    tools = [
        Tool(one["name"], one.get("parameters") or one.get("parametersJsonSchema") or {"type": "OBJECT"})
        for one in declared
    ]
    return Turn(
        cloud=api.cloud,
        place=api.place,
        model=api.model,
        stream=api.stream,
        messages=len(body["contents"]),
        last_text=last_text,
        tool_results=results,
        images=sum(part.get("inlineData", {}).get("mimeType", "").startswith("image/") for part in _parts(body)),
        words=_words(body),
        tools=tools,
        forced_tool=forced,
        schema=schema,
        marked_text=last_text or " ".join(_unquoted(part) for part in last if "functionResponse" in part),
    )


def _unquoted(part: dict[str, Any]) -> str:
    """The text in a function response, without JSON's quoting, which would break a marker."""
    return " ".join(str(value) for value in part["functionResponse"]["response"].values())
