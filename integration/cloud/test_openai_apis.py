"""The stand-in for OpenAI's embeddings and images takes what its SDK sends and refuses what is a little wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .driver import StandIn
from .test_completions import post


TEXTS: dict[str, Any] = {"model": "text-embedding-3-small", "input": ["a b", "c"]}
DRAWING: dict[str, Any] = {"model": "gpt-image-2", "prompt": "A red fox"}


@pytest.mark.parametrize("more", [{}, {"input": "a"}, {"input": [1, 2]}, {"input": [[1], [2, 3]]}, {"dimensions": 8, "user": "u"}])
def test_texts_and_tokens_get_vectors(cloud: StandIn, more: dict[str, Any]) -> None:
    status, body = post(cloud, "/v1/embeddings", TEXTS | more)
    assert status == 200 and (reply := json.loads(body))["object"] == "list"
    assert [item["index"] for item in reply["data"]] == list(range(len(reply["data"])))
    assert {len(item["embedding"]) for item in reply["data"]} == {more.get("dimensions", 1536)}


@pytest.mark.parametrize("more", [
    {"input": []}, {"input": ""}, {"input": ["a", ""]}, {"input": ["a"] * 2049}, {"input": [[]]}, {"input": 1}, {"x": 1},
    {"dimensions": 0}, {"dimensions": 1537}, {"dimensions": "8"}, {"encoding_format": "hex"}, {"model": "gpt-4.1"},
    {"model": "text-embedding-ada-002", "dimensions": 8}, {"user": None},
])  # fmt: skip
def test_what_is_a_little_wrong_with_texts_is_refused(cloud: StandIn, more: dict[str, Any]) -> None:
    assert post(cloud, "/v1/embeddings", TEXTS | more)[0] == 400


@pytest.mark.parametrize("more", [{}, {"n": 3, "size": "1536x1024", "quality": "low"}, {"output_format": "jpeg", "output_compression": 50}])
def test_a_prompt_gets_images(cloud: StandIn, more: dict[str, Any]) -> None:
    status, body = post(cloud, "/v1/images/generations", DRAWING | more)
    assert status == 200 and len((reply := json.loads(body))["data"]) == more.get("n", 1)
    assert reply["usage"]["total_tokens"] == reply["usage"]["input_tokens"] + reply["usage"]["output_tokens"]


@pytest.mark.parametrize("more", [
    {"prompt": " "}, {"prompt": 1}, {"n": 0}, {"n": 11}, {"size": "big"}, {"response_format": "b64_json"}, {"style": "vivid"},
    {"output_compression": 50}, {"background": "transparent", "output_format": "jpeg"}, {"partial_images": 1}, {"stream": True},
    {"model": "gpt-4.1"}, {"model": "dall-e-3"}, {"seed": 1}, {"quality": "fine"},
])  # fmt: skip
def test_what_is_a_little_wrong_with_a_prompt_is_refused(cloud: StandIn, more: dict[str, Any]) -> None:
    assert post(cloud, "/v1/images/generations", DRAWING | more)[0] in (400, 404)


def test_another_key_is_refused(cloud: StandIn) -> None:
    assert post(cloud, "/v1/embeddings", TEXTS, key="sk-other")[0] == 401
