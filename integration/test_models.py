"""The list of models, as OpenAI's and Anthropic's SDKs read it."""

from __future__ import annotations

import anthropic
import openai
import pytest

from .harness import BEDROCK, CLIENT_KEY, PATIENCE, VERTEX, Gate

NAMES = ["bedrock/*", "vertex_ai/*", "claude-sonnet", "gemini-flash"]
ARN = "bedrock/arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2"


@pytest.fixture
def client(gate: Gate) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gate.envoy.url, api_key=CLIENT_KEY, max_retries=0, timeout=PATIENCE)


def test_openais_client_lists_the_names_of_the_configuration(gate: Gate) -> None:
    models = list(gate.client.models.list())
    assert [model.id for model in models][: len(NAMES)] == NAMES
    assert {model.id: model.owned_by for model in models}["gemini-flash"] == "vertex_ai"
    gate.nothing_was_sent()


@pytest.mark.parametrize("model", [BEDROCK, VERTEX, ARN, "claude-sonnet"])
def test_both_clients_find_any_model_that_can_be_asked_for(
    gate: Gate, client: anthropic.Anthropic, model: str
) -> None:
    assert gate.client.models.retrieve(model).id == model
    found = client.models.retrieve(model)
    assert (found.id, found.display_name, found.type, found.lifecycle) == (model, model, "model", "active")
    assert gate.call("GET", f"/models/{model}").status == 200


def test_an_unknown_model_is_not_found(gate: Gate, client: anthropic.Anthropic) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        gate.client.models.retrieve("gpt-4o")
    assert refused.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_anthropics_client_walks_the_list_page_by_page(gate: Gate, client: anthropic.Anthropic) -> None:
    everything = [model.id for model in gate.client.models.list()]
    for limit in (1, 3, 100):
        assert [model.id for model in client.models.list(limit=limit)] == everything
    page = client.models.list(limit=2, before_id=everything[3])
    assert ([model.id for model in page.data], page.has_more) == (everything[1:3], True)
    assert [model.id for model in client.models.list(lifecycle=["active", "retired"])] == everything
    assert list(client.models.list(lifecycle=["retired"])) == []


def test_a_question_without_a_body_gets_headers_alone(gate: Gate) -> None:
    answer = gate.call("HEAD", "/v1/models")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "application/json")
    answer = gate.call("DELETE", f"/v1/models/{BEDROCK}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
