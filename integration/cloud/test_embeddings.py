"""The embedding models of the stand-in: what they take, what they refuse, and that a text has its own vector."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .embeddings import BEDROCK, VERTEX, vector
from .frame import Api
from .http import Request
from .replies import Reply
from .strict import Refused

PROJECT = "/v1/projects/my-project/locations/us-central1/publishers/google/models/"


def api(path: str) -> Api:
    """The API that serves a path."""
    for one in (*BEDROCK, *VERTEX):
        if found := one.path.fullmatch(path):
            made = one("bedrock", Request("POST", path, [], b"", 0), found)
            made.place = "here"
            return made
    raise LookupError(path)


def ask(path: str, body: Any) -> Any:
    made = api(path)
    made.turn = made.admit(body)
    return json.loads(made.whole(Reply([])))


def bedrock(model: str) -> str:
    return f"/model/{model.replace(':', '%3A')}/invoke"


NOVA = bedrock("amazon.nova-2-multimodal-embeddings-v1:0")
COHERE = bedrock("us.cohere.embed-v4:0")
TITAN = bedrock("amazon.titan-embed-text-v2:0")
TEXT = f"{PROJECT}text-embedding-005:predict"


def nova(**more: Any) -> dict[str, Any]:
    params = {"embeddingPurpose": "GENERIC_INDEX", "text": {"truncationMode": "END", "value": "hello"}} | more
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}


def test_a_text_has_the_same_vector_at_every_place_and_another_text_another() -> None:
    assert ask(TITAN, {"inputText": "hello"})["embedding"] == vector("hello", 1024)
    texts = {"texts": ["a", "hello"], "input_type": "search_query"}
    assert ask(COHERE, texts)["embeddings"][1] == vector("hello", 1536)
    assert ask(NOVA, nova(embeddingDimension=256))["embeddings"][0]["embedding"] == vector("hello", 256)
    assert ask(TEXT, {"instances": [{"content": "hello"}]})["predictions"][0]["embeddings"]["values"] == vector("hello", 768)
    content = {"content": {"parts": [{"text": "hello"}]}, "embedContentConfig": {"outputDimensionality": 3}}
    assert ask(f"{PROJECT}gemini-embedding-2-preview:embedContent", content)["embedding"]["values"] == vector("hello", 3)
    assert vector("hello", 8) != vector("hallo", 8)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TITAN, {}),
        (TITAN, {"inputText": ""}),
        (TITAN, {"inputText": "a", "dimensions": 384}),
        (TITAN, {"inputText": "a", "dimensions": True}),
        (TITAN, {"inputText": "a", "user": "u"}),
        (bedrock("amazon.titan-embed-text-v1"), {"inputText": "a", "dimensions": 1536}),
        (bedrock("amazon.titan-embed-image-v1"), {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 512}}),
        (bedrock("amazon.titan-embed-image-v1"), {"inputText": "a", "inputImage": "AAAA"}),
        (COHERE, {"texts": ["a"]}),
        (COHERE, {"texts": ["a"], "images": ["data:image/png;base64,AAAA"], "input_type": "clustering"}),
        (COHERE, {"images": ["AAAA"], "input_type": "clustering"}),
        (bedrock("cohere.embed-english-v3"), {"images": ["data:image/png;base64,AAAA"] * 2, "input_type": "image"}),
        (COHERE, {"texts": ["a"] * 97, "input_type": "search_query"}),
        (COHERE, {"texts": ["a"], "input_type": "search_query", "truncate": "END"}),
        (bedrock("cohere.embed-english-v3"), {"texts": ["a"], "input_type": "clustering", "output_dimension": 1024}),
        (bedrock("cohere.embed-english-v3"), {"texts": ["a" * 2049], "input_type": "clustering"}),
        (NOVA, nova(embeddingDimension=512)),
        (NOVA, nova(text={"value": "a"})),
        (NOVA, nova(image={"format": "png", "source": {"bytes": "AAAA"}})),
        (TEXT, {"instances": [{"content": "a"}] * 251}),
        (TEXT, {"instances": [{"content": "a" * 15_000}] * 2}),
        (TEXT, {"instances": [{"content": "a", "title": "t"}]}),
        (TEXT, {"instances": [{"content": "a"}], "parameters": {"outputDimensionality": 769}}),
        (f"{PROJECT}gemini-embedding-001:predict", {"instances": [{"content": "a"}] * 2}),
        (f"{PROJECT}gemini-embedding-2-preview:embedContent", {"content": {"parts": [{"text": "a"}] * 2}}),
    ],
)
def test_what_a_cloud_would_refuse_is_refused(path: str, body: Any) -> None:
    with pytest.raises(Refused):
        ask(path, body)
