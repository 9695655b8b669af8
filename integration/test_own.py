"""OpenAI's own embeddings and images, asked by its own client: what passes, what does not, and what is counted."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from .cloud.embeddings import vector
from .cloud.test_images import look
from .harness import CLIENT_KEY, PROMPT, Gate
from .cloud.openai import KEY

SMALL = "openai/text-embedding-3-small"
DRAWING = "openai/gpt-image-2"


@pytest.mark.parametrize("form", ["default", "float"])
def test_texts_have_their_vectors(gate: Gate, form: str) -> None:
    inputs = [f"{PROMPT} “text” {number}\n🎈" for number in range(5)]
    asked: dict[str, Any] = {} if form == "default" else {"encoding_format": "float"}
    reply = gate.client.embeddings.create(model=SMALL, input=inputs, dimensions=256, user="ada", **asked)
    assert [item.embedding for item in reply.data] == [vector(text, 256) for text in inputs]
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (20, 20)
    sent = gate.sent("openai")
    assert sent["body"] | {"model": SMALL} == {
        "model": SMALL, "input": inputs, "dimensions": 256, "user": "ada", "encoding_format": asked.get("encoding_format", "base64"),
    }  # fmt: skip
    assert ["authorization", f"Bearer {KEY}"] in [[name.lower(), value] for name, value in sent["headers"]]
    assert CLIENT_KEY not in str(sent)


def test_token_numbers_pass_to_the_one_who_knows_them(gate: Gate) -> None:
    reply = gate.client.embeddings.create(model=SMALL, input=[[1, 2], [3]], encoding_format="float", dimensions=4)
    assert [item.embedding for item in reply.data] == [vector("1 2", 4), vector("3", 4)]


def test_many_vectors_come_whole_in_one_call(gate: Gate) -> None:
    inputs = [str(number % 8) for number in range(2048)]
    answer = gate.post({"model": "openai/text-embedding-3-large", "input": inputs, "encoding_format": "base64"}, path="/v1/embeddings")
    reply = json.loads(answer.body)
    assert answer.status == 200 and len(reply["data"]) == 2048 and len(answer.body) > 33_000_000
    assert answer.headers["x-fairlead-backend"] == "openai"
    assert answer.headers["x-fairlead-model"] == "text-embedding-3-large"
    assert gate.sent("openai")["path"] == "/v1/embeddings"


def test_images_come_as_openai_made_them(gate: Gate) -> None:
    reply = gate.client.images.generate(
        model=DRAWING, prompt=f"{PROMPT} A red fox", n=2, size="1024x1536", quality="low", response_format="b64_json",
        background="opaque", output_format="png",
    )  # fmt: skip
    assert [look(image.b64_json) for image in reply.data] == [("image/png", 1024, 1536)] * 2
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (4, 2000)
    assert list(gate.body("openai")) == ["model", "prompt", "background", "n", "output_format", "quality", "size"]


def test_what_openai_has_no_place_for_is_refused_by_its_path(gate: Gate) -> None:
    for more, param in (
        ({"stream": True}, "stream"), ({"partial_images": 2}, "partial_images"),
        ({"response_format": "url"}, "response_format"), ({"negative_prompt": "fog"}, "negative_prompt"),
        ({"extra": {"seed": 1}}, "extra"),
    ):  # fmt: skip
        error = gate.post({"model": DRAWING, "prompt": PROMPT, **more}, path="/v1/images/generations").error
        assert error["param"] == param, error
    error = gate.post(f'{{"model":"{SMALL}","input":"a","input":"b"}}'.encode(), path="/v1/embeddings").error
    assert "input" in error["message"], error
    assert gate.requests("openai") == []


def test_errors_are_openais_in_the_gateways_words(gate: Gate) -> None:
    gate.force("error type=throttle retry_after=3", "openai")
    with pytest.raises(openai.RateLimitError) as caught:
        gate.client.embeddings.create(model=SMALL, input="a")
    assert caught.value.response.headers["retry-after"] == "3"
    gate.force("error type=expired", "openai")
    with pytest.raises(openai.PermissionDeniedError, match="does not accept the gateway's key"):
        gate.client.images.generate(model=DRAWING, prompt=PROMPT)
    for script in ("raw kind=truncated", "raw kind=wrong", "raw kind=html status=200"):
        gate.force(script, "openai")
        with pytest.raises(openai.InternalServerError) as broken:
            gate.client.embeddings.create(model=SMALL, input="a")
        assert broken.value.status_code == 502, script


def test_a_chat_with_a_model_that_draws_is_refused_with_the_way_out(gate: Gate) -> None:
    for model in ("vertex_ai/gemini-2.5-flash-image", "vertex_ai/imagen-4.0-generate-001", "bedrock/amazon.nova-canvas-v1:0"):
        question = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": PROMPT}]}
        error = gate.post(question).error
        assert (error["param"], error["code"]) == ("model", "unsupported_parameter"), error
        assert "/v1/images/generations" in error["message"]
        told = json.loads(gate.post(question, path="/v1/messages").body)
        assert told["error"]["type"] == "invalid_request_error" and "/v1/images/generations" in told["error"]["message"]
    gate.nothing_was_sent()
