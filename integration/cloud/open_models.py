"""Open models on the Vertex stand-in: the endpoint that speaks chat completions, and Mistral's models by rawPredict."""

from __future__ import annotations

import json
from typing import Any

from . import google
from .completions import Completions
from .completions_rules import check_mistral, check_open_model
from .delivery import Whole
from .errors import GOOGLE, google_body, google_name
from .http import Request, json_bytes
from .replies import Block, Call, Error, Fault, Reasoning, Text
from .strict import Refused


class OpenModels(Completions, google.Api):
    """The model is in the body. Llama's calls come whole and with the function's name for an id, as in Google's
    documentation; DeepSeek R1 thinks within its answer."""

    path = google.path("endpoints/openapi/chat/completions")

    def check(self, body: Any) -> None:
        check_open_model(body)

    def call_id(self, call: Call, index: int) -> str:
        if self.turn.model.startswith("meta/"):
            return call.name
        if "/kimi-k2" in self.turn.model:
            return f"functions.{call.name}:{index}"
        return call.id

    def call_pieces(self, call: Call) -> list[str]:
        if self.turn.model.startswith("meta/"):
            return [json.dumps(call.args, ensure_ascii=False)]
        return super().call_pieces(call)

    def spoken(self, blocks: list[Block]) -> list[Block]:
        if "/deepseek-r1" not in self.turn.model:
            return blocks
        return [
            Text(["<think>\n", *block.pieces, "\n</think>", "\n\n"]) if isinstance(block, Reasoning) else block
            for block in blocks
        ]

    def broken_off(self, fault: Fault) -> bytes:
        # As it is, over several lines, and not as an event.
        return json.dumps([google_body(google_name(fault.type), fault.message)], indent=1).encode()


class Mistral(Completions, google.Api):
    """The model is in the path, and in the body. Counts always come, on the last chunk; calls come whole."""

    path = google.path("publishers/mistralai/models/{model}:(?P<verb>rawPredict|streamRawPredict)")
    usage_on_demand = False

    def __init__(self, cloud: str, request: Request, found: Any) -> None:
        super().__init__(cloud, request, found)
        self._streams = found["verb"] == "streamRawPredict"

    def check(self, body: Any) -> None:
        check_mistral(body, self.model)
        if body.get("stream", False) != self._streams:
            raise Refused("rule", "`stream` and the method of the path disagree")

    def call_id(self, call: Call, index: int) -> str:
        return f"call{index:05}"

    def call_pieces(self, call: Call) -> list[str]:
        return [json.dumps(call.args, ensure_ascii=False)]

    def thought(self, text: str) -> dict[str, Any]:
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}

    def _message(self, blocks: list[Block]) -> dict[str, Any]:
        # Words stand beside thoughts in the list.
        message = super()._message([block for block in blocks if not isinstance(block, Reasoning)])
        thoughts = ["".join(block.pieces) for block in blocks if isinstance(block, Reasoning)]
        if thoughts:
            said = [{"type": "text", "text": message["content"]}] if message["content"] else []
            message["content"] = [part for text in thoughts for part in self.thought(text)["content"]] + said
        message.pop("refusal")
        return message

    def _count(self, chunks: list[dict[str, Any]]) -> None:
        if chunks:
            chunks[-1]["usage"] = self._told_usage()

    def error(self, error: Error) -> Whole:
        name = google_name(error.type)
        if name != "INVALID_ARGUMENT":
            return google.told(error, self.head())
        body = {"object": "error", "message": error.message or "Invalid request", "type": "invalid_request_error",
                "param": None, "code": "3051"}  # fmt: skip
        return GOOGLE[name], self.head() | {"Content-Type": "application/json"}, json_bytes(body)
