"""What Vertex takes as `parametersJsonSchema` and `responseJsonSchema`.

The real service refuses references that it cannot follow and overlooks keywords that it does not know
(https://github.com/googleapis/python-genai/issues/1093). Here both are refused: what is overlooked is lost.
The keywords are those of `GenerationConfig.response_json_schema` in google-genai, and `default`.
"""

from __future__ import annotations

from typing import Any

from .strict import Refused

TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})

#: Keywords that belong to values of one type.
OWN = {
    "properties": ("object",),
    "required": ("object",),
    "additionalProperties": ("object",),
    "propertyOrdering": ("object",),
    "items": ("array",),
    "prefixItems": ("array",),
    "minItems": ("array",),
    "maxItems": ("array",),
    "minimum": ("number", "integer"),
    "maximum": ("number", "integer"),
    "enum": ("string", "number", "integer"),
    "format": ("string", "number", "integer"),
}

FORMATS = {
    "string": ("date-time", "date", "time"),
    "number": ("float", "double"),
    "integer": ("int32", "int64"),
}

NOTES = frozenset({"title", "description", "default"})

#: Levels of schemas inside each other.
MOST_DEPTH = 64


def check_json_schema(root: Any, where: str) -> None:
    """Refuse a schema of which Vertex would refuse or overlook anything."""
    if not isinstance(root, dict):
        raise Refused("rule", f"{where}: must be an object")
    definitions = root.get("$defs", {})
    if not isinstance(definitions, dict):
        raise Refused("rule", f"{where}.$defs: must be an object")
    for name, schema in definitions.items():
        _check(schema, f"{where}.$defs.{name}", definitions, 1)
    if not isinstance(root.get("$schema", ""), str):
        raise Refused("rule", f"{where}.$schema: must be a string")
    rest = {key: value for key, value in root.items() if key not in ("$schema", "$defs")}
    _check(rest, where, definitions, 0)
    for name, schema in definitions.items():
        _circles(schema, definitions, (name,))


def _check(schema: Any, where: str, definitions: dict[str, Any], depth: int) -> None:
    if not isinstance(schema, dict):
        raise Refused("rule", f"{where}: must be an object")
    if depth > MOST_DEPTH:
        raise Refused("rule", f"{where}: schema is too deep")
    if "$ref" in schema:
        if len(schema) > 1:
            raise Refused(
                "rule",
                f"{where}: $ref {schema['$ref']!r} was set alongside unsupported fields. If a schema node has $ref "
                "set, then only description and default can be set alongside it",
            )
        name = schema["$ref"].removeprefix("#/$defs/") if isinstance(schema["$ref"], str) else None
        if name not in definitions or not schema["$ref"].startswith("#/$defs/"):
            raise Refused("rule", f"reference to undefined schema at {where}")
        return
    for name in ("title", "description"):
        if not isinstance(schema.get(name, ""), str):
            raise Refused("rule", f"{where}.{name}: must be a string")
    ruling = set(schema) - NOTES
    choice = ruling & {"anyOf", "oneOf"}
    if choice:
        if len(ruling) > 1:
            raise Refused("rule", f"{where}: {sorted(ruling)}: when using any_of, it must be the only field set")
        branches = schema[choice.pop()]
        if not isinstance(branches, list) or not branches:
            raise Refused("rule", f"{where}: a choice of nothing")
        for index, branch in enumerate(branches):
            _check(branch, f"{where}.anyOf[{index}]", definitions, depth + 1)
        return
    unknown = ruling - set(OWN) - {"type"}
    if unknown:
        raise Refused("rule", f"{where}: {sorted(unknown)} would be overlooked")
    if "type" not in schema:
        if ruling:
            raise Refused("rule", f"{where} schema didn't specify the schema type field.")
        return
    _typed(schema, where, definitions, depth)


def _typed(schema: dict[str, Any], where: str, definitions: dict[str, Any], depth: int) -> None:
    kind = schema["type"]
    if isinstance(kind, list):
        if len(kind) != 2 or kind[1] != "null" or "enum" in schema:
            raise Refused("rule", f"{where}.type: {kind!r}")
        kind = kind[0]
    if kind not in TYPES:
        raise Refused("rule", f"{where}.type: {kind!r}")
    for name in set(schema) & set(OWN):
        if kind not in OWN[name]:
            raise Refused("rule", f"{where}.{name}: field predicate failed: $type is {kind}")
    if "format" in schema and schema["format"] not in FORMATS[kind]:
        raise Refused("rule", f"{where}.format: {schema['format']!r} is not supported for {kind} type")
    if "enum" in schema:
        values = schema["enum"]
        fits = str if kind == "string" else (int, float)
        if not isinstance(values, list) or not values or not all(
            isinstance(value, fits) and not isinstance(value, bool) for value in values
        ):  # fmt: skip
            raise Refused("rule", f"{where}.enum: {values!r}")
    for name in ("minItems", "maxItems"):
        if name in schema and (type(schema[name]) is not int or schema[name] < 0):
            raise Refused("rule", f"{where}.{name}: {schema[name]!r}")
    for name in ("minimum", "maximum"):
        if name in schema and type(schema[name]) not in (int, float):
            raise Refused("rule", f"{where}.{name}: {schema[name]!r}")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise Refused("rule", f"{where}.properties: must be an object")
    for name, inner in properties.items():
        _check(inner, f"{where}.properties.{name}", definitions, depth + 1)
    for list_name in ("required", "propertyOrdering"):
        names = schema.get(list_name, [])
        if not isinstance(names, list) or len(set(names)) != len(names):
            raise Refused("rule", f"{where}.{list_name}: must be an array of names, each once")
        for index, name in enumerate(names):
            if name not in properties:
                raise Refused("rule", f"{where}.{list_name}[{index}]: property is not defined")
    if not isinstance(schema.get("additionalProperties", True), bool):
        _check(schema["additionalProperties"], f"{where}.additionalProperties", definitions, depth + 1)
    if "items" in schema:
        _check(schema["items"], f"{where}.items", definitions, depth + 1)
    for index, inner in enumerate(schema.get("prefixItems", [])):
        _check(inner, f"{where}.prefixItems[{index}]", definitions, depth + 1)


def _circles(schema: dict[str, Any], definitions: dict[str, Any], through: tuple[str, ...]) -> None:
    """Follow what must be there; coming back to where one was means that no value has an end."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if name in through:
            raise Refused(
                "rule",
                "ref loops are only supported if they include optional or nullable property values, or a "
                f"potentially-zero-length array items, but a ref loop of required fields was found at $defs.{name}",
            )
        _circles(definitions[name], definitions, through + (name,))
        return
    required = set(schema.get("required", []))
    parts = [inner for name, inner in schema.get("properties", {}).items() if name in required]
    branches = schema.get("anyOf", schema.get("oneOf", []))
    if not any(branch.get("type") == "null" for branch in branches):
        parts += branches
    if schema.get("minItems", 0) > 0:
        parts += schema.get("prefixItems", [])
        parts += [schema["items"]] if "items" in schema else []
    for part in parts:
        _circles(part, definitions, through)
