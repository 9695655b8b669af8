"""Requests of OpenAI's embeddings, valid by the types that its SDK publishes and by what its documentation says."""

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
    "vertex": [
        "text-embedding-005", "text-multilingual-embedding-002", "gemini-embedding-001", "gemini-embedding-2-preview",
    ],
}  # fmt: skip

#: The type whose fields, and theirs, must all come up.
REQUEST = EmbeddingCreateParams

#: Types of which not every field need come up.
SKIP: frozenset[Any] = frozenset()

#: How often an optional field comes.
WEIGHTS: dict[str, float] = {}


def texts(dice: Dice, _: Maker) -> Any:
    if dice.maybe(0.05):  # Tokens of OpenAI's own.
        return dice.choice([[1, 2, 3], [[1, 2], [3]]])
    return dice.text() if dice.maybe(0.5) else [dice.text() for _ in range(dice.randint(1, 4))]


RULES: Rules = {
    "EmbeddingCreateParams.model": lambda *_: OMIT,
    "EmbeddingCreateParams.input": texts,
    "EmbeddingCreateParams.dimensions": lambda dice, _: dice.choice([256, 384, 512, 768, 1024, 1536, 3072]),
}


def request(dice: Dice, maker: Maker, model: str) -> dict[str, Any]:
    """One request."""
    body: dict[str, Any] = {"model": model, **maker.make(EmbeddingCreateParams)}
    maker.made.add("EmbeddingCreateParams.model")
    return body
