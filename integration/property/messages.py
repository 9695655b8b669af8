"""Requests of Anthropic's messages, valid by the types that its SDK publishes and by what its documentation says."""

from __future__ import annotations

import base64
from typing import Any

from anthropic.types import (
    BrowserStateBlockParam, DocumentBlockParam, ImageBlockParam, RedactedThinkingBlockParam, SearchResultBlockParam,
    SystemMessageParam, TextBlockParam, ThinkingBlockParam, ToolChoiceParam, ToolParam, ToolResultBlockParam,
    ToolUnionParam, ToolUseBlockParam,
)  # fmt: skip
from anthropic.types.message_create_params import MessageCreateParamsBase
from anthropic.types.tool_param import InputSchemaTyped
from anthropic.types.user_message_param import UserMessageParam

from ..cloud.replies import seal
from .chat import MODELS
from .dice import Dice
from .typed import OMIT, Maker, Rules, hints, members

PATH = "/v1/messages"

#: The type whose fields, and theirs, must all come up.
REQUEST = MessageCreateParamsBase

#: Blocks that clients make themselves.
OWN_BLOCKS = {
    TextBlockParam, ImageBlockParam, DocumentBlockParam, SearchResultBlockParam, ThinkingBlockParam,
    RedactedThinkingBlockParam, ToolUseBlockParam, ToolResultBlockParam,
}  # fmt: skip

#: Blocks of tools that Anthropic runs itself: they are refused by their type, whatever is in them.
SERVER_BLOCKS = [block for block in members(hints(UserMessageParam)["content"]) if block not in OWN_BLOCKS]

#: Types of which not every field need come up: they are refused as well, or a rule makes them whole.
SKIP = frozenset([*SERVER_BLOCKS, *members(ToolUnionParam), BrowserStateBlockParam, InputSchemaTyped]) - {ToolParam}

#: How often a member of a union, or an optional field, comes. Most of what only Anthropic has is rare, or every
#: request would be refused for it.
WEIGHTS = {
    "TextBlockParam": 8,
    "ToolParam": 200,
    "DirectCallerParam": 5,
    "Base64ImageSourceParam": 8,
    "Base64PDFSourceParam": 4,
    "PlainTextSourceParam": 4,
    "ContentBlockSourceParam": 4,
    "ToolReferenceBlockParam": 0.1,
    "BrowserStateBlockParam": 0.1,
    "TextBlockParam.citations": 0.02,
    "DocumentBlockParam.citations": 0.1,
    "ImageBlockParam.transformations": 0.1,
    "ToolUseBlockParam.caller": 0.05,
    "ToolUseBlockParam.toolset_name": 0.02,
    "ToolResultBlockParam.toolset_name": 0.02,
    "ToolParam.allowed_callers": 0.03,
    "ToolParam.defer_loading": 0.03,
    "ToolParam.input_examples": 0.05,
    "ToolParam.eager_input_streaming": 0.1,
    "ToolParam.type": 0.2,
    "ToolParam.strict": 0.1,
    "MessageCreateParamsBase.container": 0.02,
    "MessageCreateParamsBase.inference_geo": 0.02,
    "MessageCreateParamsBase.diagnostics": 0.05,
    "MessageCreateParamsBase.user_profile_id": 0.05,
    "MessageCreateParamsBase.workspace_id": 0.05,
    "MessageCreateParamsBase.metadata": 0.1,
    "MessageCreateParamsBase.service_tier": 0.1,
    "MessageCreateParamsBase.speed": 0.1,
    "MessageCreateParamsBase.output_config": 0.15,
    "MessageCreateParamsBase.tools": 0,
    "MessageCreateParamsBase.tool_choice": 0,
}  # fmt: skip


def picture(dice: Dice, maker: Maker) -> dict[str, Any]:
    kind, data = dice.file(["image/png", "image/jpeg", "image/gif", "image/webp"])
    maker.made |= {f"Base64ImageSourceParam.{name}" for name in ("type", "media_type", "data")}
    return {"type": "base64", "media_type": kind, "data": data}


def pdf(dice: Dice, maker: Maker) -> dict[str, Any]:
    kind, data = dice.file(["application/pdf"])
    maker.made |= {f"Base64PDFSourceParam.{name}" for name in ("type", "media_type", "data")}
    return {"type": "base64", "media_type": kind, "data": data}


def thought(dice: Dice, maker: Maker) -> dict[str, Any]:
    text = dice.text(blank=0)
    maker.made |= {f"ThinkingBlockParam.{name}" for name in ("type", "thinking", "signature")}
    return {"type": "thinking", "thinking": text, "signature": seal(text)}


def link(dice: Dice, _: Maker) -> str:
    return f"https://example.com/{dice.mark()}"


def id_of(prefix: str) -> Any:
    return lambda dice, _: f"{prefix}_{dice.mark()}"


def number(least: float, most: float) -> Any:
    return lambda dice, _: dice.choice([least, most, round(dice.uniform(least, most), 3)])


RULES: Rules = {
    "Base64ImageSourceParam": picture,
    "Base64PDFSourceParam": pdf,
    "ThinkingBlockParam": thought,
    "URLImageSourceParam.url": link,
    "URLPDFSourceParam.url": link,
    "SearchResultBlockParam.source": link,
    "RedactedThinkingBlockParam.data": lambda *_: base64.b64encode(b"what only the model can read").decode(),
    "ToolUseBlockParam.input": lambda dice, _: dice.object(),
    "ToolParam.name": lambda dice, _: dice.name(most=128),
    "ToolParam.input_schema": lambda dice, _: dice.schema(),
    "JSONOutputFormatParam.schema": lambda dice, _: dice.schema(strict=True),
    "MessageCreateParamsBase.model": lambda *_: OMIT,
    "MessageCreateParamsBase.messages": lambda *_: OMIT,
    "MessageCreateParamsBase.max_tokens": lambda dice, _: dice.choice([1, 16, 4096, 64_000]),
    "MessageCreateParamsBase.temperature": number(0, 1),
    "MessageCreateParamsBase.top_p": number(0, 1),
    "MessageCreateParamsBase.top_k": lambda dice, _: dice.choice([0, 1, 40, 500]),
    "MessageCreateParamsBase.stop_sequences": lambda dice, _: [dice.text(blank=0) for _ in range(dice.randint(0, 6))],
    "ThinkingConfigEnabledParam.budget_tokens": lambda dice, _: dice.choice([1024, 4095, 60_000]),
}


def request(dice: Dice, maker: Maker, model: str) -> dict[str, Any]:
    """One request."""
    body: dict[str, Any] = {"model": model, **maker.make(MessageCreateParamsBase)}
    if body.get("thinking", {}).get("type") == "enabled":
        body["max_tokens"] = max(body["max_tokens"], body["thinking"]["budget_tokens"] + 1)
    tools = [maker.make(ToolUnionParam) for _ in range(dice.choice([0, 0, 1, 3]))]
    for tool in tools:
        if tool.get("strict"):
            tool["input_schema"] = dice.schema(strict=True)
    names = [tool["name"] for tool in tools if "name" in tool]
    if tools:
        body["tools"] = tools
        if dice.maybe(0.4):
            body["tool_choice"] = maker.make(ToolChoiceParam)
            if "name" in body["tool_choice"]:
                body["tool_choice"]["name"] = dice.choice(names or [dice.name()])
    if dice.maybe(0.4):
        body["stream"] = True
    body["messages"] = _conversation(dice, maker, names or [dice.name()])
    maker.made |= {f"MessageCreateParamsBase.{name}" for name in body}
    return body


def _conversation(dice: Dice, maker: Maker, names: list[str]) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": _said(dice, maker)}]
    for _ in range(dice.randint(0, 3)):
        calls = _thoughts(dice, maker) + _texts(dice, maker, 0.5)
        uses = []
        for _ in range(dice.choice([0, 1, 3])):
            use = maker.make(ToolUseBlockParam)
            use |= {"name": dice.choice(names), "id": dice.choice(["toolu_", "call-", "x" * 60]) + dice.mark()}
            uses.append(use)
        if not calls + uses:
            calls = [{"type": "text", "text": dice.text(blank=0)}]
        if dice.maybe(0.02):
            calls.append(maker.make(dice.choice(SERVER_BLOCKS)))
        messages.append({"role": "assistant", "content": calls + uses})
        results = [maker.make(ToolResultBlockParam) | {"tool_use_id": use["id"]} for use in uses]
        dice.shuffle(results)
        if results and dice.maybe(0.7):
            messages.append({"role": "user", "content": results})
        else:
            said = _said(dice, maker)
            said = [{"type": "text", "text": said}] if isinstance(said, str) else said
            messages.append({"role": "user", "content": results + said})
        if dice.maybe(0.05):
            messages.append(maker.make(SystemMessageParam))
    if dice.maybe(0.1):
        messages.append({"role": "assistant", "content": dice.choice(["Well", dice.text(), [TEXT | {"text": "So"}]])})
    maker.made |= {f"{who}MessageParam.{name}" for who in ("User", "Assistant") for name in ("role", "content")}
    return messages


TEXT = {"type": "text"}


def _thoughts(dice: Dice, maker: Maker) -> list[dict[str, Any]]:
    thoughts = [maker.make(ThinkingBlockParam)] if dice.maybe(0.3) else []
    return thoughts + ([maker.make(RedactedThinkingBlockParam)] if dice.maybe(0.05) else [])


def _texts(dice: Dice, maker: Maker, chance: float) -> list[dict[str, Any]]:
    return [maker.make(TextBlockParam) for _ in range(dice.randint(1, 2))] if dice.maybe(chance) else []


def _said(dice: Dice, maker: Maker) -> Any:
    if dice.maybe(0.4):
        return dice.text()
    kinds = dice.choices(
        [TextBlockParam, ImageBlockParam, DocumentBlockParam, SearchResultBlockParam], [8, 2, 1, 0.5],
        k=dice.randint(1, 3),
    )  # fmt: skip
    return [maker.make(kind) for kind in kinds]
