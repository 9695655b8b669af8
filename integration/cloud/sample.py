"""Instances that satisfy a JSON Schema or a Gemini Schema: simple, the same every time."""

from __future__ import annotations

from typing import Any

#: A schema may refer to itself; below this depth only required members are made.
DEEP = 6


def sample(schema: Any, root: Any = None, name: str = "value", depth: int = 0) -> Any:
    """Make an instance of `schema`; `name` flavours its strings."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return {}
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    reference = schema.get("$ref") or schema.get("ref")
    if isinstance(reference, str):
        return sample(_resolve(reference, root), root, name, depth + 1)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            # A way out of a schema that contains itself.
            nothing = next((one for one in schema[key] if one.get("type") == "null"), None) if depth >= DEEP else None
            return sample(nothing or schema[key][0], root, name, depth)
    if schema.get("allOf"):
        merged: dict[str, Any] = {}
        for part in schema["allOf"]:
            made = sample(part, root, name, depth)
            merged |= made if isinstance(made, dict) else {}
        return merged
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    kind = kind.lower() if isinstance(kind, str) else ("object" if "properties" in schema else "string")
    if kind == "object":
        required = set(schema.get("required", []))
        return {
            key: sample(value, root, key, depth + 1)
            for key, value in schema.get("properties", {}).items()
            if depth < DEEP or key in required
        }
    if kind == "array":
        if depth >= DEEP and not schema.get("minItems"):
            return []
        return [sample(schema.get("items", {}), root, name, depth + 1)] * max(1, schema.get("minItems", 1))
    if kind == "integer":
        return int(_number(schema, 7))
    if kind == "number":
        return _number(schema, 7.5)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return _text(schema, name)


def _resolve(reference: str, root: Any) -> Any:
    found = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            found = found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
    return found


def _number(schema: dict[str, Any], fallback: float) -> float:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    if least is not None and fallback <= least:
        return least + 1 if "exclusiveMinimum" in schema else least
    if most is not None and fallback >= most:
        return most - 1 if "exclusiveMaximum" in schema else most
    return fallback


def _text(schema: dict[str, Any], name: str) -> str:
    known = {
        "date": "2026-11-21",
        "date-time": "2026-11-21T04:19:00Z",
        "time": "04:19:00Z",
        "email": "someone@example.com",
        "uri": "https://example.com/",
        "uuid": "00000000-0000-4000-8000-000000000000",
        "byte": "c3RhbmQtaW4=",
    }.get(schema.get("format", ""))
    text = known or f"sample {name} Ä😀"
    text += "x" * (schema.get("minLength", 0) - len(text))
    return text[: schema.get("maxLength", len(text))]
