"""What Bedrock refuses beyond the shape of the body: order of turns, tool calls, media, Claude's thinking.

Messages that are quoted from the real service were collected from public issue threads (2024 to 2026).
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from .replies import seal
from .strict import Refused, sniff

#: Message members of https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html
MOST_IMAGES = 20
MOST_IMAGE_BYTES = 3_932_160
MOST_DOCUMENTS = 5
MOST_DOCUMENT_BYTES = 4_718_592
#: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
MOST_CACHE_POINTS = 4

DOCUMENT_NAME = re.compile(r"[A-Za-z0-9()\[\]-]+(\s[A-Za-z0-9()\[\]-]+)*")

#: Narrower than Converse's ToolUseId.
CLAUDE_ID = re.compile(r"[a-zA-Z0-9_-]+")

#: Fields of Claude's own API that Converse passes on; it answers 400 for any other.
CLAUDE_FIELDS = frozenset(
    {
        "anthropic_beta",
        "context_management",
        "output_config",
        "reasoning_config",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
    }
)


def check(model: str, body: dict[str, Any], counting: bool = False, stream: bool = False) -> None:
    """Refuse a body that has the right shape but that Bedrock would answer with ValidationException."""
    messages = body.get("messages", [])
    if not messages and not counting:
        raise Refused("rule", "messages: at least one message is required")
    if "system" in body and not body["system"]:
        raise Refused("rule", "system: must not be empty")
    claude = "anthropic.claude" in model
    _prompt(model, body)
    _family(model, body, stream)
    _roles(messages)
    for index, message in enumerate(messages):
        _content(message, f"messages.{index}.content", claude)
    _media(messages)
    for index, block in enumerate(body.get("system", [])):
        if "text" in block:
            _not_blank(block["text"], f"system.{index}")
    _cache_points(body)
    tools = _tools(body.get("toolConfig"))
    _pairs(messages)
    used = any(kind in block for message in messages for block in message["content"] for kind in TOOL_BLOCKS)
    if used and "toolConfig" not in body:
        raise Refused(
            "rule", "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        )
    _output(body.get("outputConfig", {}))
    if claude:
        _claude(model, body, messages, tools)
    _nova(body)


TOOL_BLOCKS = ("toolUse", "toolResult")

#: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
OF_THE_PROMPT = ("additionalModelRequestFields", "inferenceConfig", "system", "toolConfig")


def _prompt(model: str, body: dict[str, Any]) -> None:
    """Prompt management: a prompt brings its own settings, and only a prompt has variables."""
    if ":prompt/" not in model:
        # Bedrock ignores them; nobody should send what is ignored.
        if "promptVariables" in body:
            raise Refused("rule", "promptVariables: the model is no prompt")
        return
    for name in OF_THE_PROMPT:
        if name in body:
            raise Refused("rule", f"{name}: can't be included with a prompt of Prompt management")


#: What belongs to the beginning of a model's name, and what of Converse such a model does not take.
#: https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html,
#: structured-output.html beside it; the choices as its users met them (strands-agents/sdk-python issue 1241).
LACKS = {
    "meta.llama3-2-1b": "image toolConfig textFormat",
    "meta.llama3-2-3b": "image toolConfig textFormat",
    "meta.llama3-1": "image any tool streaming textFormat",
    "meta.llama3-2": "any tool streaming textFormat",
    "meta.llama3-3": "image any tool streaming textFormat",
    "meta.llama4": "any tool streaming textFormat",
    "mistral.mistral-7b": "system image toolConfig textFormat",
    "mistral.mixtral": "system image toolConfig textFormat",
    "mistral.mistral-large-24": "image tool streaming textFormat",
    "amazon.titan-text": "system image toolConfig textFormat",
    "amazon.nova-micro": "image textFormat",
    "amazon.nova": "textFormat",
    "anthropic.claude-opus-5-5": "any tool",
    "anthropic.claude-sonnet-5-5": "any tool",
    "anthropic.claude-fable-5-1": "any tool",
    "anthropic.claude-3": "textFormat",
    "anthropic.claude-sonnet-4-2": "textFormat",
    "anthropic.claude-opus-4-2": "textFormat",
    "anthropic.claude-opus-4-1": "textFormat",
    "ai21.jamba": "image streaming textFormat",
    "cohere.command-r": "image textFormat",
    "openai.gpt-oss": "image",
}


def _family(model: str, body: dict[str, Any], stream: bool) -> None:
    lacks = next((words.split() for name, words in LACKS.items() if name in model), [])
    config = body.get("toolConfig", {})
    blocks = [block for message in body.get("messages", []) for block in message["content"]]
    blocks += [inner for block in blocks for inner in block.get("toolResult", {}).get("content", [])]
    used = {
        "system": "system" in body,
        "image": any("image" in block for block in blocks),
        "toolConfig": bool(config),
        "any": "any" in config.get("toolChoice", {}),
        "tool": "tool" in config.get("toolChoice", {}),
        "streaming": stream and bool(config),
        "textFormat": "textFormat" in body.get("outputConfig", {}),
    }
    for word in lacks:
        if used[word]:
            what = "tool use in streaming mode" if word == "streaming" else f"the {word} field. Remove {word} and try again"
            raise Refused("rule", f"This model doesn't support {what}.")


def _tool_choice(extra: dict[str, Any], config: dict[str, Any]) -> None:
    """Claude's own tool_choice beside Converse's: messages of litellm issues 36536 and 22637."""
    own = extra.get("tool_choice")
    if own is None:
        return
    beside = next(iter(config.get("toolChoice", {})), None)
    if beside is not None and "type" in own:
        raise Refused(
            "rule",
            f"The additional field tool_choice/type conflicts with the existing field toolConfig.toolChoice.{beside}. "
            "Remove tool_choice/type and try again.",
        )
    if beside is None and "type" not in own:
        raise Refused("rule", "The model returned the following errors: tool_choice.type: Field required")
    if not config:
        raise Refused("rule", "The model returned the following errors: tool_choice: no tools were provided")


def _roles(messages: list[dict[str, Any]]) -> None:
    for index, message in enumerate(messages):
        expected = "assistant" if index % 2 else "user"
        if message["role"] != expected:
            raise Refused(
                "rule",
                "A conversation must start with a user message and alternate between user and assistant roles: "
                f"messages.{index} has role {message['role']}",
            )


def _content(message: dict[str, Any], where: str, claude: bool) -> None:
    content = message["content"]
    if not content:
        raise Refused("rule", f"The content field at {where} is empty. Add a ContentBlock object and try again.")
    for index, block in enumerate(content):
        here = f"{where}.{index}"
        kind = next(iter(block))
        if kind == "text":
            _not_blank(block["text"], here)
        elif kind in ("toolAddition", "toolRemoval"):
            raise Refused("rule", f"{here}: {kind} belongs into a system message")
        elif kind in ("toolUse", "reasoningContent", "citationsContent"):
            if message["role"] != "assistant":
                raise Refused("rule", f"{here}: {kind} is only valid in an assistant message")
        elif kind in ("toolResult", "image", "document", "video", "audio", "guardContent", "searchResult"):
            if message["role"] != "user":
                raise Refused("rule", f"{here}: {kind} is only valid in a user message")
        if kind == "toolUse" and not isinstance(block["toolUse"]["input"], dict):
            raise Refused("rule", f"The format of the value at {here}.toolUse.input is invalid. Provide a json object")
        if kind == "toolResult":
            _tool_result(block["toolResult"], here)
        if kind == "reasoningContent" and claude:
            _thought(block["reasoningContent"], here)
    if message["role"] == "user":
        # Anthropic: in a user message that answers tool calls, the results come first.
        kinds = ["toolResult" in block for block in content if "cachePoint" not in block]
        if kinds != sorted(kinds, reverse=True):
            raise Refused("rule", f"{where}: toolResult blocks must come before all other blocks")


def _not_blank(text: str, where: str) -> None:
    if not text.strip():
        raise Refused(
            "rule",
            f"The text field in the ContentBlock object at {where} is blank. Add text to the text field, and try again.",
        )


def _tool_result(result: dict[str, Any], where: str) -> None:
    if not result["content"] and result.get("status") == "error":
        raise Refused("rule", f"The content field at {where}.toolResult cannot be empty when status value is error.")
    for index, item in enumerate(result["content"]):
        here = f"{where}.toolResult.content.{index}"
        if "text" in item:
            # Accepted by some models and refused by others ("must contain non-whitespace text"): never safe.
            _not_blank(item["text"], here)
        if "json" in item and not isinstance(item["json"], dict):
            raise Refused("rule", f"The format of the value at {here}.json is invalid. Provide a json object")


def _thought(thought: dict[str, Any], where: str) -> None:
    text = thought.get("reasoningText")
    if text is not None and text.get("signature") != seal(text["text"]):
        raise Refused("rule", f"{where}: Invalid `signature` in `thinking` block")


def _media(messages: list[dict[str, Any]]) -> None:
    images, names, documents = 0, set(), 0
    for index, message in enumerate(messages):
        blocks = list(message["content"])
        own = {id(block) for block in blocks}
        for block in message["content"]:
            blocks += block.get("toolResult", {}).get("content", [])
        for block in blocks:
            if "image" in block:
                images += 1
                _image(block["image"], f"messages.{index}")
            if "document" in block:
                documents += 1
                _document(block["document"], names, f"messages.{index}")
                if id(block) in own and not any("text" in other for other in message["content"]):
                    raise Refused("rule", f"messages.{index}: a document needs a text block beside it")
    if images > MOST_IMAGES:
        raise Refused("rule", f"too many images: {images}, at most {MOST_IMAGES}")
    if documents > MOST_DOCUMENTS:
        raise Refused("rule", f"too many documents: {documents}, at most {MOST_DOCUMENTS}")


def _image(image: dict[str, Any], where: str) -> None:
    data = image["source"].get("bytes")
    if data is None:
        return
    raw = base64.b64decode(data)
    if len(raw) > MOST_IMAGE_BYTES:
        raise Refused("rule", f"{where}: image exceeds {MOST_IMAGE_BYTES} bytes")
    if sniff(raw) != f"image/{image['format']}":
        raise Refused("rule", f"{where}: Could not process image: the bytes are {sniff(raw)}, not {image['format']}")


def _document(document: dict[str, Any], names: set[str], where: str) -> None:
    name = document["name"]
    if not DOCUMENT_NAME.fullmatch(name):
        raise Refused("rule", f"{where}: The document file name {name!r} has characters that are not allowed")
    if name in names:
        raise Refused("rule", f"{where}: document name {name!r} occurs twice")
    names.add(name)
    data = document["source"].get("bytes")
    if data is None:
        return
    raw = base64.b64decode(data)
    if len(raw) > MOST_DOCUMENT_BYTES:
        raise Refused("rule", f"{where}: document exceeds {MOST_DOCUMENT_BYTES} bytes")
    if "format" not in document:
        raise Refused("rule", f"{where}: document bytes need a format")
    if (document["format"] == "pdf") != (sniff(raw) == "application/pdf"):
        raise Refused("rule", f"{where}: the document's bytes are not {document['format']}")


def _cache_points(body: dict[str, Any]) -> None:
    lists = [body.get("system", []), body.get("toolConfig", {}).get("tools", [])]
    lists += [message["content"] for message in body.get("messages", [])]
    total = 0
    for blocks in lists:
        for index, block in enumerate(blocks):
            if "cachePoint" in block:
                total += 1
                if index == 0 or "cachePoint" in blocks[index - 1]:
                    raise Refused("rule", "a cachePoint must follow the content that it caches")
    if total > MOST_CACHE_POINTS:
        raise Refused("rule", f"{total} cachePoint blocks, at most {MOST_CACHE_POINTS}")


def _tools(config: dict[str, Any] | None) -> list[str]:
    if config is None:
        return []
    names: list[str] = []
    for index, tool in enumerate(config["tools"]):
        spec = tool.get("toolSpec") or tool.get("systemTool")
        if spec is None:
            continue
        if spec["name"] in names:
            raise Refused("rule", f"toolConfig.tools.{index}: tool name {spec['name']!r} occurs twice")
        names.append(spec["name"])
        if "toolSpec" in tool:
            _input_schema(spec, f"toolConfig.tools.{index}.toolSpec.inputSchema.json")
    if not names:
        raise Refused("rule", "toolConfig.tools: no tool")
    wanted = config.get("toolChoice", {}).get("tool", {}).get("name")
    if wanted is not None and wanted not in names:
        raise Refused("rule", f"toolConfig.toolChoice.tool.name: Tool {wanted!r} not found in provided tools")
    return names


def _input_schema(spec: dict[str, Any], where: str) -> None:
    schema = spec["inputSchema"]["json"]
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise Refused("rule", f'The value at {where}.type must be one of the following: "object".')
    if spec.get("strict"):
        closed_schema(schema, where)


#: https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html and
#: https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
NOT_ENFORCED = (
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems uniqueItems "
    "minProperties maxProperties patternProperties not if"
).split()


def closed_schema(schema: Any, where: str) -> None:
    """Structured output takes only objects that say additionalProperties: false, and no bounds of values."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            closed_schema(item, f"{where}[{index}]")
        return
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        if schema.get("additionalProperties") is not False:
            raise Refused("rule", f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false")
    for name in NOT_ENFORCED:
        if name in schema:
            raise Refused("rule", f"{where}: For '{kind}' type, property '{name}' is not supported")
    if schema.get("minItems", 0) not in (0, 1):
        raise Refused("rule", f"{where}: For 'array' type, 'minItems' values other than 0 or 1 are not supported")
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            for name, inner in value.items():
                closed_schema(inner, f"{where}.{key}.{name}")
        elif key in ("items", "anyOf", "oneOf", "allOf"):
            closed_schema(value, f"{where}.{key}")


def _pairs(messages: list[dict[str, Any]]) -> None:
    """Every tool call is answered in the next message, and nothing else is."""
    seen: set[str] = set()
    open_calls: list[str] = []
    for index, message in enumerate(messages):
        answered = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        missing = [call for call in open_calls if call not in answered]
        if missing:
            raise Refused(
                "rule",
                f"Expected toolResult blocks at messages.{index}.content for the following Ids: {', '.join(missing)}",
            )
        if len(answered) > len(open_calls) or len(set(answered)) < len(answered):
            raise Refused(
                "rule",
                f"The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks "
                "of previous turn.",
            )
        open_calls = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        for call in open_calls:
            if call in seen:
                raise Refused("rule", f"messages.{index}.content: `toolUse` ids must be unique, {call!r} is not")
            seen.add(call)
    if open_calls:
        raise Refused("rule", f"the conversation ends with unanswered toolUse {open_calls[0]!r}")


def _output(config: dict[str, Any]) -> None:
    text_format = config.get("textFormat")
    if text_format is None:
        return
    try:
        schema = json.loads(text_format["structure"]["jsonSchema"]["schema"])
    except ValueError as error:
        raise Refused("rule", f"outputConfig.textFormat: the schema is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise Refused("rule", "outputConfig.textFormat: the schema must be an object")
    closed_schema(schema, "outputConfig.textFormat.schema")


def _nova(body: dict[str, Any]) -> None:
    """https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html"""
    extra = body.get("additionalModelRequestFields", {})
    if not isinstance(extra, dict) or extra.get("reasoningConfig", {}).get("maxReasoningEffort") != "high":
        return
    inference = body.get("inferenceConfig", {})
    if {"maxTokens", "temperature", "topP"} & set(inference) or "inferenceConfig" in extra:
        raise Refused("rule", "Temperature, topP and topK cannot be used with maxReasoningEffort set to high.")


def _claude(model: str, body: dict[str, Any], messages: list[dict[str, Any]], tools: list[str]) -> None:
    extra = body.get("additionalModelRequestFields", {})
    if not isinstance(extra, dict):
        raise Refused("rule", "additionalModelRequestFields: must be an object")
    for name in extra:
        if name not in CLAUDE_FIELDS:
            raise Refused("rule", f"The model returned the following errors: {name}: Extra inputs are not permitted")
    _tool_choice(extra, body.get("toolConfig", {}))
    for index, message in enumerate(messages):
        for block in message["content"]:
            if "toolUse" in block and not CLAUDE_ID.fullmatch(block["toolUse"]["toolUseId"]):
                raise Refused("rule", f"messages.{index}: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    inference = body.get("inferenceConfig", {})
    for index, sequence in enumerate(inference.get("stopSequences", [])):
        if not sequence.strip():
            raise Refused("rule", f"stop_sequences.{index}: each stop sequence must contain non-whitespace")
    if messages and messages[-1]["role"] == "assistant":
        last = messages[-1]["content"][-1].get("text")
        if last is not None and last != last.rstrip():
            raise Refused("rule", "messages: final assistant content cannot end with trailing whitespace")
    thinking = extra.get("thinking", {})
    if not isinstance(thinking, dict):
        raise Refused("rule", "thinking: must be an object")
    if thinking:
        claude_thinks(model, str(thinking.get("type")))
    if thinking.get("type") in ("enabled", "adaptive"):
        choice = {} if THINKS_THOUGH_FORCED.search(model) else body.get("toolConfig", {}).get("toolChoice", {})
        _thinking(thinking, inference, choice, messages)
    if any("video" in block or "audio" in block for message in messages for block in message["content"]):
        raise Refused("rule", "This model doesn't support the video content block.")


#: langchain-ai/langchain-aws pull request 1141.
THINKS_THOUGH_FORCED = re.compile(r"claude-(opus-4-8|[a-z]+-5)")

#: What each takes beside `adaptive`, by the beginning of its name: the pages "What's new" of the models,
#: https://platform.claude.com/docs/en/models/opus-5/whats-new-opus-5 and so on.
THINKING_TYPES = {
    "opus-5-5": (),
    "sonnet-5-5": ("between_tools",),
    "haiku-5-5": ("disabled",),
    "fable": (),
    "mythos": (),
    "opus-5": ("disabled",),
    "sonnet-5": ("disabled",),
    "opus-4-7": ("disabled",),
    "opus-4-8": ("disabled",),
}


def claude_thinks(model: str, kind: str) -> None:
    """Refuse a type of thinking that this Claude does not know."""
    name = model.rpartition("claude-")[2]
    known = next((types for start, types in THINKING_TYPES.items() if name.startswith(start)), ("enabled", "disabled"))
    if kind not in (*known, "adaptive"):
        raise Refused(
            "rule",
            f'"thinking.type.{kind}" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.',
        )


def _thinking(thinking: dict[str, Any], inference: dict[str, Any], choice: dict[str, Any], messages: list[Any]) -> None:
    """Rules of https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html"""
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1024:
            raise Refused("rule", "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if inference.get("maxTokens", 0) <= budget:
            raise Refused("rule", "`max_tokens` must be greater than `thinking.budget_tokens`")
    if inference.get("temperature", 1) != 1:
        raise Refused("rule", "`temperature` may only be set to 1 when thinking is enabled")
    if inference.get("topP", 1) < 0.95:
        raise Refused("rule", "`top_p` must be greater than or equal to 0.95 when thinking is enabled")
    if "any" in choice or "tool" in choice:
        raise Refused("rule", "Thinking may not be enabled when tool_choice forces tool use.")
    if messages[-1]["role"] == "assistant":
        raise Refused("rule", "an assistant message cannot be prefilled when thinking is enabled")
    # "When using adaptive thinking, previous assistant turns don't need to start with thinking blocks":
    # https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking
    manual = thinking["type"] == "enabled"
    if manual and len(messages) > 1 and any("toolResult" in block for block in messages[-1]["content"]):
        if "reasoningContent" not in messages[-2]["content"][0]:
            raise Refused(
                "rule",
                f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`. When "
                "`thinking` is enabled, a final `assistant` message must start with a thinking block",
            )
