"""What Vertex refuses beyond the shape of the body: order of turns, function calls, schemas, thinking budgets.

Messages that are quoted from the real service were collected from public issue threads (2024 to 2026).
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from .gemini_schema import check_json_schema
from .gemini_shapes import SKIP_SIGNATURE
from .replies import SEAL, seal
from .strict import Refused, sniff

FUNCTION_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")

#: https://ai.google.dev/gemini-api/docs/whats-new-gemini-3.6: these models "and all future Gemini model releases".
NO_BEGUN_REPLIES = re.compile(r"gemini-(3\.5-flash-lite|3\.([6-9]|\d\d)|[4-9])")

#: Members of Part of which exactly one must be there.
DATA = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
)

#: https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding (GIF is not among them)
IMAGES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})

#: https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/{document,audio,video}-understanding
FILES = IMAGES | {
    "application/pdf", "text/plain",
    *(f"audio/{kind}" for kind in "x-aac flac mp3 m4a mpeg mpga mp4 ogg pcm wav webm".split()),
    *(f"video/{kind}" for kind in "x-flv quicktime mpeg mpegps mpg mp4 webm wmv 3gpp".split()),
}  # fmt: skip

#: Types whose bytes can be told apart; others are let through with a well-formed name.
TELLING = IMAGES | {"application/pdf", "audio/wav", "audio/flac", "audio/ogg", "audio/mpeg", "video/mp4", "video/webm"}

#: Vertex: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
MOST_STOP_SEQUENCES = 5

#: Least and most thinking budget, and whether 0 turns thinking off:
#: https://cloud.google.com/vertex-ai/generative-ai/docs/thinking
BUDGETS = {
    "gemini-2.5-pro": (128, 32768, False),
    "gemini-2.5-flash-lite": (512, 24576, True),
    "gemini-2.5-flash": (1, 24576, True),
}


def check(model: str, body: dict[str, Any]) -> None:
    """Refuse a body that has the right shape but that Vertex would answer with INVALID_ARGUMENT."""
    contents = body.get("contents")
    if not contents:
        raise Refused("rule", "at least one contents field is required")
    for index, content in enumerate(contents):
        _content(content, f"contents[{index}]")
    if contents[0]["role"] != "user":
        raise Refused("rule", "Please ensure that the first content has role user")
    if contents[-1]["role"] == "model" and NO_BEGUN_REPLIES.match(model):
        raise Refused("rule", "Requests ending with a model turn are not supported.")
    _calls(contents)
    _signatures(model, contents)
    instruction = body.get("systemInstruction")
    if instruction is not None:
        _instruction(instruction)
    names = _tools(body.get("tools"))
    _tool_config(body.get("toolConfig", {}), names)
    config = body.get("generationConfig", {})
    _generation(model, config)
    if names and config.get("responseMimeType") == "application/json" and not is_third_generation(model):
        raise Refused("rule", "Function calling with a response mime type: 'application/json' is unsupported")
    _rest(body)


def is_third_generation(model: str) -> bool:
    """Tell the generations apart by name: from Gemini 3 on, signatures, levels and mixed modes."""
    generation = re.match(r"gemini-(\d+)", model)
    return generation is not None and int(generation.group(1)) >= 3


def _content(content: dict[str, Any], where: str) -> None:
    role = content.get("role")
    if role not in ("user", "model"):
        raise Refused("rule", f"Please use a valid role: user, model ({where} has {role!r})")
    parts = content.get("parts")
    if not parts:
        raise Refused("rule", f"{where}.parts must not be empty")
    for index, part in enumerate(parts):
        here = f"{where}.parts[{index}]"
        data = [name for name in DATA if name in part]
        if len(data) != 1:
            raise Refused("rule", f"{here}: required oneof field 'data' must have one initialized field, has {data}")
        kind = data[0]
        if kind == "text" and not part["text"] and "thoughtSignature" not in part:
            raise Refused("rule", f"{here}: must have a non-empty text parameter")
        if kind == "inlineData":
            _blob(part["inlineData"], f"{here}.inlineData")
        if kind == "fileData" and not (part["fileData"].get("fileUri") and part["fileData"].get("mimeType")):
            raise Refused("rule", f"{here}.fileData: fileUri and mimeType are required")
        if kind == "fileData":
            _file(part["fileData"], f"{here}.fileData")
        if kind == "functionCall":
            _name(part["functionCall"].get("name"), f"{here}.functionCall.name")
        if kind == "functionResponse":
            _name(part["functionResponse"].get("name"), f"{here}.functionResponse.name")
            if "response" not in part["functionResponse"]:
                raise Refused("rule", f"{here}.functionResponse.response: required")
        if (kind == "functionCall" or "thought" in part) and role != "model":
            raise Refused("rule", f"{here}: only the model calls functions and has thoughts")
        if kind == "functionResponse" and role != "user":
            raise Refused("rule", f"{here}: function responses come from the user")


def _name(name: str | None, where: str) -> None:
    if name is None or not FUNCTION_NAME.fullmatch(name):
        raise Refused(
            "rule",
            f"{where}: Invalid function name {name!r}. Must start with a letter or an underscore. Must be "
            "alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), max. length 128.",
        )


def _file(data: dict[str, Any], where: str) -> None:
    if data["mimeType"] not in FILES:
        raise Refused("rule", f"Unable to submit request because it has a mimeType parameter with value "
                      f"{data['mimeType']}, which is not supported.")  # fmt: skip
    if not re.fullmatch(r"(gs|https?)://[^/\s]+/\S+", data["fileUri"]):
        raise Refused("rule", f"{where}.fileUri: Cannot fetch content from the provided URL")


def _blob(blob: dict[str, Any], where: str) -> None:
    mime = blob.get("mimeType")
    if not mime or not re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", mime):
        raise Refused("rule", f"{where}.mimeType: {mime!r}")
    data = base64.b64decode(blob.get("data", ""))
    if not data:
        raise Refused("rule", f"{where}.data: must not be empty")
    if mime.startswith(("image/", "audio/", "video/")) and mime not in FILES:
        raise Refused("rule", f"Unable to submit request because it has a mimeType parameter with value {mime}, "
                      "which is not supported.")  # fmt: skip
    told = sniff(data)
    alike = {"image/heif": "image/heic", "audio/mp3": "audio/mpeg", "audio/x-wav": "audio/wav"}
    if alike.get(mime, mime) in TELLING and told != alike.get(mime, mime):
        raise Refused("rule", f"{where}: Provided image is not valid: the bytes are {told}, not {mime}")


def _calls(contents: list[dict[str, Any]]) -> None:
    """A turn of calls is followed at once by a turn of as many responses, in the same order."""
    pending: list[str] = []
    before: dict[str, Any] | None = None
    for index, content in enumerate(contents):
        responses = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
        if len(responses) != len(pending):
            raise Refused(
                "rule",
                "Please ensure that the number of function response parts is equal to the number of function call "
                f"parts of the function call turn. (contents[{index}] has {len(responses)}, wanted {len(pending)})",
            )
        if responses != pending:
            raise Refused("rule", f"contents[{index}]: responses {responses} answer calls {pending}")
        if responses and len(responses) != len(content["parts"]):
            raise Refused("rule", f"contents[{index}]: function responses and other parts in one turn")
        _ids(before, content)
        pending = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
        if pending and (before is None or before["role"] != "user"):
            raise Refused(
                "rule",
                "Please ensure that function call turn comes immediately after a user turn or after a function "
                "response turn.",
            )
        before = content
    if pending:
        raise Refused("rule", f"the conversation ends with unanswered calls {pending}")


def _ids(calls: dict[str, Any] | None, content: dict[str, Any]) -> None:
    """Ids are optional, but a response that gives one must give its call's."""
    made = [part["functionCall"].get("id") for part in (calls or {"parts": []})["parts"] if "functionCall" in part]
    told = [part["functionResponse"].get("id") for part in content["parts"] if "functionResponse" in part]
    for one, other in zip(made, told):
        if one != other:
            raise Refused("rule", f"functionResponse.id {other!r} answers functionCall.id {one!r}")


def call_seal(call: dict[str, Any]) -> str:
    """The signature that the stand-in gives a call."""
    return seal("call " + call["name"] + json.dumps(call.get("args", {}), sort_keys=True, ensure_ascii=False))


def _signatures(model: str, contents: list[dict[str, Any]]) -> None:
    """Signatures come back untouched and on the part that they were made for; Gemini 3 insists on them."""
    turn_start = max(
        (index for index, content in enumerate(contents)
         if content["role"] == "user" and not any("functionResponse" in part for part in content["parts"])),
        default=0,
    )  # fmt: skip
    for index, content in enumerate(contents):
        first_call = True
        for number, part in enumerate(content["parts"]):
            here = f"contents[{index}].parts[{number}]"
            signature = part.get("thoughtSignature")
            call = part.get("functionCall")
            if signature == SKIP_SIGNATURE or signature == base64.b64encode(SKIP_SIGNATURE.encode()).decode():
                if call is None:
                    raise Refused("rule", f"{here}: {SKIP_SIGNATURE} belongs on a function call")
            elif signature is not None:
                if not base64.b64decode(signature).startswith(SEAL):
                    raise Refused("rule", f"{here}: Corrupted thought signature.")
                if call is not None and signature != call_seal(call):
                    raise Refused("rule", f"{here}: Thought signature is not valid for this call.")
            elif call is not None and first_call and is_third_generation(model) and index > turn_start:
                raise Refused(
                    "rule",
                    f"Unable to submit request because function call `default_api:{call['name']}` in the {index + 1}. "
                    "content block is missing a `thought_signature`.",
                )
            first_call = first_call and call is None


def _instruction(content: dict[str, Any]) -> None:
    if content.get("role", "user") not in ("user", "system"):
        raise Refused("rule", f"systemInstruction.role: {content['role']!r}")
    if not content.get("parts"):
        raise Refused("rule", "systemInstruction.parts must not be empty")
    for index, part in enumerate(content["parts"]):
        if set(part) != {"text"} or not part["text"]:
            raise Refused("rule", f"systemInstruction.parts[{index}]: must be non-empty text and nothing else")


def _tools(tools: list[dict[str, Any]] | None) -> list[str]:
    if tools is None:
        return []
    if not tools:
        raise Refused("rule", "tools: must not be empty")
    names: list[str] = []
    for index, tool in enumerate(tools):
        if len(tool) != 1:
            raise Refused("rule", f"tools[{index}]: tool_type: one of must be set, {sorted(tool)} are")
        declared = tool.get("functionDeclarations")
        if declared is None:
            continue
        if names or len(tools) > 1:
            raise Refused("rule", "Multiple tools are supported only when they are all search tools.")
        if not declared:
            raise Refused("rule", f"tools[{index}].functionDeclarations: must not be empty")
        for number, one in enumerate(declared):
            here = f"tools[{index}].functionDeclarations[{number}]"
            _name(one.get("name"), f"{here}.name")
            if one["name"] in names:
                raise Refused("rule", f"Duplicate function declaration found: {one['name']}")
            names.append(one["name"])
            _parameters(one, here)
    return names


def _parameters(one: dict[str, Any], where: str) -> None:
    for plain, json_schema in (("parameters", "parametersJsonSchema"), ("response", "responseJsonSchema")):
        if plain in one and json_schema in one:
            raise Refused("rule", f"{where}: {plain} and {json_schema} exclude each other")
        if plain in one:
            check_schema(one[plain], f"{where}.{plain}", one[plain])
    if "parameters" in one and one["parameters"].get("type") != "OBJECT":
        raise Refused("rule", f"{where}: {one['name']} functionDeclaration parameters schema should be of type OBJECT.")
    if "parametersJsonSchema" in one:
        schema = one["parametersJsonSchema"]
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise Refused("rule", f"{where}.parametersJsonSchema: The schema must describe an object")
        check_json_schema(schema, f"{where}.parametersJsonSchema")


#: Members of Schema that belong to one type.
OWN = {
    "OBJECT": ("properties", "required", "propertyOrdering", "minProperties", "maxProperties", "additionalProperties"),
    "ARRAY": ("items", "minItems", "maxItems"),
    "STRING": ("minLength", "maxLength", "pattern"),
}
FORMATS = {"NUMBER": ("float", "double"), "INTEGER": ("int32", "int64")}


def check_schema(schema: dict[str, Any], where: str, root: dict[str, Any]) -> None:
    """Check Gemini's own schema dialect, which is OpenAPI's with gaps."""
    if "defs" in schema and schema is not root:
        raise Refused("rule", f"{where}.defs: only allowed at the root of the schema")
    for name, inner in schema.get("defs", {}).items():
        check_schema(inner, f"{where}.defs.{name}", root)
    if "ref" in schema:
        if set(schema) - {"ref", "description", "default"}:
            raise Refused("rule", f"{where}: a schema with ref may only add description and default")
        if schema["ref"].removeprefix("#/defs/") not in root.get("defs", {}):
            raise Refused("rule", f"{where}.ref: {schema['ref']!r} is not in defs")
        return
    if "anyOf" in schema:
        if set(schema) - {"anyOf", "defs"}:
            raise Refused(
                "rule",
                f"{where} schema specified other fields alongside any_of. When using any_of, it must be the only "
                "field set.",
            )
        for index, inner in enumerate(schema["anyOf"]):
            check_schema(inner, f"{where}.anyOf[{index}]", root)
        return
    kind = schema.get("type")
    if kind is None:
        raise Refused("rule", f"{where} schema didn't specify the schema type field.")
    for owner, members in OWN.items():
        for member in members:
            if member in schema and kind != owner:
                raise Refused("rule", f"{where}.{member}: only allowed for {owner} type")
    for member in ("minimum", "maximum"):
        if member in schema and kind not in ("NUMBER", "INTEGER"):
            raise Refused("rule", f"{where}.{member}: only allowed for NUMBER and INTEGER type")
    if schema.get("format") not in FORMATS.get(kind, (schema.get("format"),)) and "format" in schema:
        raise Refused("rule", f"{where}.format: {schema['format']!r} is not supported for {kind} type")
    if "enum" in schema:
        if kind not in ("STRING", "INTEGER") or (kind == "INTEGER" and schema.get("format") != "enum"):
            raise Refused("rule", f"{where}.enum: only allowed for STRING type")
        if not schema["enum"] or not all(schema["enum"]):
            raise Refused("rule", f"{where}.enum: cannot be empty")
    properties = schema.get("properties", {})
    if "properties" in schema and not properties:
        raise Refused("rule", f"{where}.properties: should be non-empty for OBJECT type")
    for list_name in ("required", "propertyOrdering"):
        for index, name in enumerate(schema.get(list_name, [])):
            if name not in properties:
                raise Refused("rule", f"{where}.{list_name}[{index}]: property is not defined")
    for name, inner in properties.items():
        check_schema(inner, f"{where}.properties.{name}", root)
    if kind == "ARRAY":
        if "items" not in schema:
            raise Refused("rule", f"{where}.items: missing field.")
        check_schema(schema["items"], f"{where}.items", root)


def _tool_config(config: dict[str, Any], names: list[str]) -> None:
    calling = config.get("functionCallingConfig")
    if calling is None:
        return
    if not names:
        raise Refused("rule", "Function calling config is set without function_declarations.")
    allowed = calling.get("allowedFunctionNames")
    if allowed is None:
        return
    if calling.get("mode") not in ("ANY", "VALIDATED") or not allowed:
        raise Refused("rule", "allowedFunctionNames: only set when the function calling mode is ANY")
    for name in allowed:
        if name not in names:
            raise Refused("rule", f"allowedFunctionNames: {name!r} is not declared")


def _generation(model: str, config: dict[str, Any]) -> None:
    ranges = {
        "temperature": (0, 2),
        "topP": (0, 1),
        "topK": (1, 1000),
        "candidateCount": (1, 8),
        "maxOutputTokens": (1, 2**31 - 1),
        "presencePenalty": (-2, 2),
        "frequencyPenalty": (-2, 2),
        "seed": (-(2**31), 2**31 - 1),
        "logprobs": (0, 20),
    }
    for name, (least, most) in ranges.items():
        if name in config and not least <= config[name] <= most:
            raise Refused("rule", f"generationConfig.{name}: {config[name]} is not in {least}..{most}")
    for name in ("presencePenalty", "frequencyPenalty"):
        if name in config and is_third_generation(model):
            raise Refused("rule", "Penalty is not enabled for this model")
        if config.get(name) == 2:  # The upper end is exclusive.
            raise Refused("rule", f"generationConfig.{name}: must be below 2")
    if "logprobs" in config and not config.get("responseLogprobs"):
        raise Refused("rule", "generationConfig.logprobs: needs responseLogprobs")
    sequences = config.get("stopSequences", [])
    if len(sequences) > MOST_STOP_SEQUENCES or not all(sequences):
        raise Refused("rule", f"generationConfig.stopSequences: up to {MOST_STOP_SEQUENCES} non-empty strings")
    mime = config.get("responseMimeType", "text/plain")
    if mime not in ("text/plain", "application/json", "text/x.enum"):
        raise Refused("rule", f"generationConfig.responseMimeType: {mime!r}")
    if "responseSchema" in config:
        if mime not in ("application/json", "text/x.enum"):
            raise Refused("rule", "generationConfig.responseSchema needs responseMimeType application/json")
        if "responseJsonSchema" in config:
            raise Refused("rule", "generationConfig: responseSchema and responseJsonSchema exclude each other")
        check_schema(config["responseSchema"], "generationConfig.responseSchema", config["responseSchema"])
    if "responseJsonSchema" in config:
        if mime != "application/json":
            raise Refused("rule", "generationConfig.responseJsonSchema needs responseMimeType application/json")
        check_json_schema(config["responseJsonSchema"], "generationConfig.responseJsonSchema")
    if "thinkingConfig" in config:
        _thinking(model, config["thinkingConfig"])


def _thinking(model: str, thinking: dict[str, Any]) -> None:
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        raise Refused("rule", "You can only set only one of thinking budget and thinking level.")
    if "thinkingLevel" in thinking and not is_third_generation(model):
        raise Refused("rule", "Thinking level is not supported for this model.")
    # BerriAI/litellm-docs pull request 1505.
    if thinking.get("thinkingLevel") == "MINIMAL" and not re.search(r"gemini-3(\.[0-6])?-flash|-lite", model):
        raise Refused("rule", "Thinking level THINKING_LEVEL_MINIMAL is not supported for this model.")
    if re.match(r"gemini-(1|2\.0)", model):
        raise Refused("rule", "Thinking is not supported for this model.")
    budget = thinking.get("thinkingBudget")
    if budget is None or budget == -1:
        return
    for family, (least, most, off) in BUDGETS.items():
        if model.startswith(family):
            if not (least <= budget <= most or (off and budget == 0)):
                raise Refused("rule", f"The thinking budget {budget} is invalid. Please choose a value between "
                              f"{least} and {most}.")  # fmt: skip
            return


def _rest(body: dict[str, Any]) -> None:
    seen = set()
    for index, setting in enumerate(body.get("safetySettings", [])):
        if "category" not in setting or "threshold" not in setting or setting["category"] in seen:
            raise Refused("rule", f"safetySettings[{index}]: one category and threshold each")
        seen.add(setting["category"])
    for key, value in body.get("labels", {}).items():
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            raise Refused("rule", f"labels: {key!r}: {value!r}")
    if "cachedContent" in body:
        if not re.fullmatch(r"projects/[^/]+/locations/[^/]+/cachedContents/[^/]+", body["cachedContent"]):
            raise Refused("rule", f"cachedContent: {body['cachedContent']!r}")
        if {"systemInstruction", "tools", "toolConfig"} & set(body):
            raise Refused("rule", "cachedContent excludes systemInstruction, tools and toolConfig")
