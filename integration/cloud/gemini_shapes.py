"""Strict check of a generateContent body against google-genai's published types, narrowed to what Vertex takes."""

from __future__ import annotations

import enum
import functools
import types as python_types
import typing
from typing import Any

import pydantic
from google.genai import types

from .strict import Refused, decode_base64

#: The REST body. google-genai's own top level mixes it with client options, so it is spelled out here after
#: `_GenerateContentConfig_to_vertex` and https://cloud.google.com/vertex-ai/docs/reference/rest/v1/GenerateContentRequest
BODY: dict[str, Any] = {
    "contents": list[types.Content],
    "systemInstruction": types.Content,
    "tools": list[types.Tool],
    "toolConfig": types.ToolConfig,
    "safetySettings": list[types.SafetySetting],
    "generationConfig": types.GenerationConfig,
    "cachedContent": str,
    "labels": dict[str, str],
    "modelArmorConfig": types.ModelArmorConfig,
}

#: The body of countTokens: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/publishers.models/countTokens
COUNT_BODY: dict[str, Any] = {
    "contents": list[types.Content],
    "systemInstruction": types.Content,
    "tools": list[types.Tool],
    "generationConfig": types.GenerationConfig,
}

#: Members that the types share with the Gemini Developer API and that google-genai refuses to send to Vertex
#: (`raise ValueError` in its `_…_to_vertex` functions), or that are for live sessions or output only.
NOT_VERTEX: dict[type, frozenset[str]] = {
    types.Part: frozenset({"toolCall", "toolResponse", "partMetadata", "audioTranscription"}),
    types.FunctionResponse: frozenset({"willContinue", "scheduling"}),
    types.FunctionResponsePart: frozenset({"mediaProcessing"}),
    types.FunctionDeclaration: frozenset({"behavior"}),
    types.ToolConfig: frozenset({"includeServerSideToolInvocations"}),
    types.Tool: frozenset({"fileSearch", "mcpServers"}),
    types.GenerationConfig: frozenset({"enableEnhancedCivicAnswers", "modelSelectionConfig"}),
}

#: Members of the REST type that google-genai keeps elsewhere.
ALSO: dict[type, dict[str, Any]] = {
    types.GenerationConfig: {"imageConfig": types.ImageConfig, "modelConfig": types.ModelSelectionConfig},
}


def check_body(body: Any, shape: dict[str, Any] = BODY) -> None:
    """Refuse unknown members, names that are not camelCase, wrong types, unknown enum words and bad base64."""
    if not isinstance(body, dict):
        raise Refused("shape", "the body must be a JSON object")
    for name, value in body.items():
        if name not in shape:
            raise Refused("shape", f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        _check(shape[name], value, name)


def _check(wanted: Any, value: Any, where: str) -> None:
    if wanted is Any:  # google.protobuf.Value, which may be null.
        return
    if value is None:
        raise Refused("shape", f"{where}: null")
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, python_types.UnionType):
        _union(wanted, value, where)
    elif origin is typing.Annotated:
        _check(typing.get_args(wanted)[0], value, where)
    elif origin is typing.Literal:
        if value not in typing.get_args(wanted):
            raise Refused("shape", f"{where}: {value!r} is not one of {typing.get_args(wanted)}")
    elif origin is list:
        if not isinstance(value, list):
            raise Refused("shape", f"{where}: must be an array")
        for index, item in enumerate(value):
            _check(typing.get_args(wanted)[0], item, f"{where}[{index}]")
    elif origin is dict:
        if not isinstance(value, dict):
            raise Refused("shape", f"{where}: must be an object")
        for name, item in value.items():
            _check(typing.get_args(wanted)[1], item, f"{where}.{name}")
    elif isinstance(wanted, type) and issubclass(wanted, pydantic.BaseModel):
        _model(wanted, value, where)
    elif isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        words = [word.value for word in wanted]
        if value not in words or value.endswith("_UNSPECIFIED"):
            raise Refused("shape", f"Invalid value at '{where}' ({wanted.__name__}), {value!r}")
    else:
        _scalar(wanted, value, where)


def _union(wanted: Any, value: Any, where: str) -> None:
    choices = [one for one in typing.get_args(wanted) if one is not type(None)]
    if len(choices) == 1:
        _check(choices[0], value, where)
        return
    reasons = []
    for one in choices:
        try:
            _check(one, value, where)
            return
        except Refused as refused:
            reasons.append(refused.detail)
    raise Refused("shape", f"{where}: fits none of the alternatives: {'; '.join(reasons)}")


@functools.cache
def _members(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    barred = NOT_VERTEX.get(model, frozenset())
    found = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in found.items() if name not in barred} | ALSO.get(model, {})


def _model(model: type[pydantic.BaseModel], value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise Refused("shape", f"{where}: must be an object")
    members = _members(model)
    for name, item in value.items():
        if name not in members:
            raise Refused(
                "shape", f'Invalid JSON payload received. Unknown name "{name}" at \'{where}\': Cannot find field.'
            )
        _check(members[name], item, f"{where}.{name}")


def _scalar(wanted: Any, value: Any, where: str) -> None:
    if wanted is str:
        good = isinstance(value, str)
    elif wanted is bool:
        good = isinstance(value, bool)
    elif wanted is int:
        good = isinstance(value, int) and not isinstance(value, bool)
    elif wanted is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif wanted is bytes:
        if not isinstance(value, str):
            raise Refused("shape", f"{where}: must be base64 text")
        # The one documented signature that is no base64; gemini_rules decides where it may stand.
        if not (where.endswith(".thoughtSignature") and value == SKIP_SIGNATURE):
            decode_base64(value, where)
        return
    else:
        raise Refused("shape", f"{where}: the stand-in knows no {wanted}")
    if not good:
        raise Refused("shape", f"{where}: must be {wanted.__name__}, not {type(value).__name__}")


#: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures#using-rest-or-manual-handling
SKIP_SIGNATURE = "skip_thought_signature_validator"
