"""The Vertex and metadata stand-ins take what google-genai sends and refuse everything that is a little wrong."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from .driver import StandIn
from .scripts import UNICODE

PATH = "/v1/projects/my-project/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent"
STREAM = PATH.replace(":generate", ":streamGenerate") + "?alt=sse"
THREE = PATH.replace("2.5-flash", "3-pro-preview")
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 16).decode()
WEATHER = {
    "name": "weather",
    "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
}
CLOCK = {"name": "clock", "parametersJsonSchema": {"type": "object", "properties": {"zone": {"type": "string"}}}}
TOOLS = [{"functionDeclarations": [WEATHER, CLOCK]}]


def fetch_token(cloud: StandIn, path: str = "token", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.ports["metadata"], timeout=5)
    base = "/computeMetadata/v1/instance/service-accounts/default/"
    connection.request("GET", base + path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    answer = reply.status, reply.read()
    connection.close()
    return answer


def token(cloud: StandIn) -> str:
    return json.loads(fetch_token(cloud, Metadata_Flavor="Google")[1])["access_token"]


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": part} if isinstance(part, str) else part for part in parts]}


def model(*parts: Any) -> dict[str, Any]:
    return user(*parts) | {"role": "model"}


def say(text: str, **more: Any) -> dict[str, Any]:
    return {"contents": [user(text)]} | more


def post(
    cloud: StandIn, body: Any, path: str = PATH, bearer: str | None = None, **more: str
) -> tuple[int, dict[str, str], bytes]:
    headers = {
        "host": "us-central1-aiplatform.googleapis.com",
        "content-type": "application/json",
        "authorization": "Bearer " + (bearer or token(cloud)),
    } | {name.replace("_", "-"): value for name, value in more.items()}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", cloud.ports["vertex"], timeout=5)
    connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.putheader("content-length", str(len(raw)))
    connection.endheaders(raw)
    reply = connection.getresponse()
    answer = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return answer


def refused(cloud: StandIn, reply: tuple[int, dict[str, str], bytes], kind: str, about: str = "") -> None:
    status, _, body = reply
    error = json.loads(body)["error"]
    assert status == error["code"] and status >= 400
    assert about in error["message"]
    assert [one["kind"] for one in cloud.refusals()] == [kind]


@pytest.fixture
def sdk(cloud: StandIn, fresh: None) -> genai.Client:
    """A real google-genai client; the headers that only SDKs send are let through for it."""
    cloud.config(allow_headers=["user-agent", "accept-encoding", "x-goog-api-client"])
    return genai.Client(
        vertexai=True,
        project="my-project",
        location="us-central1",
        credentials=Credentials(token=token(cloud)),
        http_options=types.HttpOptions(base_url=f"http://127.0.0.1:{cloud.ports['vertex']}", api_version="v1"),
    )


def test_google_genai_generates_with_tools_and_system_instruction(cloud: StandIn, sdk: genai.Client) -> None:
    config = types.GenerateContentConfig(
        system_instruction="Be kind", temperature=0.5, max_output_tokens=100, stop_sequences=["END"],
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration.model_validate(WEATHER)])],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY")),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")],
        labels={"team": "blue"},
    )  # fmt: skip
    reply = sdk.models.generate_content(model="gemini-2.5-flash", contents="Hello", config=config)
    assert reply.function_calls[0].args == {"city": "sample city Ä😀"}
    assert cloud.refusals() == []


def test_google_genai_reads_a_stream(cloud: StandIn, sdk: genai.Client) -> None:
    chunks = list(
        sdk.models.generate_content_stream(model="gemini-2.5-flash", contents="[[script: text unicode=1 piece=3]]")
    )
    assert "".join(chunk.text or "" for chunk in chunks) == UNICODE
    assert chunks[-1].candidates[0].finish_reason == "STOP"
    assert all(chunk.usage_metadata for chunk in chunks)
    assert cloud.refusals() == []


def test_google_genai_gets_an_instance_of_its_schema(cloud: StandIn, sdk: genai.Client) -> None:
    schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER", "minimum": 40}}}
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=schema)
    reply = sdk.models.generate_content(model="gemini-2.5-flash", contents="Hi", config=config)
    assert json.loads(reply.text) == {"n": 40}


def test_errors_have_the_documented_status_and_shape(cloud: StandIn, sdk: genai.Client) -> None:
    for name, status in (("RESOURCE_EXHAUSTED", 429), ("ThrottlingException", 429), ("unavailable", 503),
                         ("denied", 403), ("DEADLINE_EXCEEDED", 504), ("internal", 500)):  # fmt: skip
        got, headers, body = post(cloud, say(f"[[script: error type={name} retry_after=3]]"))
        assert got == status == json.loads(body)["error"]["code"]
        assert headers["retry-after"] == "3"
    assert json.loads(post(cloud, say("[[script: error array=1]]"))[2])[0]["error"]["status"] == "RESOURCE_EXHAUSTED"
    with pytest.raises(errors.ClientError, match="RESOURCE_EXHAUSTED"):
        sdk.models.generate_content(model="gemini-2.5-flash", contents="[[script: error type=throttle]]")


def stream_events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in body.decode().split("\r\n\r\n") if line]


def test_a_stream_can_end_in_an_error_object(cloud: StandIn) -> None:
    events = stream_events(post(cloud, say("[[script: text fault=sse_error type=unavailable after=2]]"), STREAM)[2])
    assert len(events) == 3 and events[-1]["error"]["status"] == "UNAVAILABLE"


def test_a_call_stream_ends_with_the_last_call(cloud: StandIn) -> None:
    events = stream_events(post(cloud, say("[[script: tools which=all before=First]]", tools=TOOLS), STREAM)[2])
    last = events[-1]["candidates"][0]
    assert [part["functionCall"]["name"] for part in last["content"]["parts"]] == ["weather", "clock"]
    assert last["finishReason"] == "STOP"
    events = stream_events(post(cloud, say("[[script: tools which=all interleaved=1]]", tools=TOOLS), STREAM)[2])
    assert len(events) == 2


def test_odd_ends_look_like_gemini(cloud: StandIn) -> None:
    def answer(script: str) -> dict[str, Any]:
        return json.loads(post(cloud, say(f"[[script: {script}]]"))[2])

    assert answer("stop reason=MAX_TOKENS")["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert answer("stop reason=content_filtered say=")["candidates"][0]["content"] == {"role": "model"}
    assert answer("stop reason=MALFORMED_FUNCTION_CALL")["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"
    blocked = answer("blocked reason=PROHIBITED_CONTENT")
    assert blocked["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT" and "candidates" not in blocked
    assert "candidates" not in answer("nothing")
    assert "usageMetadata" not in answer("text no_usage=1")
    types.GenerateContentResponse.model_validate(blocked)


def test_usage_counts_cache_and_thoughts(cloud: StandIn) -> None:
    body = say("[[script: reasoning in=10 out=9 cache_read=5 thoughts=4]]")
    usage = json.loads(post(cloud, body)[2])["usageMetadata"]
    assert (usage["promptTokenCount"], usage["cachedContentTokenCount"]) == (15, 5)
    assert (usage["candidatesTokenCount"], usage["thoughtsTokenCount"], usage["totalTokenCount"]) == (5, 4, 24)


def test_gemini_three_wants_its_signature_back_on_the_same_call(cloud: StandIn) -> None:
    body = say("[[script: tools]]", tools=TOOLS)
    content = json.loads(post(cloud, body, THREE)[2])["candidates"][0]["content"]
    part = content["parts"][0]
    assert part["thoughtSignature"]
    response = {"functionResponse": {"name": "weather", "response": {"output": "12 °C"}}}
    body["contents"] += [content, user(response)]
    status, _, answer = post(cloud, body, THREE)
    assert status == 200 and "weather returned" in answer.decode()
    part["functionCall"]["args"]["city"] = "another"
    refused(cloud, post(cloud, body, THREE), "rule", "not valid for this call")
    cloud.reset()
    part["thoughtSignature"] = "skip_thought_signature_validator"
    assert post(cloud, body, THREE)[0] == 200
    del part["thoughtSignature"]
    refused(cloud, post(cloud, body, THREE), "rule", "missing a `thought_signature`")
    assert post(cloud, body)[0] == 200  # Gemini 2.5 does not mind.


@pytest.mark.parametrize("name", ["3.5-flash-lite", "3.6-flash", "3.8-flash"])
def test_the_newest_models_do_not_go_on_with_a_begun_reply(cloud: StandIn, name: str) -> None:
    body = {"contents": [user("Say a word."), model("The word is")]}
    assert post(cloud, body, THREE)[0] == 200
    refused(cloud, post(cloud, body, PATH.replace("2.5-flash", name)), "rule", "ending with a model turn")


def test_thoughts_come_first_and_their_signature_last(cloud: StandIn) -> None:
    parts = json.loads(post(cloud, say("[[script: reasoning]]"))[2])["candidates"][0]["content"]["parts"]
    assert parts[0]["thought"] is True and "thoughtSignature" not in parts[0]
    assert parts[1]["text"] == "The answer is 4." and parts[1]["thoughtSignature"]
    parts = json.loads(post(cloud, say("[[script: reasoning tool=1]]", tools=TOOLS))[2])["candidates"][0]["content"]["parts"]
    assert parts[1]["functionCall"]["name"] == "weather" and parts[1]["thoughtSignature"]


def test_only_a_valid_token_opens_vertex(cloud: StandIn) -> None:
    old, new = token(cloud), token(cloud)
    assert old != new
    assert post(cloud, say("x"), bearer=old)[0] == post(cloud, say("x"), bearer=new)[0] == 200
    cloud.control("POST", "/tokens/revoke", {"token": old})
    refused(cloud, post(cloud, say("x"), bearer=old), "token")
    assert post(cloud, say("x"), bearer=new)[0] == 200
    cloud.reset()
    cloud.config(metadata={"lifetime_s": 0})
    status, _, body = post(cloud, say("x"), bearer=token(cloud))
    assert status == 401 and json.loads(body)["error"]["status"] == "UNAUTHENTICATED"


def test_the_metadata_server_wants_its_header_and_no_proxy(cloud: StandIn) -> None:
    assert fetch_token(cloud)[0] == 403
    assert fetch_token(cloud, Metadata_Flavor="Google", X_Forwarded_For="10.0.0.1")[0] == 403
    assert fetch_token(cloud, Metadata_Flavor="Google", Cookie="a=b")[0] == 403
    assert fetch_token(cloud, "identity", Metadata_Flavor="Google")[0] == 404
    assert cloud.counters().get("metadata.token_calls", 0) == 0
    answer = json.loads(fetch_token(cloud, Metadata_Flavor="Google", X_Envoy_Internal="true")[1])
    assert answer["token_type"] == "Bearer" and answer["expires_in"] == 3599
    assert cloud.counters()["metadata.token_calls"] == 1


def test_the_metadata_server_can_fail(cloud: StandIn) -> None:
    cloud.config(metadata={"status": 503})
    assert fetch_token(cloud, Metadata_Flavor="Google") == (503, b"")
    cloud.config(metadata={"status": 200, "body": "<html>"})
    assert fetch_token(cloud, Metadata_Flavor="Google") == (200, b"<html>")
    with pytest.raises(RuntimeError):
        cloud.config(metadata={"no_such_setting": 1})


@pytest.mark.parametrize("name", ["x-api-key", "cookie", "x-fairlead-team", "x-request-id",
                                  "x-envoy-attempt-count", "x-forwarded-proto", "x-amz-date", "anthropic-beta"])  # fmt: skip
def test_a_header_that_must_not_leak_is_named(cloud: StandIn, name: str) -> None:
    refused(cloud, post(cloud, say("x"), **{name: "value"}), "headers", name)


@pytest.mark.parametrize(
    "path",
    [
        PATH + "?alt=sse",
        STREAM.removesuffix("?alt=sse"),
        STREAM + "&key=1",
        PATH.replace("/v1/", "/v1beta1/"),
        PATH.replace("google", "anthropic"),
        PATH.replace("us-central1", "europe-west1"),
        PATH.replace(":", "%3A"),
    ],
)
def test_a_path_that_is_a_little_wrong_is_refused(cloud: StandIn, path: str) -> None:
    assert post(cloud, say("x"), path)[0] in (400, 404)
    assert len(cloud.refusals()) == 1


def declare(**schema: Any) -> dict[str, Any]:
    parameters = {"type": "OBJECT", "properties": {"a": schema}}
    return say("x", tools=[{"functionDeclarations": [{"name": "f", "parameters": parameters}]}])


def config(**given: Any) -> dict[str, Any]:
    return say("x", generationConfig=given)


CALL = {"functionCall": {"name": "weather", "args": {"city": "Bern"}}}
CALL2 = {"functionCall": {"name": "clock", "args": {}}}
ANSWER = {"functionResponse": {"name": "weather", "response": {"output": "ok"}}}
ANSWER2 = {"functionResponse": {"name": "clock", "response": {"output": "ok"}}}

SHAPE_CASES = {
    "snake case": config(max_output_tokens=3),
    "snake case at the top": say("x", generation_config={}),
    "unknown member": say("x", stream=True),
    "unknown part": {"contents": [user({"type": "text", "text": "x"})]},
    "whole number as float": config(maxOutputTokens=3.0),
    "whole number as text": config(maxOutputTokens="3"),
    "temperature as text": config(temperature="1"),
    "true for a number": config(topP=True),
    "null": config(temperature=None),
    "small enum": declare(type="string"),
    "unknown enum": say("x", safetySettings=[{"category": "HARM_CATEGORY_NEW", "threshold": "OFF"}]),
    "unspecified enum": declare(type="TYPE_UNSPECIFIED"),
    "const in a schema": declare(type="STRING", const="x"),
    "dollar ref in a schema": declare(**{"$ref": "#/x"}),
    "url-safe base64": {"contents": [user({"inlineData": {"mimeType": "image/png", "data": "_-8="}})]},
    "args as text": {"contents": [user("x"), model({"functionCall": {"name": "f", "args": "{}"}}), user(ANSWER)]},
    "response as text": {"contents": [user("x"), model(CALL), user({"functionResponse": {"name": "weather", "response": "ok"}})]},
    "part of the other API": {"contents": [user({"text": "x", "partMetadata": {}})]},
    "contents as text": {"contents": "x"},
    "system as text": say("x", systemInstruction="Be kind"),
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPE_CASES)
def test_a_body_outside_the_published_types_is_refused(cloud: StandIn, case: str) -> None:
    refused(cloud, post(cloud, SHAPE_CASES[case]), "shape")


#: A circle with a way out, and one without.
DEFINITIONS = {
    "Fine": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Fine"}, {"type": "null"}]}},
             "required": ["next"]},
}
CIRCLE = {"Circle": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Circle"}}, "required": ["next"]}}

RULE_CASES = {
    "no contents": {"contents": []},
    "no parts": {"contents": [{"role": "user", "parts": []}]},
    "no role": {"contents": [{"parts": [{"text": "x"}]}]},
    "assistant role": {"contents": [user("x"), {"role": "assistant", "parts": [{"text": "x"}]}]},
    "model first": {"contents": [model("x")]},
    "empty text": {"contents": [user("")]},
    "two kinds in a part": {"contents": [user({"text": "x", "inlineData": {"mimeType": "image/png", "data": PNG}})]},
    "no kind in a part": {"contents": [user({"thought": True})]},
    "png called jpeg": {"contents": [user({"inlineData": {"mimeType": "image/jpeg", "data": PNG}})]},
    "gif": {"contents": [user({"inlineData": {"mimeType": "image/gif", "data": "R0lGODlh"}})]},
    "call unanswered": {"contents": [user("x"), model(CALL), user("y")]},
    "call unanswered at the end": {"contents": [user("x"), model(CALL)]},
    "one answer for two calls": {"contents": [user("x"), model(CALL, CALL2), user(ANSWER)]},
    "answers in two turns": {"contents": [user("x"), model(CALL, CALL2), user(ANSWER), user(ANSWER2)]},
    "answers in another order": {"contents": [user("x"), model(CALL, CALL2), user(ANSWER2, ANSWER)]},
    "answers and text": {"contents": [user("x"), model(CALL), user(ANSWER, "y")]},
    "stray answer": {"contents": [user(ANSWER)]},
    "call after a model turn": {"contents": [user("x"), model("y"), model(CALL), user(ANSWER)]},
    "answer with an id of its own": {"contents": [user("x"), model(CALL), user({"functionResponse": ANSWER["functionResponse"] | {"id": "1"}})]},
    "foreign signature": {"contents": [user("x"), model(CALL | {"thoughtSignature": "c2ln"}), user(ANSWER)]},
    "call by the user": {"contents": [user(CALL)]},
    "system with an image": say("x", systemInstruction=user({"inlineData": {"mimeType": "image/png", "data": PNG}})),
    "empty system": say("x", systemInstruction={"parts": [{"text": ""}]}),
    "no tools": say("x", tools=[]),
    "functions in two tools": say("x", tools=[{"functionDeclarations": [WEATHER]}, {"functionDeclarations": [CLOCK]}]),
    "functions and search": say("x", tools=[{"functionDeclarations": [WEATHER]}, {"googleSearch": {}}]),
    "function twice": say("x", tools=[{"functionDeclarations": [WEATHER, WEATHER]}]),
    "function name with a slash": say("x", tools=[{"functionDeclarations": [{"name": "a/b"}]}]),
    "function name of 129 letters": say("x", tools=[{"functionDeclarations": [{"name": "a" * 129}]}]),
    "parameters that are no object": say("x", tools=[{"functionDeclarations": [{"name": "f", "parameters": {"type": "STRING"}}]}]),
    "empty properties": say("x", tools=[{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {}}}]}]),
    "type missing": declare(description="x"),
    "array without items": declare(type="ARRAY"),
    "required but not defined": declare(type="OBJECT", properties={"a": {"type": "STRING"}}, required=["b"]),
    "required on a string": declare(type="STRING", required=["a"]),
    "beside anyOf": declare(anyOf=[{"type": "STRING"}], description="x"),
    "enum of numbers": declare(type="INTEGER", enum=["1"]),
    "empty enum word": declare(type="STRING", enum=[""]),
    "format of another type": declare(type="INTEGER", format="double"),
    "dangling ref": declare(ref="#/defs/Nope"),
    "config without functions": say("x", toolConfig={"functionCallingConfig": {"mode": "AUTO"}}),
    "allowed with AUTO": say("x", tools=TOOLS, toolConfig={"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["clock"]}}),
    "allowed but not declared": say("x", tools=TOOLS, toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["nope"]}}),
    "functions and JSON": say("x", tools=TOOLS, generationConfig={"responseMimeType": "application/json"}),
    "temperature 2.1": config(temperature=2.1),
    "topK 0": config(topK=0),
    "maxOutputTokens 0": config(maxOutputTokens=0),
    "penalty 2": config(frequencyPenalty=2.0),
    "six stop sequences": config(stopSequences=list("abcdef")),
    "empty stop sequence": config(stopSequences=[""]),
    "schema without mime type": config(responseSchema={"type": "STRING"}),
    "JSON schema without mime type": config(responseJsonSchema={"type": "string"}),
    "both schemas": config(responseMimeType="application/json", responseSchema={"type": "STRING"}, responseJsonSchema={}),
    "logprobs alone": config(logprobs=2),
    "nine replies": config(candidateCount=9),
    "file of unknown type": {"contents": [user({"fileData": {"mimeType": "image/gif", "fileUri": "gs://b/x.gif"}})]},
    "file at no address": {"contents": [user({"fileData": {"mimeType": "image/png", "fileUri": "x.png"}})]},
    **{
        f"JSON schema: {name}": say("x", tools=[{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {
            "type": "object", "properties": {"x": schema},
            "$defs": DEFINITIONS | (CIRCLE if name == "circle" else {})}}]}])
        for name, schema in {
            "const": {"const": "x"},
            "pattern": {"type": "string", "pattern": "x"},
            "type missing": {"properties": {}},
            "two types": {"type": ["string", "number"]},
            "choice beside a type": {"type": "object", "anyOf": [{"type": "object"}]},
            "reference to nowhere": {"$ref": "#/$defs/Nope"},
            "reference by another path": {"$ref": "#/definitions/Fine"},
            "reference with a description": {"$ref": "#/$defs/Fine", "description": "x"},
            "circle": {"$ref": "#/$defs/Circle"},
            "format": {"type": "string", "format": "uri"},
            "enum of booleans": {"type": "boolean", "enum": [True]},
            "items of a string": {"type": "string", "items": {}},
            "required but not described": {"type": "object", "required": ["a"]},
            "boolean schema": True,
        }.items()
    },
    "level before Gemini 3": config(thinkingConfig={"thinkingLevel": "LOW"}),
    "budget out of range": config(thinkingConfig={"thinkingBudget": 24577}),
    "bad label": say("x", labels={"Team": "blue"}),
    "category twice": say("x", safetySettings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}] * 2),
    "cache and system": say("x", cachedContent="projects/p/locations/l/cachedContents/1", systemInstruction={"parts": [{"text": "x"}]}),
}  # fmt: skip


@pytest.mark.parametrize("case", RULE_CASES)
def test_a_body_that_vertex_would_not_take_is_refused(cloud: StandIn, case: str) -> None:
    refused(cloud, post(cloud, RULE_CASES[case]), "rule")


def test_what_the_refused_cases_start_from_is_accepted(cloud: StandIn) -> None:
    tree = {
        "type": "OBJECT",
        "properties": {
            "a": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER", "format": "double"}]},
            "b": {"type": "ARRAY", "items": {"ref": "#/defs/N"}, "minItems": 1},
            "c": {"type": "STRING", "enum": ["x"], "format": "enum", "nullable": True},
        },
        "required": ["a"],
        "propertyOrdering": ["b", "a", "c"],
        "defs": {"N": {"type": "OBJECT", "properties": {"next": {"ref": "#/defs/N"}}}},
    }
    body = {
        "contents": [
            user("x", {"inlineData": {"mimeType": "image/png", "data": PNG}}),
            model("Let me see", CALL, CALL2),
            user(ANSWER, ANSWER2),
        ],
        "systemInstruction": {"role": "system", "parts": [{"text": "Be kind"}]},
        "tools": [{"functionDeclarations": [WEATHER, CLOCK, {"name": "tree", "parameters": tree}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["tree"]}},
        "generationConfig": {"temperature": 2, "topK": 40, "seed": -1, "thinkingConfig": {"thinkingBudget": 0}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "labels": {"team": "blue"},
    }
    status, _, answer = post(cloud, body)
    assert status == 200, answer
    assert json.loads(answer)["candidates"][0]["content"]["parts"][0]["functionCall"]["name"] == "tree"
    assert cloud.refusals() == []


def test_several_replies_and_their_logprobs_come_whole_only(cloud: StandIn) -> None:
    body = config(candidateCount=2, responseLogprobs=True, logprobs=2)
    status, _, answer = post(cloud, body)
    candidates = json.loads(answer)["candidates"]
    assert status == 200 and [candidate.get("index") for candidate in candidates] == [None, 1]
    chosen = candidates[0]["logprobsResult"]["chosenCandidates"]
    text = "".join(part["text"] for part in candidates[0]["content"]["parts"])
    assert "".join(one["token"] for one in chosen) == text
    assert all(len(top["candidates"]) == 2 for top in candidates[0]["logprobsResult"]["topCandidates"])
    assert cloud.refusals() == []
    refused(cloud, post(cloud, config(candidateCount=2), STREAM), "rule")


def test_a_search_tells_what_the_reply_rests_on(cloud: StandIn) -> None:
    _, _, answer = post(cloud, say("x", tools=[{"googleSearch": {}}]))
    (candidate,) = json.loads(answer)["candidates"]
    text = candidate["content"]["parts"][0]["text"]
    (support,) = candidate["groundingMetadata"]["groundingSupports"]
    assert support["segment"]["endIndex"] == len(text.encode())
