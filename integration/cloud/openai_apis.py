"""OpenAI's embeddings and images APIs, checked against the types of its own package and against their rules."""

from __future__ import annotations

import base64
import re
import struct
import time
from typing import Any

from openai.types import EmbeddingCreateParams
from openai.types.image_generate_params import ImageGenerateParamsBase

from . import frame, pictures
from .delivery import Whole
from .embeddings import Embeddings, vector
from .errors import OPENAI, openai_body, openai_name
from .http import json_bytes
from .pictures import one_of, text, whole
from .replies import Error, Reply, Turn
from .strict import Refused
from .typed import check


def told(error: Error, head: dict[str, str]) -> Whole:
    """An error in OpenAI's words."""
    name = openai_name(error.type)
    headers = head | {"Content-Type": "application/json"}
    if error.retry_after:
        headers["Retry-After"] = error.retry_after
    # Its errors name the field: at their beginning, or in quotes.
    named = re.match(r"body\.(\w+)|([a-z_]+(?:\[\d+\]|\.\w+)*): ", error.message or "") or re.search(r"(?<=')(\w+)()(?=')", error.message or "")
    param = next((group for group in named.groups() if group), None) if named else None
    return OPENAI[name][0], headers, json_bytes(openai_body(name, error.message, param))


class Own(frame.Api):
    """What all of OpenAI's APIs have in common."""

    def head(self) -> dict[str, str]:
        return {"openai-processing-ms": "12", "x-request-id": "req_standin0123456789"}

    def error(self, error: Error) -> Whole:
        return told(error, self.head())


#: The longest vector of each model; the older one makes no shorter ones.
SIZES = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


class Embed(Own, Embeddings):
    """`POST /v1/embeddings`: https://developers.openai.com/api/reference/resources/embeddings"""

    path = re.compile(r"/v1/embeddings")
    more_headers = ()
    base64 = False

    def admit(self, body: Any) -> Turn:
        check(body, EmbeddingCreateParams, "body")
        self.model = body["model"]
        one_of(self.model, SIZES, "model")
        size = whole(body.get("dimensions", SIZES[self.model]), 1, SIZES[self.model], "dimensions")
        if "dimensions" in body and "ada" in self.model:
            raise Refused("rule", "This model does not support specifying dimensions.")
        self.base64 = body.get("encoding_format") == "base64"
        given = body["input"]
        if isinstance(given, list) and given and isinstance(given[0], int):
            given = [given]
        inputs = given if isinstance(given, list) else [given]
        if not 1 <= len(inputs) <= 2048 or "" in inputs or [] in inputs:
            raise Refused("rule", "'$.input' is invalid.")
        return self.asked([one if isinstance(one, str) else " ".join(map(str, one)) for one in inputs], size)

    def whole(self, reply: Reply) -> bytes:
        def written(text: str) -> list[float] | str:
            numbers = vector(text, self.size)
            packed = struct.pack(f"<{len(numbers)}f", *numbers)
            return base64.b64encode(packed).decode() if self.base64 else numbers

        # Each text once: the largest requests have thousands of them.
        known = {text: written(text) for text in set(self.texts)}
        data = [{"object": "embedding", "index": index, "embedding": known[text]} for index, text in enumerate(self.texts)]
        usage = {"prompt_tokens": self.turn.words, "total_tokens": self.turn.words}
        return json_bytes({"object": "list", "data": data, "model": self.model, "usage": usage})


#: Those that are not shut down, by the beginnings of their names.
DRAWING = ("gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2", "chatgpt-image-latest")


class Draw(Own):
    """`POST /v1/images/generations`: https://developers.openai.com/api/reference/resources/images"""

    path = re.compile(r"/v1/images/generations")
    given: dict[str, Any]

    def admit(self, body: Any) -> Turn:
        check(body, ImageGenerateParamsBase, "body")
        self.given = body
        self.model = text(body.get("model"), 200, "model")
        if not self.model.startswith(DRAWING):
            raise Refused("rule", f"Invalid value: {self.model!r}.", "model_not_found")
        for name in ("response_format", "style"):
            if name in body:
                raise Refused("rule", f"Unknown parameter: {name!r}.")
        text(body["prompt"], 32_000, "prompt")
        whole(body.get("n", 1), 1, 10, "n")
        if not re.fullmatch(r"auto|[1-9]\d{2,3}x[1-9]\d{2,3}", body.get("size", "auto")):
            raise Refused("rule", f"Invalid size {body['size']!r}")
        form = body.get("output_format", "png")
        if "output_compression" in body:
            whole(body["output_compression"], 0, 100, "output_compression")
            if form not in ("jpeg", "webp"):
                raise Refused("rule", f"output_compression: not with {form}")
        if body.get("background") == "transparent":
            one_of(form, ("png", "webp"), "output_format")
        if body.get("partial_images"):
            raise Refused("rule", "partial_images goes with stream")
        return pictures.turn(self, body["prompt"])

    def whole(self, reply: Reply) -> bytes:
        given = self.given
        size = given.get("size", "auto").replace("auto", "1024x1024")
        width, height = (int(side) for side in size.split("x"))
        form = given.get("output_format", "png")
        count = given.get("n", 1)
        image = pictures.encoded(reply, f"image/{form}", width, height)
        words, drawn = self.turn.words, 1000 * count
        return json_bytes({
            "created": int(time.time()), "background": "opaque", "output_format": form, "quality": "low", "size": size,
            "data": [{"b64_json": image}] * count,
            "usage": {
                "input_tokens": words, "input_tokens_details": {"image_tokens": 0, "text_tokens": words},
                "output_tokens": drawn, "output_tokens_details": {"image_tokens": drawn, "text_tokens": 0},
                "total_tokens": words + drawn,
            },
        })  # fmt: skip
