"""Tools and shaped answers, as applications use them through OpenAI's SDK."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import openai
import pydantic
import pytest

from .harness import ANSWER, BEDROCK, MODELS, PROMPT, Gate, say
from .test_chat import picture

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Such as Zürich"},
                "days": {"type": "integer", "minimum": 1},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}},
}
#: A function without parameters.
PING: dict[str, Any] = {"type": "function", "function": {"name": "ping"}}

TOOLS: list[Any] = [WEATHER, CLOCK, PING]

#: A Claude that knows what the one before does not.
NEWER = "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
LLAMA = "bedrock/us.meta.llama3-3-70b-instruct-v1:0"

SIGNED = "vertex_ai/gemini-3-pro-preview"


def results_text(gate: Gate, where: str) -> list[tuple[str, Any]]:
    """(name, content) of each tool result in the last request, in order."""
    last = gate.requests(where)[-1]["body"]
    if where == "vertex":
        parts = [part for content in last["contents"] for part in content["parts"]]
        found = [part["functionResponse"] for part in parts if "functionResponse" in part]
        return [(one["name"], one["response"]) for one in found]
    blocks = [block for message in last["messages"] for block in message["content"]]
    names = {block["toolUse"]["toolUseId"]: block["toolUse"]["name"] for block in blocks if "toolUse" in block}
    found = [block["toolResult"] for block in blocks if "toolResult" in block]
    return [(names[one["toolUseId"]], one["content"]) for one in found]


def test_the_whole_loop_with_parallel_calls_answered_in_another_order(gate: Gate, where: str) -> None:
    messages: list[Any] = say("tools which=all")
    reply = gate.completions.create(model=MODELS[where], messages=messages, tools=TOOLS)
    choice = reply.choices[0]
    calls = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert [call.function.name for call in calls] == ["weather", "clock", "ping"]
    assert len({call.id for call in calls}) == 3
    assert "city" in json.loads(calls[0].function.arguments)
    assert json.loads(calls[2].function.arguments) == {}

    messages.append(choice.message.model_dump(exclude_none=True))
    contents = {"weather": f'{{"sky": "{ANSWER}"}}', "clock": "noon", "ping": ""}
    for call in reversed(calls):
        messages.append({"role": "tool", "tool_call_id": call.id, "content": contents[call.function.name]})
    reply = gate.completions.create(model=MODELS[where], messages=messages, tools=TOOLS)
    assert reply.choices[0].finish_reason == "stop"
    said = reply.choices[0].message.content or ""
    assert "weather returned" in said and ANSWER in said and "clock returned" in said
    found = results_text(gate, where)
    assert [name for name, _ in found] == ["weather", "clock", "ping"]
    if where == "bedrock":
        assert found[1][1] == [{"text": "noon"}]
    else:
        assert [value for _, value in found] == [{"sky": ANSWER}, {"output": "noon"}, {"output": ""}]


def test_a_user_may_speak_right_after_the_results(gate: Gate, where: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zürich"}'}}
    gate.completions.create(
        model=MODELS[where],
        tools=TOOLS,
        messages=[
            {"role": "user", "content": f"{PROMPT} how is it?"},
            {"role": "assistant", "content": "I look.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sun"}]},
            {"role": "user", "content": "and tomorrow?"},
        ],
    )
    if where == "bedrock":
        content = gate.body(where)["messages"][-1]["content"]
        assert [next(iter(block)) for block in content] == ["toolResult", "text"], "results come first"
    else:
        contents = gate.body(where)["contents"]
        assert [next(iter(part)) for part in contents[-2]["parts"]] == ["functionResponse"]
        assert contents[-1] == {"role": "user", "parts": [{"text": "and tomorrow?"}]}


def test_calls_of_the_past_need_no_tools_now(gate: Gate, where: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    reply = gate.completions.create(
        model=MODELS[where],
        messages=[
            {"role": "user", "content": f"{PROMPT} how is it?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
        ],
    )
    assert reply.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", None), ("auto", None), ("required", "weather"),
        ({"type": "function", "function": {"name": "clock"}}, "clock"),
    ],
    ids=["none", "auto", "required", "named"],
)  # fmt: skip
def test_tool_choice(gate: Gate, where: str, choice: Any, called: str | None) -> None:
    reply = gate.completions.create(model=MODELS[where], messages=say(), tools=TOOLS, tool_choice=choice)
    calls = reply.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == ([called] if called else [])
    body = gate.body(where)
    if where == "vertex":
        wanted: dict[str, Any] = {"mode": {"none": "NONE", "auto": "AUTO"}.get(str(choice), "ANY")}
        if called == "clock":
            wanted["allowedFunctionNames"] = ["clock"]
        assert body["toolConfig"]["functionCallingConfig"] == wanted
    elif choice == "none":
        assert "toolConfig" not in body
    else:
        # `auto` goes without saying.
        forms = {"auto": None, "required": {"any": {}}}
        assert body["toolConfig"].get("toolChoice") == forms.get(str(choice), {"tool": {"name": "clock"}})


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "nobody"}}], ids=["required", "named"]
)
def test_a_choice_that_no_tool_can_meet_is_refused(gate: Gate, where: str, choice: Any) -> None:
    tools = TOOLS if isinstance(choice, dict) else openai.omit
    with pytest.raises(openai.BadRequestError) as refused:
        gate.completions.create(model=MODELS[where], messages=say(), tools=tools, tool_choice=choice)
    assert (refused.value.param or "").startswith("tool_choice")
    gate.nothing_was_sent()


def test_empty_arguments_are_an_empty_object_both_ways(gate: Gate, where: str) -> None:
    messages: list[Any] = say("tools which=ping args=empty")
    reply = gate.completions.create(model=MODELS[where], messages=messages, tools=TOOLS)
    (call,) = reply.choices[0].message.tool_calls
    assert call.function.arguments == "{}"
    # Some clients keep what they cannot parse, and send a call without arguments as "".
    kept = {"id": call.id, "type": "function", "function": {"name": "ping", "arguments": ""}}
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [kept]},
        {"role": "tool", "tool_call_id": call.id, "content": "pong"},
    ]
    gate.completions.create(model=MODELS[where], messages=messages, tools=TOOLS)
    assert [name for name, _ in results_text(gate, where)] == ["ping"]


def test_a_streamed_call_without_arguments_is_still_json(gate: Gate, where: str) -> None:
    script = say("tools which=ping args=empty")
    with gate.completions.stream(model=MODELS[where], messages=script, tools=TOOLS) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("ping", "{}")


def test_text_before_and_after_calls_is_kept(gate: Gate, where: str) -> None:
    script = f'tools which=all before="{ANSWER} first" after=" Then text."'
    message = gate.completions.create(model=MODELS[where], messages=say(script), tools=TOOLS).choices[0].message
    assert message.content == f"{ANSWER} first Then text."
    assert len(message.tool_calls) == 3
    with gate.completions.stream(model=MODELS[where], messages=say(script), tools=TOOLS) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.message.content == f"{ANSWER} first Then text."
    assert choice.finish_reason == "tool_calls"
    assert [call.function.name for call in choice.message.tool_calls] == ["weather", "clock", "ping"]


def test_streamed_calls_are_put_together_by_the_sdk(gate: Gate, where: str) -> None:
    arguments = {"city": 'Zürich "the city" \\ 👩\u200d🚀', "days": 3}
    script = f"tools which=all piece=2 args='{json.dumps(arguments, ensure_ascii=True)}'"
    done: list[tuple[int, str, str]] = []
    with gate.completions.stream(model=MODELS[where], messages=say(script), tools=TOOLS) as stream:
        for event in stream:
            if event.type == "tool_calls.function.arguments.done":
                done.append((event.index, event.name, event.arguments))
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert [call.function.name for call in choice.message.tool_calls] == ["weather", "clock", "ping"]
    assert all(json.loads(call.function.arguments) == arguments for call in choice.message.tool_calls)
    assert [(index, name) for index, name, _ in done] == [(0, "weather"), (1, "clock"), (2, "ping")]
    assert len({call.id for call in choice.message.tool_calls}) == 3


def test_interleaved_calls_are_never_mixed_up(gate: Gate, where: str) -> None:
    script = say("tools which=all interleaved=1 piece=2")
    with gate.completions.stream(model=MODELS[where], messages=script, tools=TOOLS) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "clock", "ping"]
    assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_signature_of_a_thought_comes_back_with_its_call(gate: Gate, stream: bool) -> None:
    messages: list[Any] = say("tools which=all")
    if stream:
        with gate.completions.stream(model=SIGNED, messages=messages, tools=TOOLS) as running:
            message = running.get_final_completion().choices[0].message
        # The SDK's helper adds what it has parsed; no API takes that back.
        message = openai.types.chat.ChatCompletionMessage.model_validate(message.model_dump())
    else:
        message = gate.completions.create(model=SIGNED, messages=messages, tools=TOOLS).choices[0].message
    signature = message.tool_calls[0].model_dump()["extra_content"]["google"]["thought_signature"]
    kept = message.model_dump(exclude_none=True)
    for call in kept["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
        call.pop("index", None)
    kept.pop("parsed", None)
    messages.append(kept)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "ok"} for call in message.tool_calls]
    gate.completions.create(model=SIGNED, messages=messages, tools=TOOLS)
    contents = gate.requests("vertex")[-1]["body"]["contents"]
    calls = [part for content in contents for part in content["parts"] if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in calls] == [signature, None, None]


class Mood(str, Enum):
    good = "good"
    bad = "bad"


class Person(pydantic.BaseModel):
    name: str
    age: int


class Report(pydantic.BaseModel):
    """An answer with everything that strict schemas allow."""

    title: str
    people: list[Person]
    mood: Mood
    note: str | None
    score: float


def test_parse_gives_a_checked_object(gate: Gate, where: str) -> None:
    reply = gate.completions.parse(model=MODELS[where], messages=say(), response_format=Report)
    report = reply.choices[0].message.parsed
    assert isinstance(report, Report)
    body = gate.body(where)
    if where == "bedrock":
        # This Claude has no shaped answers of its own: it is made to call a tool, and the call is the answer.
        (tool,) = body["toolConfig"]["tools"]
        schema = tool["toolSpec"]["inputSchema"]["json"]
        assert body["toolConfig"]["toolChoice"] == {"tool": {"name": tool["toolSpec"]["name"]}}
    else:
        assert body["generationConfig"]["responseMimeType"] == "application/json"
        schema = body["generationConfig"]["responseJsonSchema"]
    assert list(schema["properties"]) == ["title", "people", "mood", "note", "score"], "the order is kept"


def test_a_newer_claude_shapes_its_answers_itself(gate: Gate) -> None:
    reply = gate.completions.parse(model=NEWER, messages=say(), response_format=Report)
    assert isinstance(reply.choices[0].message.parsed, Report)
    structure = gate.body("bedrock")["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert list(json.loads(structure["schema"])["properties"]) == ["title", "people", "mood", "note", "score"]


def test_a_stream_can_be_parsed_too(gate: Gate, where: str) -> None:
    with gate.completions.stream(model=MODELS[where], messages=say(), response_format=Report) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Report)


def test_strict_tools_are_parsed_by_the_sdk(gate: Gate, where: str) -> None:
    tool = openai.pydantic_function_tool(Person, name="person")
    raw = gate.completions.with_raw_response.parse(model=MODELS[where], messages=say("tools"), tools=[tool])
    (call,) = raw.parse().choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Person)
    if where == "bedrock":
        # Most models of Bedrock refuse a tool that has the member.
        assert "strict" not in gate.body(where)["toolConfig"]["tools"][0]["toolSpec"]
        assert raw.headers["x-fairlead-dropped"] == "tools[].function.strict"


def test_a_tool_result_may_be_a_picture_where_the_model_takes_one(gate: Gate) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "ping", "arguments": "{}"}}
    result = [{"type": "text", "text": "look"}, picture("image/png")]
    messages: list[Any] = [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": result},
    ]
    gate.completions.create(model=BEDROCK, messages=messages, tools=TOOLS)
    content = gate.body("bedrock")["messages"][-1]["content"][0]["toolResult"]["content"]
    assert [next(iter(block)) for block in content] == ["text", "image"]


#: Names as servers of the Model Context Protocol make them; no cloud takes them all.
FOREIGN = ["files.read/v2", "files_read_v2", "mcp__" + "knowledge_" * 9 + "search", "läs fil"]


def test_tools_keep_their_names_whatever_the_cloud_thinks_of_them(gate: Gate, where: str) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": name}} for name in FOREIGN]
    messages: list[Any] = say("tools which=all")
    message = gate.completions.create(model=MODELS[where], messages=messages, tools=tools).choices[0].message
    assert [call.function.name for call in message.tool_calls] == FOREIGN
    # Some servers of open models give every call the same id, and results come in the calls' order.
    calls = [call.model_dump() | {"id": "call_0"} for call in message.tool_calls]
    messages += [{"role": "assistant", "tool_calls": calls}]
    messages += [{"role": "tool", "tool_call_id": "call_0", "content": name} for name in FOREIGN]
    with gate.completions.stream(model=MODELS[where], messages=messages, tools=tools) as stream:
        assert stream.get_final_completion().choices[0].message.content
    found = results_text(gate, where)
    assert [json.dumps(content, ensure_ascii=False).count(name) for name, (_, content) in zip(FOREIGN, found)] == [1] * 4
    assert len({name for name, _ in found}) == 4


def test_llama_streams_its_calls_though_bedrock_does_not(gate: Gate) -> None:
    with gate.completions.stream(model=LLAMA, messages=say("tools"), tools=TOOLS) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.name == "weather"
    assert gate.sent("bedrock")["path"].endswith("/converse")


def test_one_call_at_most(gate: Gate) -> None:
    gate.completions.create(model=NEWER, messages=say(), tools=TOOLS, parallel_tool_calls=False)
    fields = gate.body("bedrock")["additionalModelRequestFields"]
    assert fields == {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}


def test_bedrocks_own_fields_go_along(gate: Gate) -> None:
    guardrail = {"guardrailIdentifier": "gr1abc", "guardrailVersion": "DRAFT", "trace": "enabled"}
    extra = {"guardrailConfig": guardrail, "extra": {"performanceConfig": {"latency": "optimized"}}}
    gate.completions.create(model=BEDROCK, messages=say(), service_tier="flex", metadata={"team": "blue"}, extra_body=extra)
    body = gate.body("bedrock")
    assert body["guardrailConfig"] == guardrail
    assert body["performanceConfig"] == {"latency": "optimized"}
    assert (body["serviceTier"], body["requestMetadata"]) == ({"type": "flex"}, {"team": "blue"})
