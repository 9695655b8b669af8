"""The stand-ins for chat completions take what OpenAI's SDK sends and refuse everything that is a little wrong."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

import openai
import pytest

from .driver import StandIn
from .openai import KEY
from .scripts import UNICODE

VERTEX = "/v1/projects/my-project/locations/us-central1/"
OPEN = VERTEX + "endpoints/openapi/chat/completions"
MISTRAL = VERTEX + "publishers/mistralai/models/mistral-medium-3:rawPredict"
LLAMA = "meta/llama-3.3-70b-instruct-maas"
KIMI = "moonshotai/kimi-k2-thinking-maas"
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 16).decode()
PDF = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4\n").decode()
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOSED = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture
def sdk(cloud: StandIn, fresh: None) -> openai.OpenAI:
    """A real OpenAI client; the headers that only SDKs send are let through for it."""
    sent = ["arch", "async", "lang", "os", "package-version", "read-timeout", "retry-count", "runtime", "runtime-version", "helper-method", "raw-response"]
    cloud.config(allow_headers=["user-agent", "accept-encoding", *[f"x-stainless-{name}" for name in sent]])
    return openai.OpenAI(base_url=f"http://127.0.0.1:{cloud.ports['openai']}/v1", api_key=KEY, max_retries=0)


def say(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]} | more


def call(id: str, name: str = "weather") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def history(id: str, *after: dict[str, Any], name: bool = False) -> list[dict[str, Any]]:
    answer = {"role": "tool", "tool_call_id": id, "content": "sunny"} | ({"name": "weather"} if name else {})
    asked = {"role": "assistant", "content": None, "tool_calls": [call(id)]}
    return [{"role": "user", "content": "Weather?"}, asked, answer, *after]


def post(cloud: StandIn, path: str, body: Any, key: str = KEY) -> tuple[int, Any]:
    port, host = cloud.ports["openai"], "api.openai.com"
    if path.startswith(VERTEX):
        key = cloud.control("POST", "/tokens/issue", {})["access_token"]
        port, host = cloud.ports["vertex"], "us-central1-aiplatform.googleapis.com"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"Host": host, "Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
    raw = json.dumps(body).encode()
    for name, value in (headers | {"Content-Length": str(len(raw))}).items():
        connection.putheader(name, value)
    connection.endheaders(raw)
    reply = connection.getresponse()
    answer = reply.status, reply.read()
    connection.close()
    return answer


@pytest.mark.parametrize("stream", [False, True])
def test_openais_sdk_reads_tools_and_counts(cloud: StandIn, sdk: openai.OpenAI, stream: bool) -> None:
    request = say("[[script: tools which=all before=Look. in=3 out=4 cache_read=2]]", model="gpt-4.1", tools=[WEATHER])
    if not stream:
        whole = sdk.chat.completions.create(**request)
        (made,) = whole.choices[0].message.tool_calls
        usage = whole.usage
    else:
        with sdk.chat.completions.stream(**request, stream_options={"include_usage": True}) as events:
            final = events.get_final_completion()
        (made,) = final.choices[0].message.tool_calls
        usage = final.usage
    assert json.loads(made.function.arguments) == {"city": "sample city Ä😀"}
    assert (usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens) == (5, 4, 2)
    assert cloud.refusals() == []


def test_counts_come_in_a_stream_only_if_asked_for(cloud: StandIn, sdk: openai.OpenAI) -> None:
    request = say("[[script: text unicode=1 piece=1]]", model="gpt-4.1", stream=True)
    chunks = list(sdk.chat.completions.create(**request))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == UNICODE
    assert all("usage" not in chunk.to_dict() for chunk in chunks)


def test_open_models_tell_thoughts_each_in_its_way(cloud: StandIn) -> None:
    def message(path: str, model: str) -> Any:
        status, body = post(cloud, path, say("[[script: reasoning say=Hm. then=4.]]", model=model))
        assert status == 200, body
        return json.loads(body)["choices"][0]["message"]

    assert message(OPEN, "qwen/qwen3-next-80b-a3b-thinking-maas")["reasoning_content"] == "Hm."
    assert message(OPEN, "deepseek-ai/deepseek-r1-0528-maas")["content"] == "<think>\nHm.\n</think>\n\n4."
    assert message(MISTRAL, "mistral-medium-3")["content"][0]["thinking"][0]["text"] == "Hm."


GOOD = [
    ("/v1/chat/completions", say("Hi", model="gpt-5.1", max_completion_tokens=5, reasoning_effort="none")),
    ("/v1/chat/completions", {"model": "gpt-4.1", "messages": history("call_1", {"role": "user", "content": "And?"})}),
    ("/v1/chat/completions", {"model": "gpt-4.1", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}]}]}),
    (OPEN, say("Hi", model=LLAMA, max_tokens=5, stop=["a", "b", "c", "d", "e"])),
    (OPEN, {"model": KIMI, "messages": history("functions.weather:0")}),
    (MISTRAL, {"model": "mistral-medium-3", "messages": history("abcdefghi", name=True)}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), GOOD)
def test_what_is_right_is_taken(cloud: StandIn, path: str, body: Any) -> None:
    assert post(cloud, path, body)[0] == 200
    assert cloud.refusals() == []


BAD = [
    ("/v1/chat/completions", say("Hi", model="openai/gpt-4.1"), "does not exist"),
    ("/v1/chat/completions", say("Hi", model="gpt-4.1", top_k=1), "unknown parameter"),
    ("/v1/chat/completions", say("Hi", model="gpt-4.1", temperature="1"), "must be float"),
    ("/v1/chat/completions", say("Hi", model="gpt-4.1", stream_options={"include_usage": True}), "stream"),
    ("/v1/chat/completions", say("Hi", model="gpt-4.1", tool_choice="auto"), "tools"),
    ("/v1/chat/completions", say("Hi", model="gpt-4.1", reasoning_effort="low"), "reasoning_effort"),
    ("/v1/chat/completions", say("Hi", model="gpt-5", temperature=0.5), "temperature"),
    ("/v1/chat/completions", say("Hi", model="gpt-5", max_tokens=5), "max_tokens"),
    ("/v1/chat/completions", say("Hi", model="gpt-5.1", reasoning_effort="minimal"), "reasoning_effort"),
    ("/v1/chat/completions", say("Hi", model="gpt-4.1", stop=["a", "b", "c", "d", "e"]), "stop"),
    ("/v1/chat/completions", {"model": "gpt-4.1", "messages": history("a")[:2]}, "no tool message"),
    ("/v1/chat/completions", {"model": "gpt-4.1", "messages": history("a", name=True)}, "unknown parameter"),
    ("/v1/chat/completions", {"model": "gpt-4.1", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": PNG.replace("png", "gif")}}]}]}, "image/gif"),
    ("/v1/chat/completions", say("Hi", model="gpt-4.1", response_format={"type": "json_schema", "json_schema": {
        "name": "x", "strict": True, "schema": CLOSED | {"required": []}}}), "required"),
    (OPEN, say("Hi", model="llama-3.3-70b-instruct-maas"), "publisher/model"),
    (OPEN, say("Hi", model=LLAMA, store=True), "not permitted"),
    (OPEN, {"model": KIMI, "messages": history("call_1")}, "Kimi"),
    (MISTRAL, say("Hi", model="mistral-small"), "model of the path"),
    (MISTRAL, say("Hi", model="mistral-medium-3", seed=1), "not permitted"),
    (MISTRAL, say("Hi", model="mistral-medium-3", stream=True), "disagree"),
    (MISTRAL, {"model": "mistral-medium-3", "messages": history("call_1", name=True)}, "length of 9"),
    (MISTRAL, {"model": "mistral-medium-3", "messages": history(
        "abcdefghi", {"role": "user", "content": "And?"}, name=True)}, "Unexpected role"),
    (MISTRAL, {"model": "mistral-medium-3", "messages": [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}, "prefix"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "about"), BAD)
def test_what_is_a_little_wrong_is_refused(cloud: StandIn, path: str, body: Any, about: str) -> None:
    status, answer = post(cloud, path, body)
    assert status in (400, 404) and about in answer.decode(), answer
    assert len(cloud.refusals()) == 1


def test_a_wrong_key_is_refused(cloud: StandIn) -> None:
    status, answer = post(cloud, "/v1/chat/completions", say("Hi", model="gpt-4.1"), key="sk-other")
    assert (status, json.loads(answer)["error"]["code"]) == (401, "invalid_api_key")
