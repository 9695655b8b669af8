"""Requests for embeddings, valid by the types that OpenAI's SDK publishes and by what its documentation says."""

from __future__ import annotations

from typing import Any

from openai.types.embedding_create_params import EmbeddingCreateParams

from .dice import Dice
from .typed import OMIT, Maker, Rules

PATH = "/v1/embeddings"

#: One of each family that has rules of its own.
MODELS = {
    "bedrock": [
        "amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0", "amazon.titan-embed-image-v1",
        "cohere.embed-english-v3", "us.cohere.embed-v4:0", "amazon.nova-2-multimodal-embeddings-v1:0",
    ],
    "vertex": ["text-embedding-005", "gemini-embedding-001", "gemini-embedding-2-preview"],
    "openai": ["text-embedding-3-small", "text-embedding-3-large"],
}  # fmt: skip

#: The type whose fields must all come up.
REQUEST = EmbeddingCreateParams

SKIP: frozenset[Any] = frozenset()

WEIGHTS: dict[str, float] = {}


def inputs(dice: Dice, _: Maker) -> Any:
    """One text, several, or tokens, which only OpenAI's models understand."""
    if dice.maybe(0.15):
        return dice.choice([[1, 2, 3], [[1, 2], [3]]])
    texts = [dice.text(blank=0) for _ in range(dice.choice([1, 1, 2, 5]))]
    return texts[0] if len(texts) == 1 and dice.maybe(0.5) else texts


RULES: Rules = {
    "EmbeddingCreateParams.model": lambda *_: OMIT,
    "EmbeddingCreateParams.input": inputs,
    "EmbeddingCreateParams.dimensions": lambda dice, _: dice.choice([256, 256, 384, 512, 700]),
}


def request(dice: Dice, maker: Maker, model: str) -> dict[str, Any]:
    """One request."""
    body: dict[str, Any] = {"model": model, **maker.make(EmbeddingCreateParams)}
    maker.made.add("EmbeddingCreateParams.model")
    return body
