"""Embeddings through a real Envoy: OpenAI's client, every family of models, requests of several calls, and errors."""

from __future__ import annotations

import json
import threading
from typing import Any

import openai
import pytest

from .cloud.embeddings import vector
from .harness import BACKENDS, PROMPT, Gate, until

PATH = "/v1/embeddings"

TITAN = "bedrock/amazon.titan-embed-text-v2:0"
GEMINI = "vertex_ai/gemini-embedding-001"

#: Each model, how many numbers its vectors have unless told otherwise, and how many texts a call takes.
MODELS = [
    ("bedrock/amazon.titan-embed-text-v1", 1536, 1),
    (TITAN, 1024, 1),
    ("bedrock/amazon.titan-embed-image-v1", 1024, 1),
    ("bedrock/cohere.embed-english-v3", 1024, 96),
    ("bedrock/us.cohere.embed-v4:0", 1536, 96),
    ("bedrock/amazon.nova-2-multimodal-embeddings-v1:0", 3072, 1),
    ("vertex_ai/text-embedding-005", 768, 250),
    ("vertex_ai/text-multilingual-embedding-002", 768, 250),
    (GEMINI, 3072, 1),
    ("vertex_ai/gemini-embedding-2-preview", 3072, 1),
]


def cloud(model: str) -> str:
    return "bedrock" if model.startswith("bedrock/") else "vertex"


def vectors(reply: Any) -> list[list[float]]:
    """The vectors of a reply, whose items must be numbered in order."""
    assert [item.index for item in reply.data] == list(range(len(reply.data)))
    return [item.embedding for item in reply.data]


@pytest.mark.parametrize(("model", "size", "texts"), MODELS)
@pytest.mark.parametrize("form", ["default", "float"])
def test_texts_have_their_vectors_in_order(gate: Gate, model: str, size: int, texts: int, form: str) -> None:
    inputs = [f"{PROMPT} “text” {number}\n🎈" for number in range(5)]
    # OpenAI's client asks for base64 unless told otherwise, and decodes it.
    asked: dict[str, Any] = {} if form == "default" else {"encoding_format": "float"}
    reply = gate.client.embeddings.create(model=model, input=inputs, **asked)
    assert vectors(reply) == [vector(text, size) for text in inputs]
    assert (reply.object, reply.model) == ("list", model)
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (20, 20)
    assert len(gate.requests(cloud(model))) == (5 if texts == 1 else 1)


@pytest.mark.parametrize(("model", "size", "texts"), MODELS)
def test_one_text_goes_the_clients_own_way(gate: Gate, model: str, size: int, texts: int) -> None:
    answer = gate.post({"model": model, "input": f"{PROMPT} alone"}, path="/embeddings")
    assert answer.status == 200, answer.body
    assert answer.headers["x-fairlead-backend"] == BACKENDS[cloud(model)]
    assert answer.headers["x-fairlead-attempts"] == "1"
    headers = dict(gate.sent(cloud(model))["headers"])
    assert not [name for name in headers if name.startswith("x-envoy")], "no call of its own"


@pytest.mark.parametrize(("model", "dimensions"), [(TITAN, 256), ("bedrock/us.cohere.embed-v4:0", 512), (GEMINI, 100)])
def test_dimensions_are_those_asked_for(gate: Gate, model: str, dimensions: int) -> None:
    reply = gate.client.embeddings.create(model=model, input=["a", "b"], dimensions=dimensions)
    assert vectors(reply) == [vector(text, dimensions) for text in ("a", "b")]


@pytest.mark.parametrize("model", [TITAN, GEMINI, "bedrock/cohere.embed-english-v3", "vertex_ai/text-embedding-005"])
def test_hundreds_of_texts_keep_their_order(gate: Gate, model: str) -> None:
    size, texts = next((size, texts) for known, size, texts in MODELS if known == model)
    inputs = [f"text {number}" for number in range(300)]
    # Some answers come later than those behind them.
    inputs[7] += " [[script:default delay=150]]"
    reply = gate.client.embeddings.create(model=model, input=inputs)
    assert vectors(reply) == [vector(text, size) for text in inputs]
    assert len(gate.requests(cloud(model))) == -(-300 // texts)
    assert gate.counters()[f"{cloud(model)}.in_flight_most"] <= 8


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("bedrock/amazon.titan-embed-image-v1", 1024),
        ("bedrock/cohere.embed-multilingual-v3", 1024),
        ("bedrock/global.cohere.embed-v4:0", 1536),
        ("bedrock/amazon.nova-2-multimodal-embeddings-v1:0", 3072),
        ("vertex_ai/gemini-embedding-2-preview", 3072),
    ],
)
def test_pictures_have_vectors_among_those_of_texts(gate: Gate, model: str, size: int) -> None:
    pictures = ["iVBORw0KGgo=", "/9j/4AAQ"]
    inputs = ["before", f"data:image/png;base64,{pictures[0]}", f"data:image/jpeg;base64,{pictures[1]}", "behind"]
    reply = gate.client.embeddings.create(model=model, input=inputs)
    assert vectors(reply) == [vector(text, size) for text in ("before", *pictures, "behind")]


def test_a_model_that_does_not_see_refuses_a_picture(gate: Gate) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        gate.client.embeddings.create(model=TITAN, input=["a", "data:image/png;base64,AAAA"])
    assert refused.value.param == "input[1]"
    gate.nothing_was_sent()


def test_large_replies_arrive_whole(gate: Gate) -> None:
    inputs = [f"text {number}" for number in range(600)]
    reply = gate.client.embeddings.create(model=TITAN, input=inputs, encoding_format="float")
    assert vectors(reply) == [vector(text, 1024) for text in inputs]
    one_call = gate.client.embeddings.create(
        model="vertex_ai/text-embedding-005", input=inputs[:250], encoding_format="float"
    )
    assert vectors(one_call) == [vector(text, 768) for text in inputs[:250]]


def test_cohere_and_google_are_told_what_the_vectors_are_for(gate: Gate) -> None:
    client = gate.client.embeddings
    client.create(model="bedrock/cohere.embed-english-v3", input="a", extra_body={"input_type": "search_query"})
    assert gate.body("bedrock") == {"texts": ["a"], "input_type": "search_query", "truncate": "NONE"}
    client.create(model=GEMINI, input="a", extra_body={"task_type": "RETRIEVAL_DOCUMENT", "title": "T"})
    assert gate.body("vertex")["instances"] == [{"content": "a", "task_type": "RETRIEVAL_DOCUMENT", "title": "T"}]


def test_what_no_cloud_knows_is_left_out_and_named(gate: Gate) -> None:
    answer = gate.post({"model": TITAN, "input": ["a", "b"], "user": "u", "colour": "red"}, path=PATH)
    assert answer.status == 200, answer.body
    assert answer.headers["x-fairlead-dropped"] == "user, colour"
    assert answer.headers["x-fairlead-attempts"] == "2"


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_tokens_as_langchain_sends_them_are_refused_with_the_way_out(gate: Gate, tokens: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False") as refused:
        gate.client.embeddings.create(model=TITAN, input=tokens)
    assert refused.value.param == "input"
    gate.nothing_was_sent()


def test_a_chat_model_makes_no_vectors(gate: Gate) -> None:
    with pytest.raises(openai.NotFoundError, match="makes no embeddings"):
        gate.client.embeddings.create(model="vertex_ai/gemini-2.5-flash", input="a")
    gate.nothing_was_sent()


@pytest.mark.parametrize("model", [TITAN, GEMINI])
@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        ("throttle retry_after=7", openai.RateLimitError, "rate_limit_exceeded"),
        ("denied", openai.PermissionDeniedError, "upstream_denied"),
        ("internal", openai.InternalServerError, "upstream_error"),
        ("invalid", openai.BadRequestError, None),
    ],
)
def test_one_call_that_fails_is_the_error_of_all(
    gate: Gate, model: str, count: int, kind: str, error: type[openai.APIStatusError], code: str | None
) -> None:
    inputs = [f"text {number}" for number in range(count)]
    inputs[-1] += f" [[script:error type={kind}]]"
    with pytest.raises(error) as raised:
        gate.client.embeddings.create(model=model, input=inputs)
    assert raised.value.code == code
    assert raised.value.response.headers["x-fairlead-backend"] == BACKENDS[cloud(model)]
    if "retry_after" in kind:
        assert raised.value.response.headers["retry-after"] == "7"
    if kind == "invalid" and count > 1:
        assert raised.value.param == "input[19]"


@pytest.mark.parametrize("backend", ["unreachable", "empty", "missing"])
def test_a_cloud_that_cannot_be_reached_is_a_503(gate: Gate, backend: str) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        gate.client.embeddings.create(model=f"{backend}-titan", input=["a", "b"])
    assert (raised.value.status_code, raised.value.code) == (503, "upstream_unreachable")


def test_a_connection_that_breaks_is_a_503(gate: Gate) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        gate.client.embeddings.create(model=TITAN, input=["a", "b [[script:reset]]", "c"])
    assert (raised.value.status_code, raised.value.code) == (503, "upstream_unreachable")


@pytest.mark.parametrize("trouble", ["error type=internal", "error type=unavailable", "reset"])
def test_a_call_of_several_is_tried_again_by_envoy(gate: Gate, trouble: str) -> None:
    inputs = [f"text {number}" for number in range(20)]
    inputs[7] += f" [[script:{trouble} times=2]]"
    reply = gate.client.embeddings.create(model=TITAN, input=inputs)
    assert vectors(reply) == [vector(text, 1024) for text in inputs]
    assert len(gate.requests("bedrock")) == 22


def test_throttling_is_not_tried_again_at_once(gate: Gate) -> None:
    with pytest.raises(openai.RateLimitError):
        gate.client.embeddings.create(model=TITAN, input=["a", "b [[script:error type=throttle times=1]]"])


def test_an_answer_that_is_none_is_a_502(gate: Gate) -> None:
    for script in ("raw kind=wrong", "raw kind=truncated", "raw kind=text", "raw kind=html status=200"):
        with pytest.raises(openai.InternalServerError) as raised:
            gate.client.embeddings.create(model=TITAN, input=["a", f"b [[script:{script}]]"])
        assert raised.value.code == "upstream_invalid_response", script


def test_a_client_that_leaves_stops_further_calls(gate: Gate) -> None:
    inputs = [f"text {number} [[script:default delay=100]]" for number in range(100)]
    with gate.socket() as connection:
        body = json.dumps({"model": TITAN, "input": inputs}).encode()
        head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        until("the first calls", lambda: gate.requests("bedrock"))
    until("those under way to end", lambda: gate.counters()["bedrock.in_flight"] == 0)
    made = len(gate.requests("bedrock"))
    assert made <= 24, "at most the next ones were on their way"
    assert gate.client.embeddings.create(model=TITAN, input=["a", "b"]).data[1].index == 1
    assert len(gate.requests("bedrock")) == made + 2


def test_many_requests_of_many_calls_at_once_do_not_mix(gate: Gate) -> None:
    wrong: list[str] = []

    def ask(name: str) -> None:
        inputs = [f"{name} {number}" for number in range(40)]
        reply = gate.client.embeddings.create(model=TITAN, input=inputs, dimensions=256)
        if vectors(reply) != [vector(text, 256) for text in inputs]:
            wrong.append(name)

    threads = [threading.Thread(target=ask, args=(f"client {number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
