"""Requests of OpenAI's images, valid by the types that its SDK publishes and by what its documentation says."""

from __future__ import annotations

from typing import Any

from openai.types.image_generate_params import ImageGenerateParamsBase

from .dice import Dice
from .typed import OMIT, Maker, Rules

PATH = "/v1/images/generations"

#: One of each family that has rules of its own.
MODELS = {
    "bedrock": ["amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0", "stability.stable-image-core-v1:1"],
    "vertex": ["imagen-4.0-generate-001", "gemini-2.5-flash-image", "gemini-3-pro-image-preview"],
    "openai": ["gpt-image-2", "gpt-image-1-mini"],
}

#: The type whose fields, and theirs, must all come up.
REQUEST = ImageGenerateParamsBase

#: Types of which not every field need come up.
SKIP: frozenset[Any] = frozenset()

#: How often an optional field comes.
WEIGHTS = dict.fromkeys(
    (f"ImageGenerateParamsBase.{name}" for name in (
        "background", "complexity", "frame_count", "frame_duration_ms", "moderation", "partial_images", "response_format",
        "style", "svg",
    )),
    0.05,
)  # fmt: skip

#: Not those that the types name for other models of OpenAI alone.
SIZES = ("auto", "1024x1024", "1536x1024", "1024x1536", "1792x1024", "2048x2048")

RULES: Rules = {
    "ImageGenerateParamsBase.model": lambda *_: OMIT,
    "ImageGenerateParamsBase.prompt": lambda dice, _: dice.text(blank=0),
    "ImageGenerateParamsBase.n": lambda dice, _: dice.choice([1, 1, 1, 2, 10]),
    "ImageGenerateParamsBase.size": lambda dice, _: dice.choice(SIZES),
    "ImageGenerateParamsBase.output_format": lambda dice, _: dice.choice(["png", "png", "jpeg", "webp", "gif"]),
    "ImageGenerateParamsBase.output_compression": lambda dice, _: dice.randint(0, 100),
    "ImageGenerateParamsBase.partial_images": lambda dice, _: dice.randint(0, 3),
    "ImageGenerateParamsBase.response_format": lambda dice, _: dice.choice(["b64_json", "b64_json", "url"]),
}


def request(dice: Dice, maker: Maker, model: str) -> dict[str, Any]:
    """One request."""
    body: dict[str, Any] = {"model": model, **maker.make(ImageGenerateParamsBase)}
    maker.made.add("ImageGenerateParamsBase.model")
    return body
