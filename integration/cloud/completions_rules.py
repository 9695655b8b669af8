"""Rules of chat completions that no type tells, for OpenAI, open models on Vertex AI, and Mistral's models there."""

from __future__ import annotations

import re
from typing import Any

from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolChoiceOptionParam, ChatCompletionToolUnionParam
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming
from openai.types.chat.completion_create_params import ResponseFormat

from . import typed
from .strict import Refused, decode_base64, sniff

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.+)", re.DOTALL)
PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif")

#: What servers of open models take, of OpenAI's fields and of their own.
OPEN_FIELDS = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop",
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "seed", "presence_penalty", "frequency_penalty", "n",
    "logprobs", "top_logprobs", "logit_bias", "reasoning_effort", "user", "chat_template_kwargs", "extra_body",
})  # fmt: skip

#: `ChatCompletionRequest` of Mistral's own client for Google Cloud.
MISTRAL_FIELDS = frozenset({
    "model", "messages", "stream", "max_tokens", "temperature", "top_p", "stop", "random_seed", "metadata",
    "response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction",
    "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails",
})  # fmt: skip

PUBLISHERS = "meta|deepseek-ai|qwen|openai|moonshotai|minimaxai|zai-org|google|xai"


def reasons(model: str) -> bool:
    """OpenAI's models that choose their words by themselves."""
    version = re.match(r"gpt-(\d+)", model)
    return bool(re.match(r"o\d", model)) or (bool(version) and int(version[1]) >= 5 and "-chat" not in model)


def check_openai(body: Any) -> None:
    """A request to api.openai.com."""
    _object(body)
    kind = CompletionCreateParamsStreaming if body.get("stream") else CompletionCreateParamsNonStreaming
    typed.check(body, kind, "body")
    model = body["model"]
    if "/" in model:
        raise Refused("rule", f"The model `{model}` does not exist or you do not have access to it.", "model_not_found")
    _stops(body, 4)
    if reasons(model):
        for name in ("presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias", "stop", "max_tokens"):
            if name in body:
                raise Refused("rule", f"Unsupported parameter: '{name}' is not supported with this model.")
        for name in ("temperature", "top_p"):
            if body.get(name, 1) != 1:
                raise Refused("rule", f"Unsupported value: '{name}' does not support {body[name]} with this model.")
        if "parallel_tool_calls" in body and re.match(r"o\d", model):
            raise Refused("rule", "Unsupported parameter: 'parallel_tool_calls' is not supported with this model.")
        if body.get("reasoning_effort", "low") not in _efforts(model):
            raise Refused("rule", f"Unsupported value: 'reasoning_effort' does not support {body['reasoning_effort']!r}.")
    elif "reasoning_effort" in body:
        raise Refused("rule", "Unrecognized request argument supplied: reasoning_effort")
    _common(body)
    for index, message in enumerate(body["messages"]):
        _parts(message, index, files=True)
    _conversation(body["messages"])


def check_open_model(body: Any) -> None:
    """A request for an open model on Vertex AI."""
    _object(body)
    _fields(body, OPEN_FIELDS)
    own = {"chat_template_kwargs", "extra_body"}
    kind = CompletionCreateParamsStreaming if body.get("stream") else CompletionCreateParamsNonStreaming
    typed.check({name: value for name, value in body.items() if name not in own}, kind, "body")
    if not re.fullmatch(rf"({PUBLISHERS})/[a-z0-9][a-z0-9.-]*", body["model"]):
        raise Refused("rule", f"The model {body['model']!r} is not publisher/model.", "NOT_FOUND")
    if "reasoning_effort" in body and body["reasoning_effort"] not in ("low", "medium", "high"):
        raise Refused("rule", f"reasoning_effort: {body['reasoning_effort']!r} is none of low, medium, high")
    _common(body)
    for index, message in enumerate(body["messages"]):
        _parts(message, index, files=False)
        if isinstance(message.get("content"), list) and all(part["type"] == "text" for part in message["content"]):
            raise Refused("rule", f"messages[{index}].content: a list of texts, which some templates do not take")
    _conversation(body["messages"])
    if "/kimi-k2" in body["model"]:
        ids = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
        names = [call["function"]["name"] for message in body["messages"] for call in message.get("tool_calls", ())]
        if ids != [f"functions.{name}:{index}" for index, name in enumerate(names)]:
            raise Refused("rule", f"Kimi's template cannot read the ids {ids}")


def check_mistral(body: Any, model: str) -> None:
    """A request for one of Mistral's models on Vertex AI; `model` is the one of the path."""
    _object(body)
    _fields(body, MISTRAL_FIELDS)
    if body.get("model") != model.partition("@")[0]:
        raise Refused("rule", f"model: {body.get('model')!r} is not the model of the path, {model!r}")
    for name, kind in (("tools", list[ChatCompletionToolUnionParam]), ("tool_choice", ChatCompletionToolChoiceOptionParam),
                       ("response_format", ResponseFormat), ("random_seed", int), ("max_tokens", int),
                       ("temperature", float), ("top_p", float), ("parallel_tool_calls", bool), ("stream", bool),
                       ("stop", list[str])):  # fmt: skip
        if name in body:
            typed.check(body[name], kind, name)
    if body.get("reasoning_effort", "none") not in ("none", "high"):
        raise Refused("rule", f"reasoning_effort: {body['reasoning_effort']!r} is none of none, high")
    _common(body)
    messages = body["messages"]
    before = "system"
    for index, message in enumerate(messages):
        role = message.get("role")
        if role == "system" and index > 0 or (before, role) in (("tool", "user"), ("user", "tool"), ("system", "tool")):
            raise Refused("rule", f"Unexpected role '{role}' after role '{before}'")
        _mistral_message(message, index)
        before = role
    if before == "assistant" and messages[-1].get("prefix") is not True:
        raise Refused("rule", "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant")
    _conversation(messages)


def _mistral_message(message: dict[str, Any], index: int) -> None:
    plain = {name: value for name, value in message.items() if name not in ("prefix",)}
    if message["role"] == "tool":
        if not message.get("name"):
            raise Refused("rule", f"messages[{index}].name: missing")
        plain.pop("name")
        if isinstance(message["content"], list):  # Pictures too, unlike OpenAI's.
            plain["content"] = [part for part in message["content"] if part["type"] == "text"]
    typed.check(plain, ChatCompletionMessageParam, f"messages[{index}]")
    _parts(message, index, files=False)
    for id in [call["id"] for call in message.get("tool_calls", ())] + [message.get("tool_call_id", "a" * 9)]:
        if not re.fullmatch(r"[a-zA-Z0-9]{9}", id):
            raise Refused("rule", f"Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.")


def _efforts(model: str) -> tuple[str, ...]:
    """developers.openai.com/api/docs/guides/reasoning, and what the API says of other values."""
    if re.match(r"o\d", model):
        return ("low", "medium", "high")
    if re.match(r"gpt-5(?!\.)", model):
        return ("minimal", "low", "medium", "high")
    if model.startswith("gpt-5.1"):
        return ("none", "low", "medium", "high")
    return ("none", "low", "medium", "high", "xhigh")


def _object(body: Any) -> None:
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refused("shape", "the body must be an object with messages")
    if None in body.values():
        raise Refused("shape", "a member is null")


def _fields(body: dict[str, Any], known: frozenset[str]) -> None:
    for name in body:
        if name not in known:
            raise Refused("shape", f"body.{name}: Extra inputs are not permitted")


def _stops(body: dict[str, Any], most: int) -> None:
    stops = body.get("stop", [])
    if isinstance(stops, list) and (len(stops) > most or not all(stops)):
        raise Refused("rule", f"stop: up to {most} sequences that are not empty")


def _common(body: dict[str, Any]) -> None:
    if "stream_options" in body and not body.get("stream"):
        raise Refused("rule", "stream_options: only allowed when `stream` is enabled")
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name, 1) < 1:
            raise Refused("rule", f"{name}: must be at least 1")
    tools = [tool["function"]["name"] for tool in body.get("tools", ()) if tool["type"] == "function"]
    for name in tools:
        if not NAME.fullmatch(name):
            raise Refused("rule", f"tools: {name!r} does not match {NAME.pattern}")
    if len(set(tools)) != len(tools):
        raise Refused("rule", "tools: a name twice")
    if "tools" in body and not body["tools"]:
        raise Refused("rule", "tools: [] is too short")
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in body and not tools:
            raise Refused("rule", f"{name}: only allowed when tools are specified")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "function" and choice["function"]["name"] not in tools:
        raise Refused("rule", f"tool_choice: {choice['function']['name']!r} is none of the tools")
    for tool in body.get("tools", ()):
        function = tool.get("function", {})
        if function.get("strict"):
            _closed(function.get("parameters", {}), "tools")
    form = body.get("response_format", {})
    if form.get("type") == "json_schema":
        if not NAME.fullmatch(form["json_schema"]["name"]):
            raise Refused("rule", "response_format.json_schema.name")
        if form["json_schema"].get("strict"):
            _closed(form["json_schema"].get("schema", {}), "response_format")


def _closed(schema: Any, where: str) -> None:
    """OpenAI's strict mode: every object is closed, and requires all that it describes."""
    if isinstance(schema, list):
        for inner in schema:
            _closed(inner, where)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise Refused("rule", f"Invalid schema for {where}: 'additionalProperties' is required to be false.")
        if set(schema.get("required", ())) != set(schema.get("properties", {})):
            raise Refused("rule", f"Invalid schema for {where}: 'required' is required to include every key in properties.")
    for inner in schema.values():
        _closed(inner, where)


def _parts(message: dict[str, Any], index: int, files: bool) -> None:
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise Refused("rule", f"messages[{index}].content: null without tool_calls")
    if not isinstance(content, list):
        return
    if not content:
        raise Refused("rule", f"messages[{index}].content: empty")
    for number, part in enumerate(content):
        where = f"messages[{index}].content[{number}]"
        if part["type"] == "image_url":
            url = part["image_url"]["url"]
            if not re.match(r"(https?|gs)://", url):
                _data(url, where, PICTURES)
        elif part["type"] == "file":
            if not files or not part["file"].get("filename"):
                raise Refused("rule", f"{where}: a file that is not taken, or has no name")
            _data(part["file"].get("file_data", ""), where, ("application/pdf",))
        elif part["type"] not in ("text", "refusal"):
            raise Refused("rule", f"{where}: {part['type']}")


def _data(url: str, where: str, taken: tuple[str, ...]) -> None:
    found = DATA_URL.fullmatch(url)
    if found is None or found[1] not in taken:
        raise Refused("rule", f"{where}: not a data URL of {', '.join(taken)}")
    if sniff(decode_base64(found[2], where)) != found[1]:
        raise Refused("rule", f"{where}: the data is not {found[1]}")


def _conversation(messages: list[dict[str, Any]]) -> None:
    """Every call is answered right behind it, once; no answer comes without a call."""
    open_calls: list[str] = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise Refused("rule", f"messages[{index}]: 'tool' must follow a preceding message with 'tool_calls'")
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            raise Refused("rule", f"messages[{index}]: no tool message for tool_call_ids {open_calls}")
        for call in message.get("tool_calls", ()):
            # Those of Kimi hold the name of the function, which may have 64 characters.
            if len(call["id"]) > 40 and not call["id"].startswith("functions."):
                raise Refused("rule", f"messages[{index}].tool_calls: Expected a string with maximum length 40.")
            if call["id"] in open_calls:
                raise Refused("rule", f"messages[{index}]: the id {call['id']!r} twice")
            open_calls.append(call["id"])
    if open_calls:
        raise Refused("rule", f"no tool message for tool_call_ids {open_calls}")
