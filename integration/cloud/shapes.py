"""Strict check of a JSON body against the shapes of botocore's service models."""

from __future__ import annotations

import functools
import re
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape

from .strict import Refused, decode_base64


@functools.cache
def service(name: str) -> ServiceModel:
    """Load a service model that comes with botocore."""
    return ServiceModel(Loader().load_service_model(name, "service-2"), name)


def check_body(shape: StructureShape, body: Any) -> None:
    """Refuse a body with unknown members, wrong types, missing members or values outside the model's bounds."""
    if not isinstance(body, dict):
        raise Refused("shape", "the body must be a JSON object")
    elsewhere = {name for name, member in shape.members.items() if "location" in member.serialization}
    _structure(shape, body, "", elsewhere)


def check_text(shape: StringShape, value: str, where: str) -> None:
    """Check one string that came outside the body, such as a path segment."""
    _string(shape, value, where)


def _check(shape: Shape, value: Any, where: str) -> None:
    if value is None:
        raise Refused("shape", f"{where}: null")
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_document_type", False):
            return
        if not isinstance(value, dict):
            raise Refused("shape", f"{where}: must be an object")
        _structure(shape, value, where, frozenset())
    elif kind == "list":
        _list(shape, value, where)
    elif kind == "map":
        _map(shape, value, where)
    elif kind == "string":
        _string(shape, value, where)
    elif kind in ("integer", "long"):
        if not isinstance(value, int) or isinstance(value, bool):
            raise Refused("shape", f"{where}: must be a whole number, not {_show(value)}")
        _bounds(shape, value, where)
    elif kind in ("float", "double"):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise Refused("shape", f"{where}: must be a number, not {_show(value)}")
        _bounds(shape, value, where)
    elif kind == "boolean":
        if not isinstance(value, bool):
            raise Refused("shape", f"{where}: must be true or false, not {_show(value)}")
    elif kind == "blob":
        if not isinstance(value, str):
            raise Refused("shape", f"{where}: must be base64 text, not {_show(value)}")
        _bounds(shape, len(decode_base64(value, where)), where, "length")
    else:
        raise Refused("shape", f"{where}: the stand-in knows no {kind}")


def _structure(shape: StructureShape, value: dict[str, Any], where: str, elsewhere: frozenset[str] | set[str]) -> None:
    members = {
        member.serialization.get("name", name): member
        for name, member in shape.members.items()
        if name not in elsewhere
    }
    for name in value:
        if name not in members:
            raise Refused("shape", f"{_join(where, name)}: unknown member of {shape.name}")
    for name in shape.required_members:
        if name not in elsewhere and name not in value:
            raise Refused("shape", f"{_join(where, name)}: required by {shape.name}")
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        raise Refused("shape", f"{where}: {shape.name} must have exactly one member, not {sorted(value)}")
    for name, item in value.items():
        _check(members[name], item, _join(where, name))


def _list(shape: ListShape, value: Any, where: str) -> None:
    if not isinstance(value, list):
        raise Refused("shape", f"{where}: must be an array")
    _bounds(shape, len(value), where, "length")
    for index, item in enumerate(value):
        _check(shape.member, item, f"{where}[{index}]")


def _map(shape: MapShape, value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise Refused("shape", f"{where}: must be an object")
    _bounds(shape, len(value), where, "size")
    for name, item in value.items():
        _check(shape.key, name, f"{where} key {name!r}")
        _check(shape.value, item, _join(where, name))


def _string(shape: Shape, value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise Refused("shape", f"{where}: must be a string, not {_show(value)}")
    if shape.enum and value not in shape.enum:
        raise Refused("shape", f"{where}: {value!r} is not one of {', '.join(shape.enum)}")
    _bounds(shape, len(value), where, "length")
    pattern = shape.metadata.get("pattern")
    if pattern is not None and not _compiled(pattern).fullmatch(value):
        raise Refused("shape", f"{where}: {value[:80]!r} does not match {pattern}")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _bounds(shape: Shape, value: float, where: str, what: str = "value") -> None:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and value < least:
        raise Refused("shape", f"{where}: {what} {value} is below {least}")
    if most is not None and value > most:
        raise Refused("shape", f"{where}: {what} {value} is above {most}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _show(value: Any) -> str:
    return {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"
            }.get(type(value), "null")  # fmt: skip
