"""Checks a resource against the shapes that Istio publishes (crds.json): every field must be known there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

SHAPES = json.loads(Path(__file__).with_name("crds.json").read_text())

#: What JSON calls its types in Python; a bool is no number in JSON.
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}


def problems(resource: dict[str, Any]) -> list[str]:
    """What is wrong with a resource, each with its path."""
    kind = f"{resource['apiVersion']}/{resource['kind']}"
    if kind not in SHAPES:
        return [f"{kind} is none of those that are known here"]
    return _problems(resource["spec"], SHAPES[kind], "spec")


def _problems(value: Any, shape: dict[str, Any], path: str) -> list[str]:
    if value is None:
        return [] if shape.get("nullable") else [f"{path}: is null"]
    if shape.get("x-kubernetes-int-or-string"):
        return [] if isinstance(value, (int, str)) else [f"{path}: is neither number nor string"]
    wanted = shape.get("type")
    if wanted and (not isinstance(value, TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")):
        return [f"{path}: is no {wanted}"]
    found = []
    if "enum" in shape and value not in shape["enum"]:
        found.append(f"{path}: is none of {', '.join(shape['enum'])}")
    if isinstance(value, str):
        found += _text(value, shape, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += _problems(item, shape.get("items", {}), f"{path}[{index}]")
        if len(value) < shape.get("minItems", 0) or len(value) > shape.get("maxItems", len(value)):
            found.append(f"{path}: has {len(value)} items")
    elif isinstance(value, dict):
        found += _fields(value, shape, path)
    elif not isinstance(value, bool):
        if value < shape.get("minimum", value) or value > shape.get("maximum", value):
            found.append(f"{path}: is out of bounds")
    return found + _choices(value, shape, path)


def _text(value: str, shape: dict[str, Any], path: str) -> list[str]:
    if "pattern" in shape and not re.search(shape["pattern"], value):
        return [f"{path}: does not match {shape['pattern']}"]
    if len(value) < shape.get("minLength", 0) or len(value) > shape.get("maxLength", len(value)):
        return [f"{path}: is {len(value)} long"]
    return []


def _fields(value: dict[str, Any], shape: dict[str, Any], path: str) -> list[str]:
    found = [f"{path}.{name}: is missing" for name in shape.get("required", []) if name not in value]
    known, others = shape.get("properties", {}), shape.get("additionalProperties")
    # Kubernetes drops what a shape does not know; here it is a mistake. Shapes inside `oneOf` know nothing.
    closed = "type" in shape and not others and not shape.get("x-kubernetes-preserve-unknown-fields")
    for name, inner in value.items():
        if name in known:
            found += _problems(inner, known[name], f"{path}.{name}")
        elif isinstance(others, dict):
            found += _problems(inner, others, f"{path}.{name}")
        elif closed:
            found.append(f"{path}.{name}: is unknown")
    return found


def _choices(value: Any, shape: dict[str, Any], path: str) -> list[str]:
    def fits(inner: dict[str, Any]) -> bool:
        return not _problems(value, inner, path)

    found = []
    if "oneOf" in shape and sum(map(fits, shape["oneOf"])) != 1:
        found.append(f"{path}: must be exactly one of its choices")
    if "anyOf" in shape and not any(map(fits, shape["anyOf"])):
        found.append(f"{path}: is none of its choices")
    for inner in shape.get("allOf", []):
        found += _problems(value, inner, path)
    if "not" in shape and fits(shape["not"]):
        found.append(f"{path}: is what it must not be")
    return found
