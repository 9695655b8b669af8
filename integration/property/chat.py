"""Requests of OpenAI's chat completions, valid by the types that its SDK publishes and by what its documentation says."""

from __future__ import annotations

import json
from typing import Any

from openai.types.chat import (
    ChatCompletionAssistantMessageParam, ChatCompletionDeveloperMessageParam, ChatCompletionFunctionMessageParam,
    ChatCompletionStreamOptionsParam, ChatCompletionSystemMessageParam, ChatCompletionToolMessageParam,
    ChatCompletionToolUnionParam, ChatCompletionUserMessageParam,
)  # fmt: skip
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from .dice import Dice
from .typed import OMIT, Maker, Rules

PATH = "/v1/chat/completions"

#: One of each family that has rules of its own.
MODELS = {
    "bedrock": [
        "us.anthropic.claude-sonnet-4-20250514-v1:0", "us.anthropic.claude-opus-4-6-v1", "us.anthropic.claude-opus-4-8",
        "anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-3-haiku-20240307-v1:0", "us.amazon.nova-pro-v1:0",
        "us.amazon.nova-2-lite-v1:0", "us.meta.llama3-3-70b-instruct-v1:0", "mistral.mistral-large-2407-v1:0",
        "us.deepseek.r1-v1:0", "cohere.command-r-plus-v1:0", "ai21.jamba-1-5-large-v1:0", "qwen.qwen3-32b-v1:0",
        "openai.gpt-oss-120b-1:0", "openai.gpt-5.6-terra", "moonshotai.kimi-k2.5", "deepseek.v3-v1:0",
        "global.anthropic.claude-opus-5", "global.anthropic.claude-opus-5-5", "global.anthropic.claude-sonnet-5-5",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
    ],
    "vertex": [
        "gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-pro-preview", "gemini-2.0-flash-001", "gemini-3.8-flash",
        "claude-sonnet-4-5@20250929", "claude-sonnet-4@20250514", "claude-opus-4-6", "claude-opus-5",
        "meta/llama-3.3-70b-instruct-maas", "openai/gpt-oss-120b-maas", "deepseek-ai/deepseek-r1-0528-maas",
        "qwen/qwen3-next-80b-a3b-thinking-maas", "moonshotai/kimi-k2-thinking-maas", "mistral-medium-3", "mistral-medium-3-5",
    ],
    "openai": ["gpt-4.1", "gpt-5", "gpt-5.1", "o3"],
    "anthropic": ["claude-sonnet-4-5", "claude-opus-4-8", "claude-3-haiku-20240307"],
    "claude": ["invoke", "mantle"],
}  # fmt: skip

#: The type whose fields, and theirs, must all come up.
REQUEST = CompletionCreateParamsBase

#: Types of which not every field need come up.
SKIP: frozenset[Any] = frozenset()

#: How often a member of a union, or an optional field, comes. Most of what no cloud has is rare, or every request
#: would be refused for it.
WEIGHTS = {
    "ChatCompletionContentPartTextParam": 8,
    "ChatCompletionContentPartImageParam": 2,
    "ChatCompletionContentPartInputAudioParam": 0.2,
    "File": 0.5,
    "ChatCompletionContentPartRefusalParam": 0.3,
    "ChatCompletionFunctionToolParam": 50,
    "ChatCompletionMessageFunctionToolCallParam": 20,
    "ResponseFormatJSONSchema": 3,
    **dict.fromkeys(
        (f"CompletionCreateParamsBase.{name}" for name in (
            "audio", "function_call", "functions", "logit_bias", "logprobs", "modalities", "moderation", "n",
            "top_logprobs", "web_search_options",
        )),
        0.02,
    ),
    **dict.fromkeys(
        (f"CompletionCreateParamsBase.{name}" for name in (
            "metadata", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
            "safety_identifier", "service_tier", "store", "user", "verbosity", "response_format",
        )),
        0.1,
    ),
    "CompletionCreateParamsBase.stream_options": 0,
    "CompletionCreateParamsBase.tools": 0,
    "CompletionCreateParamsBase.tool_choice": 0,
    "ChatCompletionAssistantMessageParam.audio": 0.02,
    "ChatCompletionAssistantMessageParam.function_call": 0.02,
    "ChatCompletionAssistantMessageParam.tool_calls": 0,
    **dict.fromkeys(
        (f"ChatCompletionContentPart{part}Param.prompt_cache_breakpoint" for part in ("Text", "Image", "InputAudio", "")),
        0.05,
    ),
}  # fmt: skip


def image(dice: Dice, maker: Maker) -> dict[str, Any]:
    if dice.maybe(0.1):
        made = {"url": f"https://example.com/{dice.mark()}.png"}
    else:
        kind, data = dice.file(["image/png", "image/jpeg", "image/gif", "image/webp"])
        made = {"url": f"data:{kind};base64,{data}"}
    if dice.maybe(0.3):
        made["detail"] = dice.choice(["auto", "low", "high"])
    maker.made |= {"ImageURL.url", "ImageURL.detail"}
    return made


def audio(dice: Dice, maker: Maker) -> dict[str, Any]:
    kind, data = dice.file(["audio/wav", "audio/mp3"])
    maker.made |= {"InputAudio.data", "InputAudio.format"}
    return {"data": data, "format": kind.removeprefix("audio/")}


def file(dice: Dice, maker: Maker) -> dict[str, Any]:
    maker.made |= {"FileFile.file_data", "FileFile.file_id", "FileFile.filename"}
    if dice.maybe(0.1):
        return {"file_id": f"file-{dice.mark()}"}
    kind, data = dice.file(["application/pdf"])
    return {"filename": dice.text(), "file_data": f"data:{kind};base64,{data}"}


def whole_number(least: int, most: int) -> Any:
    return lambda dice, _: dice.randint(least, most)


def number(least: float, most: float) -> Any:
    return lambda dice, _: dice.choice([least, most, 1, round(dice.uniform(least, most), 3)])


RULES: Rules = {
    "ImageURL": image,
    "InputAudio": audio,
    "FileFile": file,
    "CompletionCreateParamsBase.model": lambda *_: OMIT,
    "CompletionCreateParamsBase.messages": lambda *_: OMIT,
    "CompletionCreateParamsBase.temperature": number(0, 2),
    "CompletionCreateParamsBase.top_p": number(0, 1),
    "CompletionCreateParamsBase.frequency_penalty": number(-2, 2),
    "CompletionCreateParamsBase.presence_penalty": number(-2, 2),
    "CompletionCreateParamsBase.seed": lambda dice, _: dice.choice([0, -1, 7, 2**31, -(2**63), 2**63 - 1]),
    "CompletionCreateParamsBase.n": whole_number(1, 3),
    "CompletionCreateParamsBase.top_logprobs": whole_number(0, 20),
    "CompletionCreateParamsBase.max_tokens": lambda dice, _: dice.choice([1, 16, 4096, 100_000]),
    "CompletionCreateParamsBase.max_completion_tokens": lambda dice, _: dice.choice([1, 16, 4096, 100_000]),
    "CompletionCreateParamsBase.stop": lambda dice, _: dice.choice(
        [None, dice.text(), [dice.text() for _ in range(dice.randint(1, 4))]]
    ),
    "CompletionCreateParamsBase.modalities": lambda dice, _: dice.choice([["text"], ["text", "audio"]]),
    "Function.name": lambda dice, _: dice.name(),
    "FunctionDefinition.name": lambda dice, _: dice.name(most=64),
    "FunctionDefinition.parameters": lambda dice, _: dice.schema(),
    "Function.parameters": lambda dice, _: dice.schema(),
    "JSONSchema.name": lambda dice, _: dice.name(),
    "JSONSchema.schema": lambda dice, _: dice.schema(strict=dice.maybe(0.5)),
}


def request(dice: Dice, maker: Maker, model: str) -> dict[str, Any]:
    """One request."""
    body: dict[str, Any] = {"model": model, **maker.make(CompletionCreateParamsBase)}
    tools = [maker.make(ChatCompletionToolUnionParam) for _ in range(dice.choice([0, 0, 1, 3]))]
    if dice.maybe(0.1) and tools:
        _strict(dice, tools[0])
    names = [(one["type"], one[one["type"]]["name"]) for one in tools]
    if tools:
        body["tools"] = tools
        if dice.maybe(0.4):
            body["tool_choice"] = _choice(dice, maker, names)
    elif dice.maybe(0.05):
        body["tool_choice"] = dice.choice(["none", "auto"])
        body.setdefault("tools", [])
    if dice.maybe(0.4):
        body["stream"] = True
        if dice.maybe(0.5):
            body["stream_options"] = maker.make(ChatCompletionStreamOptionsParam)
    body["messages"] = _conversation(dice, maker, names or [("function", dice.name())])
    if body.get("top_logprobs") is not None:
        body["logprobs"] = True
    maker.made |= {f"CompletionCreateParamsBase.{name}" for name in body}
    return body


def _strict(dice: Dice, tool: dict[str, Any]) -> None:
    if tool["type"] == "function":
        tool["function"] |= {"strict": True, "parameters": dice.schema(strict=True)}


def _choice(dice: Dice, maker: Maker, names: list[tuple[str, str]]) -> Any:
    kind, name = dice.choice(names)
    named = {"type": kind, kind: {"name": name}}
    maker.made |= {f"{one}.{field}" for one, field in (
        ("ChatCompletionAllowedToolChoiceParam", "type"), ("ChatCompletionAllowedToolChoiceParam", "allowed_tools"),
        ("ChatCompletionAllowedToolsParam", "mode"), ("ChatCompletionAllowedToolsParam", "tools"),
        ("ChatCompletionNamedToolChoiceParam", "type"), ("ChatCompletionNamedToolChoiceParam", "function"),
        ("ChatCompletionNamedToolChoiceCustomParam", "type"), ("ChatCompletionNamedToolChoiceCustomParam", "custom"),
    )}  # fmt: skip
    allowed = {"mode": dice.choice(["auto", "required"]), "tools": [named]}
    return dice.choice(["none", "auto", "required", named, {"type": "allowed_tools", "allowed_tools": allowed}])


def _conversation(dice: Dice, maker: Maker, names: list[tuple[str, str]]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    first = {"system": ChatCompletionSystemMessageParam, "developer": ChatCompletionDeveloperMessageParam}
    if dice.maybe(0.5):
        messages.append(maker.make(dice.choice([*first.values()])))
    if dice.maybe(0.95):
        messages.append(maker.make(ChatCompletionUserMessageParam))
    for _ in range(dice.randint(0, 4)):
        step = dice.choices(["user", "assistant", "calls", "system"], [4, 3, 4, 1])[0]
        if step == "user":
            messages.append(maker.make(ChatCompletionUserMessageParam))
        elif step == "assistant":
            messages.append(_assistant(dice, maker))
        elif step == "system":
            messages.append(maker.make(dice.choice([*first.values()])))
        else:
            messages += _calls(dice, maker, names)
    if dice.maybe(0.01):
        messages.append(maker.make(ChatCompletionFunctionMessageParam))
    if not messages or dice.maybe(0.8):
        messages.append(maker.make(ChatCompletionUserMessageParam))
    return messages


def _assistant(dice: Dice, maker: Maker) -> dict[str, Any]:
    message = maker.make(ChatCompletionAssistantMessageParam)
    # "Required unless `tool_calls` or `function_call` is specified."
    if message.get("content") is None and not message.keys() & {"function_call", "refusal", "audio"}:
        message["content"] = dice.text()
    return message


def _calls(dice: Dice, maker: Maker, names: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """A message that calls tools, and their results in any order."""
    message = maker.make(ChatCompletionAssistantMessageParam)
    message.pop("function_call", None)
    calls = []
    for number in range(dice.randint(1, 3)):
        kind, name = dice.choice(names)
        # As OpenAI, Anthropic, Bedrock, vLLM and Kimi write them; Kimi's start anew in every turn.
        id = dice.choice([f"call_{dice.mark()}", f"toolu_{dice.mark()}", f"chatcmpl-tool-{dice.getrandbits(128):032x}",
                          f"functions.{name}:{number}"])  # fmt: skip
        inside = {"name": name, "input": dice.text()} if kind == "custom" else {"name": name, "arguments": _arguments(dice)}
        calls.append({"id": id, "type": kind, kind: inside})
    message["tool_calls"] = calls
    maker.made |= {"ChatCompletionAssistantMessageParam.tool_calls", "Custom.input", "Function.arguments"}
    for kind in ("Function", "Custom"):
        maker.made |= {f"ChatCompletionMessage{kind}ToolCallParam.{name}" for name in ("id", "type", kind.lower())}
    results = [
        maker.make(ChatCompletionToolMessageParam) | {"tool_call_id": id} for id in {call["id"]: 0 for call in calls}
    ]
    dice.shuffle(results)
    return [message, *results]


def _arguments(dice: Dice) -> str:
    if dice.maybe(0.1):
        return dice.choice(["", "{}", " {} "])
    return json.dumps(dice.object(), ensure_ascii=dice.maybe(0.5))
