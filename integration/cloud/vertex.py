"""The stand-in for Gemini on Vertex AI: routes, token, shape of the body, and the answer's dialect."""

from __future__ import annotations

import base64
import json
import re
import uuid
from typing import Any

from . import gemini_rules, gemini_shapes
from .delivery import deliver
from .errors import GOOGLE, google_body, google_name
from .http import Closed, Exchange, Gone, Request, json_bytes
from .replies import Call, Error, Fault, Reasoning, Redacted, Reply, Text, Tool, Turn, Usage, count, seal, words
from .scripts import BadScript
from .state import State
from .strict import Refused, check_headers, parse_json

PATH = re.compile(
    r"/v1/projects/([a-z][a-z0-9-]{4,28}[a-z0-9])/locations/([a-z0-9-]+)/publishers/google/models/"
    r"([a-zA-Z0-9][a-zA-Z0-9._@-]*):(generateContent|streamGenerateContent|countTokens)"
)
#: Regional, global and multi-region endpoints.
HOST = re.compile(r"(?:([a-z0-9-]+)-)?aiplatform\.googleapis\.com|aiplatform\.([a-z]+)\.rep\.googleapis\.com")
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")

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


class Vertex:
    """Handler of the Vertex port."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, request: Request, exchange: Exchange) -> None:
        entry = self._state.arrived("vertex", request)
        dialect = Gemini()
        outcome = "crashed"
        try:
            try:
                model, verb, body, place = self._admit(request)
                if verb == "countTokens":
                    told = json_bytes({"totalTokens": _words(body), "totalBillableCharacters": len(str(body))})
                    await exchange.whole(200, dialect.head() | {"Content-Type": JSON}, told)
                    outcome = "sent"
                    return
                dialect.stream = verb == "streamGenerateContent"
                dialect.turn = _turn(model, body, dialect.stream, place)
                entry["script"], answer = self._state.stage.answer(dialect.turn)
                await deliver(dialect, answer, exchange)
                outcome = "sent"
            except BadScript as bad:
                raise Refused("script", str(bad)) from None
        except Refused as refused:
            outcome = "refused"
            self._state.refused("vertex", refused, entry)
            await exchange.whole(*dialect.error(Error(refused.error or "INVALID_ARGUMENT", refused.detail)))
        except Gone:
            outcome = "client_gone"
            raise
        except Closed:
            outcome = "dropped"
            raise
        finally:
            self._state.finished(entry, outcome, exchange.status)

    def _admit(self, request: Request) -> tuple[str, str, dict[str, Any], str]:
        """Check everything about a request; return model, verb, body and the place it was sent to."""
        headers = check_headers(request.headers, (), self._state.settings.allow_headers)
        path = PATH.fullmatch(request.path)
        if path is None:
            raise Refused("path", f"nothing at {request.path}", "NOT_FOUND")
        project, location, model, verb = path.groups()
        if request.method != "POST":
            raise Refused("path", f"{request.method} is not POST", "NOT_FOUND")
        wanted = "?alt=sse" if verb == "streamGenerateContent" else ""
        if request.target != request.path + wanted:
            raise Refused("path", f"{verb} wants the query {wanted!r}, not {request.query!r}")
        _host(headers["host"], location)
        self._token(headers.get("authorization"))
        body = parse_json(request.body)
        if verb == "countTokens":
            gemini_shapes.check_body(body, gemini_shapes.COUNT_BODY)
        else:
            gemini_shapes.check_body(body)
        gemini_rules.check(model, body)
        return model, verb, body, f"Google Vertex AI ({project}, {location})"

    def _token(self, authorization: str | None) -> None:
        sent = authorization.removeprefix("Bearer ") if authorization else None
        if sent is None or sent == authorization or not any(
            token.value == sent and token.valid for token in self._state.tokens
        ):
            raise Refused(
                "token",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
                "valid authentication credential.",
                "UNAUTHENTICATED",
            )


JSON = "application/json; charset=UTF-8"


def _host(host: str, location: str) -> None:
    if LOOPBACK.fullmatch(host):
        return
    found = HOST.fullmatch(host)
    if found is None:
        raise Refused("headers", f"host {host!r} is not a Vertex endpoint")
    served = found.group(1) or found.group(2) or "global"
    if served != location:
        raise Refused("headers", f"host {host!r} serves {served!r}, the path asks for {location!r}")


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


def _turn(model: str, body: dict[str, Any], stream: bool, place: str) -> Turn:
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
        cloud="vertex",
        place=place,
        model=model,
        stream=stream,
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


class Gemini:
    """Writes answers in Gemini's dialect."""

    stream_type = "text/event-stream"

    def __init__(self) -> None:
        self.stream = False
        self.turn: Turn | None = None
        self._usage = Usage(0, 0)
        self._id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")

    def head(self) -> dict[str, str]:
        return {"Vary": "Origin", "X-Content-Type-Options": "nosniff"}

    def error(self, error: Error) -> tuple[int, dict[str, str], bytes]:
        name = google_name(error.type)
        body: Any = google_body(name, error.message)
        headers = self.head() | {"Content-Type": JSON}
        if error.retry_after:
            headers["Retry-After"] = error.retry_after
        return GOOGLE[name], headers, json.dumps([body] if error.array else body, indent=2).encode()

    def whole(self, reply: Reply) -> bytes:
        self._usage = count(reply, self.turn)
        parts = [part for chunk in self._chunks(reply) for part in chunk]
        return json_bytes(self._answer(reply, _joined(parts), last=True))

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
        told: dict[str, Any] = {"trafficType": "ON_DEMAND"}
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
