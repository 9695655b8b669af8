"""What Gemini has beyond the others, through OpenAI's and Anthropic's SDKs and a real Envoy."""

from __future__ import annotations

import base64
from typing import Any, Literal

import openai
import pydantic
import pytest

from .harness import PROMPT, VERTEX, Gate, say
from .test_tools import SIGNED, TOOLS


def test_several_replies_come_as_several_choices(gate: Gate) -> None:
    reply = gate.completions.create(model=VERTEX, messages=say(), n=3)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert all(choice.message.content and choice.finish_reason == "stop" for choice in reply.choices)
    assert gate.body("vertex")["generationConfig"]["candidateCount"] == 3
    with pytest.raises(openai.BadRequestError, match="one reply at a time"):
        gate.completions.create(model=VERTEX, messages=say(), n=3, stream=True)


def test_log_probabilities_are_those_of_the_words(gate: Gate) -> None:
    reply = gate.completions.create(model=VERTEX, messages=say(), logprobs=True, top_logprobs=3)
    (choice,) = reply.choices
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens) == choice.message.content
    assert bytes(byte for token in tokens for byte in token.bytes).decode() == choice.message.content
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in tokens)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_search_of_the_web_is_cited(gate: Gate, stream: bool) -> None:
    question: dict[str, Any] = {"model": VERTEX, "messages": say(), "web_search_options": {}}
    if stream:
        chunks = list(gate.completions.create(**question, stream=True))
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        text = "".join(delta.content or "" for delta in deltas)
        notes = [note for delta in deltas for note in (delta.model_extra or {}).get("annotations", [])]
        (note,) = [note["url_citation"] for note in notes]
    else:
        message = gate.completions.create(**question).choices[0].message
        text = message.content
        (note,) = [note.url_citation.model_dump() for note in message.annotations]
    assert note["url"] == "https://example.com/page" and note["title"] == "example.com"
    assert (note["start_index"], note["end_index"]) == (0, len(text))
    assert gate.body("vertex")["tools"] == [{"googleSearch": {}}]


def test_files_stay_at_their_addresses(gate: Gate) -> None:
    sound = base64.b64encode(b"RIFF\0\0\0\0WAVEfmt ").decode()
    parts: list[Any] = [
        {"type": "text", "text": PROMPT},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "image_url", "image_url": {"url": "gs://bucket/cat", "format": "image/jpeg"}},
        {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
        {"type": "file", "file": {"file_id": "gs://bucket/film.mp4"}},
    ]
    gate.completions.create(model=VERTEX, messages=[{"role": "user", "content": parts}])
    (content,) = gate.body("vertex")["contents"]
    files = [part["fileData"] for part in content["parts"] if "fileData" in part]
    assert [(file["mimeType"], file["fileUri"]) for file in files] == [
        ("image/png", "https://example.com/cat.png"),
        ("image/jpeg", "gs://bucket/cat"),
        ("video/mp4", "gs://bucket/film.mp4"),
    ]
    assert [part["inlineData"]["mimeType"] for part in content["parts"] if "inlineData" in part] == ["audio/wav"]


def test_pictures_are_looked_at_as_closely_as_the_client_says(gate: Gate) -> None:
    def parts(*details: str) -> list[Any]:
        url = "https://example.com/cat.png"
        pictures = [{"type": "image_url", "image_url": {"url": url, "detail": detail}} for detail in details]
        return [{"role": "user", "content": [{"type": "text", "text": PROMPT}, *pictures]}]

    gate.completions.create(model=VERTEX, messages=parts("low", "low"))
    assert gate.body("vertex")["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    gate.completions.create(model=SIGNED, messages=parts("high", "original", "auto"))
    (content,) = gate.requests("vertex")[-1]["body"]["contents"]
    levels = [part.get("mediaResolution") for part in content["parts"] if "fileData" in part]
    assert levels == [{"level": "MEDIA_RESOLUTION_HIGH"}, {"level": "MEDIA_RESOLUTION_ULTRA_HIGH"}, None]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_client_that_keeps_id_name_and_arguments_keeps_the_signature_too(gate: Gate, stream: bool) -> None:
    messages: list[Any] = say("tools which=all")
    if stream:
        with gate.completions.stream(model=SIGNED, messages=messages, tools=TOOLS) as running:
            calls = running.get_final_completion().choices[0].message.tool_calls
    else:
        calls = gate.completions.create(model=SIGNED, messages=messages, tools=TOOLS).choices[0].message.tool_calls
    kept = [
        {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
        for call in calls
    ]
    messages.append({"role": "assistant", "tool_calls": kept})
    messages += [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in kept]
    # The stand-in refuses a signature that is not the call's own.
    gate.completions.create(model=SIGNED, messages=messages, tools=TOOLS)
    contents = gate.requests("vertex")[-1]["body"]["contents"]
    sent = [part.get("thoughtSignature") for content in contents for part in content["parts"] if "functionCall" in part]
    assert sent[0] not in (None, "skip_thought_signature_validator") and sent[1:] == [None, None]


class Tree(pydantic.BaseModel):
    """A schema with much that Gemini has no keyword for."""

    kind: Literal["tree"] = "tree"
    name: str = pydantic.Field(min_length=1, pattern="^.+$")
    age: int = pydantic.Field(gt=0)
    level: Literal[1, 2]
    children: list[Tree]
    parent: Tree | None


def test_a_schema_that_contains_itself_is_repaired_and_fulfilled(gate: Gate) -> None:
    # The stand-in refuses whatever Gemini would overlook.
    reply = gate.completions.parse(model=VERTEX, messages=say(), response_format=Tree)
    tree = reply.choices[0].message.parsed
    assert isinstance(tree, Tree) and tree.age > 0 and tree.level in (1, 2)
    schema = gate.body("vertex")["generationConfig"]["responseJsonSchema"]
    assert schema["properties"]["kind"]["enum"] == ["tree"] and "minLength" in schema["properties"]["name"]["description"]


def test_a_schema_that_cannot_be_said_is_refused_by_its_path(gate: Gate) -> None:
    parameters = {"type": "object", "properties": {"x": {"type": "string", "not": {"const": "y"}}}}
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": parameters, "strict": True}}
    with pytest.raises(openai.BadRequestError) as caught:
        gate.completions.create(model=VERTEX, messages=say(), tools=[tool])
    assert caught.value.param == "tools[0].function.parameters.properties.x.not"
    assert gate.requests("vertex") == []


def test_googles_own_fields_go_along(gate: Gate) -> None:
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    extra = {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}}
    gate.completions.create(
        model=VERTEX,
        messages=say(),
        metadata={"team": "blue"},
        extra_body={"safety_settings": safety, "extra": extra},
    )
    body = gate.body("vertex")
    assert body["safetySettings"] == safety and body["labels"] == {"team": "blue"}
    assert body["generationConfig"]["mediaResolution"] == "MEDIA_RESOLUTION_LOW"


@pytest.mark.parametrize(("tier", "name", "value"), [
    ("priority", "x-vertex-ai-llm-shared-request-type", "priority"), ("flex", "x-vertex-ai-llm-shared-request-type", "flex"),
    ("scale", "x-vertex-ai-llm-request-type", "dedicated"), ("default", None, None),
])  # fmt: skip
def test_the_service_tier_goes_in_a_header_and_comes_back(gate: Gate, tier: Any, name: str | None, value: str | None) -> None:
    reply = gate.completions.create(model=VERTEX, messages=say(), service_tier=tier)
    assert reply.service_tier == tier
    headers = {name.lower(): value for name, value in gate.sent("vertex")["headers"]}
    told = {name: value for name, value in headers.items() if name.startswith("x-vertex-ai-")}
    assert told == ({name: value} if name else {})
