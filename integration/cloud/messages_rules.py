"""What Anthropic's Messages API refuses beyond the shape of the body; its words are those of real refusals.

https://platform.claude.com/docs/en/api/messages, …/build-with-claude/thinking, …/prompt-caching, …/vision.
"""

from __future__ import annotations

import math
import re
from typing import Any

from .converse_rules import THINKS_THOUGH_FORCED, claude_thinks, closed_schema
from .replies import seal
from .strict import Refused, decode_base64, sniff

NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ID = re.compile(r"[a-zA-Z0-9_-]+")
MOST_MARKS = 4
LEAST_BUDGET = 1024

#: What no model says, and no cloud but Anthropic runs.
SERVER_TOOLS = re.compile(r"(server_tool_use|mcp_tool_use|\w+_tool_result|container_upload)")


def check(body: dict[str, Any], model: str) -> None:
    """Refuse a body that has the right shape but that the API would answer with `invalid_request_error`."""
    if body.get("max_tokens", 1) < 1:
        raise _refused("max_tokens: must be greater than or equal to 1")
    for name in ("temperature", "top_p"):
        if not 0 <= body.get(name, 0) <= 1:
            raise _refused(f"{name}: range: 0..1")
    if any(not stop.strip() for stop in body.get("stop_sequences", [])):
        raise _refused("stop_sequences: each stop sequence must contain non-whitespace")
    _tools(body, model)
    _thinking(body, model)
    _format(body, model)
    if isinstance(body.get("system"), str) and not body["system"].strip():
        raise _refused("system: text content blocks must be non-empty")
    for index, block in enumerate(body["system"] if isinstance(body.get("system"), list) else []):
        _text(block, f"system.{index}")
    messages = body["messages"]
    if not messages:
        raise _refused("messages: at least one message is required")
    if messages[0]["role"] != "user":
        raise _refused("messages: first message must use the \"user\" role")
    _conversation(messages)
    _marks(body)


def _conversation(messages: list[dict[str, Any]]) -> None:
    calls: list[str] = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        last = index == len(messages) - 1
        if not content and not (last and message["role"] == "assistant"):
            raise _refused(f"{where}: all messages must have non-empty content except for the optional final assistant message")
        results = [block["tool_use_id"] for block in content if block["type"] == "tool_result"]
        if calls and (message["role"] != "user" or set(calls) - set(results)):
            raise _refused(
                f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(calls)}"
            )
        if set(results) - set(calls):
            raise _refused(f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {results}")
        seen_other = False
        for number, block in enumerate(content):
            if block["type"] == "tool_result" and seen_other:
                raise _refused(f"{where}.content: tool_result blocks must come first")
            seen_other |= block["type"] != "tool_result"
            _block(block, f"{where}.content.{number}", message["role"])
        calls = [block["id"] for block in content if block["type"] == "tool_use"]
        if len(set(calls)) != len(calls):
            raise _refused(f"{where}: `tool_use` ids must be unique")
        if last and message["role"] == "assistant" and content and content[-1].get("text", "x") != content[-1].get(
            "text", "x"
        ).rstrip():
            raise _refused("messages: final assistant content cannot end with trailing whitespace")
    if calls:
        raise _refused(f"messages: `tool_use` ids were found without `tool_result` blocks: {', '.join(calls)}")


def _block(block: dict[str, Any], where: str, role: str) -> None:
    kind = block["type"]
    wanted = {"thinking": "assistant", "redacted_thinking": "assistant", "tool_use": "assistant", "tool_result": "user",
              "document": "user"}.get(kind, role)  # fmt: skip
    if wanted != role:
        raise _refused(f"{where}: {kind} blocks cannot be in {role} messages")
    if kind == "text":
        _text(block, where)
    elif kind == "thinking":
        if block["signature"] != seal(block["thinking"]):
            raise _refused(f"{where}: Invalid `signature` in `thinking` block")
        if "cache_control" in block:
            raise _refused(f"{where}: thinking blocks cannot have cache_control")
    elif kind == "redacted_thinking":
        decode_base64(block["data"], f"{where}.data")
    elif kind == "tool_use":
        _word(ID, block["id"], f"{where}.id")
        _word(NAME, block["name"], f"{where}.name")
        if not isinstance(block["input"], dict):
            raise _refused(f"{where}.input: Input should be a valid dictionary")
    elif kind == "tool_result":
        for number, inner in enumerate(block["content"] if isinstance(block.get("content"), list) else []):
            _block(inner, f"{where}.content.{number}", "user")
    elif kind in ("image", "document"):
        _source(kind, block["source"], where)
    elif SERVER_TOOLS.fullmatch(kind):
        raise _refused(f"{where}: the stand-in runs no tools of its own")


def _source(kind: str, source: dict[str, Any], where: str) -> None:
    if source["type"] != "base64":
        return
    data = decode_base64(source["data"], f"{where}.source.data")
    found = sniff(data)
    if kind == "image" and found != source["media_type"]:
        raise _refused(f"{where}.source: the image was specified using {source['media_type']}, but is {found}")
    if kind == "document" and found != "application/pdf":
        raise _refused(f"{where}.source: The PDF specified was not valid.")


def _format(body: dict[str, Any], model: str) -> None:
    """https://platform.claude.com/docs/en/build-with-claude/structured-outputs"""
    config = body.get("output_config") or {}
    schema = (config.get("format") or {}).get("schema")
    if schema is None:
        return
    if re.search(r"claude-(3|[a-z]+-4(-[01])?([-@]2|$))", model):
        raise _refused("output_config.format: structured outputs are not supported on this model")
    closed_schema(schema, "output_config.format.schema")


def _tools(body: dict[str, Any], model: str) -> None:
    tools = body.get("tools", [])
    names = [tool["name"] for tool in tools if "name" in tool]
    if len(set(names)) != len(names):
        raise _refused("tools: Tool names must be unique.")
    for index, tool in enumerate(tools):
        if "name" in tool:  # A set of tools has none.
            _word(NAME, tool["name"], f"tools.{index}.name")
        if "input_schema" in tool and tool["input_schema"].get("type") != "object":
            raise _refused(f"tools.{index}.input_schema.type: Input should be 'object'")
        if tool.get("strict"):
            closed_schema(tool["input_schema"], f"tools.{index}.input_schema")
    choice = body.get("tool_choice")
    if choice is not None and not tools:
        raise _refused("tool_choice: may only be specified while providing tools")
    if choice is not None and choice["type"] == "tool" and choice["name"] not in names:
        raise _refused(f"tool_choice: Tool '{choice['name']}' not found in provided tools")
    if choice is not None and choice["type"] in ("any", "tool") and re.search(r"claude-(opus-5-5|sonnet-5-5|fable-5-1)", model):
        raise _refused(f"tool_choice.type.{choice['type']}: is not supported for this model")
    blocks = [block for message in body["messages"] if isinstance(message["content"], list) for block in message["content"]]
    if not tools and any(block["type"] in ("tool_use", "tool_result") for block in blocks):
        raise _refused("Requests which include `tool_use` or `tool_result` blocks must define tools")


def _thinking(body: dict[str, Any], model: str) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    claude_thinks(model, thinking["type"])
    if thinking["type"] in ("disabled", "between_tools"):
        return
    if thinking["type"] == "enabled":
        if thinking["budget_tokens"] < LEAST_BUDGET:
            raise _refused("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        betas = body.get("anthropic_beta", [])
        if thinking["budget_tokens"] >= body.get("max_tokens", math.inf) and not any("interleaved" in beta for beta in betas):
            raise _refused("`max_tokens` must be greater than `thinking.budget_tokens`")
    elif not re.search(r"claude-[a-z]+-(4-[6-9]|[5-9])\b", model):
        raise _refused("thinking.type: adaptive thinking is not supported on this model")
    if body.get("temperature", 1) != 1:
        raise _refused("`temperature` may only be set to 1 when thinking is enabled")
    if "top_k" in body or body.get("top_p", 1) < 0.95:
        raise _refused("`top_k` must be unset and `top_p` at least 0.95 when thinking is enabled")
    forced = body.get("tool_choice", {"type": "auto"})["type"] in ("any", "tool")
    if forced and not THINKS_THOUGH_FORCED.search(model):
        raise _refused("Thinking may not be enabled when tool_choice forces tool use.")
    messages = body["messages"]
    if messages[-1]["role"] == "assistant":
        raise _refused("messages: a prefilled reply is not supported with thinking")
    # "When using adaptive thinking, previous assistant turns don't need to start with thinking blocks":
    # https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking
    if thinking["type"] != "enabled":
        return
    for message in reversed(messages):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str) or all(block["type"] != "tool_result" for block in content):
                return  # The last turn of tools has ended.
            continue
        content = message["content"]
        if isinstance(content, list) and any(block["type"] == "tool_use" for block in content):
            if content[0]["type"] not in ("thinking", "redacted_thinking"):
                raise _refused(
                    "messages: Expected `thinking` or `redacted_thinking`, but found "
                    f"`{content[0]['type']}`. When `thinking` is enabled, a final `assistant` message must start "
                    "with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
                )
        return


def _marks(body: dict[str, Any]) -> None:
    marked = 0

    def walk(value: Any) -> None:
        nonlocal marked
        if isinstance(value, dict):
            marked += "cache_control" in value
            for name, item in value.items():
                if name not in ("input", "input_schema"):
                    walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(body)
    if marked > MOST_MARKS:
        raise _refused(f"A maximum of 4 blocks with cache_control may be provided. Found {marked}.")


def _text(block: dict[str, Any], where: str) -> None:
    if not block["text"].strip():
        raise _refused(f"{where}: text content blocks must contain non-whitespace text")
    if "cache_control" in block and not block["text"]:
        raise _refused(f"{where}: cache_control cannot be set for empty text blocks")


def _word(pattern: re.Pattern[str], word: str, where: str) -> None:
    if not pattern.fullmatch(word):
        raise _refused(f"{where}: String should match pattern '^{pattern.pattern}$'")


def _refused(detail: str) -> Refused:
    return Refused("rule", detail)
