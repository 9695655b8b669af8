"""AWS's query protocol: a form as the members of a botocore shape, checked; answers and errors as XML."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any
from xml.sax.saxutils import escape

from botocore.model import ListShape, Shape, StructureShape

from .strict import Refused

#: The error for every parameter that is not as the model says.
INVALID = "ValidationError"

def members(shape: StructureShape, told: dict[str, str]) -> dict[str, Any]:
    """The members of a structure, out of `Name`, `List.member.1` and `List.member.1.Name`; refuses what is wrong."""
    tree: dict[str, Any] = {}
    for name, value in told.items():
        *above, last = name.split(".")
        node = tree
        for part in above:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise Refused("shape", f"parameter {name} is below a value", INVALID)
        if last in node:
            raise Refused("shape", f"parameter {name} is a value and a list", INVALID)
        node[last] = value
    found = _member(shape, tree, "")
    problems = list(_problems(shape, found, ""))
    if problems:
        detail = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: {'; '.join(problems)}"
        raise Refused("shape", detail, INVALID)
    return found


def _member(shape: Shape, node: Any, where: str) -> Any:
    if isinstance(node, str):
        if shape.type_name == "integer":
            if not re.fullmatch(r"-?[0-9]{1,9}", node):
                raise Refused("shape", f"parameter {where} is no whole number", INVALID)
            return int(node)
        if shape.type_name == "string":
            return node
    elif isinstance(shape, StructureShape):
        for name in node:
            if name not in shape.members:
                raise Refused("shape", f"unknown parameter {where}{name}", INVALID)
        return {name: _member(shape.members[name], item, f"{where}{name}.") for name, item in node.items()}
    elif isinstance(shape, ListShape) and set(node) == {"member"} and isinstance(node["member"], dict):
        items = node["member"]
        if set(items) == {str(index + 1) for index in range(len(items))}:
            return [_member(shape.member, items[str(index + 1)], f"{where}member.") for index in range(len(items))]
    raise Refused("shape", f"parameter {where.rstrip('.')} is no {shape.type_name}", INVALID)


def _problems(shape: Shape, value: Any, where: str) -> Any:
    """Every constraint that does not hold, in AWS's words."""
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            if name not in value:
                yield _problem("null", _below(where, name), "must not be null")
        for name, item in value.items():
            yield from _problems(shape.members[name], item, _below(where, name))
        return
    told = "" if shape.metadata.get("sensitive") or isinstance(shape, ListShape) else f"'{value}'"
    size, of = (value, "value") if shape.type_name == "integer" else (len(value), "length")
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name == "string":
        pattern = shape.metadata.get("pattern")
        if pattern is not None and not _compiled(pattern).fullmatch(value):
            yield _problem(told, where, f"must satisfy regular expression pattern: {pattern}")
    if most is not None and size > most:
        yield _problem(told, where, f"must have {of} less than or equal to {most}")
    if least is not None and size < least:
        yield _problem(told, where, f"must have {of} greater than or equal to {least}")
    if isinstance(shape, ListShape):
        for index, item in enumerate(value):
            yield from _problems(shape.member, item, f"{where}.{index + 1}.member")


def _problem(told: str, where: str, constraint: str) -> str:
    return f"Value {told + ' ' if told else ''}at '{where}' failed to satisfy constraint: Member {constraint}"


def _below(where: str, name: str) -> str:
    name = name[0].lower() + name[1:]
    return f"{where}.{name}" if where else name


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """AWS's patterns are Java's: without classes of Unicode unless named, such as `\\p{L}`, which Python has not."""
    return re.compile(re.sub(r"\\p\{([A-Z])\}", lambda found: _category(found[1]), pattern), re.ASCII)


@functools.cache
def _category(letter: str) -> str:
    """The characters of a general category as ranges of a character class."""
    ranges: list[list[int]] = []
    # The basic plane: all planes take half a second, in which no port would answer.
    for code in range(0x10000):
        if unicodedata.category(chr(code))[0] == letter:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


def answer(action: str, namespace: str, result: dict[str, Any], request_id: str) -> bytes:
    """A successful answer; None stands for what is left out."""
    metadata = {"RequestId": request_id}
    return _document(f"{action}Response", namespace, {f"{action}Result": result, "ResponseMetadata": metadata})


def error(namespace: str, code: str, message: str, request_id: str) -> bytes:
    """An error that the caller has made."""
    told = {"Type": "Sender", "Code": code, "Message": message}
    return _document("ErrorResponse", namespace, {"Error": told, "RequestId": request_id})


def _document(name: str, namespace: str, content: dict[str, Any]) -> bytes:
    lines = [f'<{name} xmlns="{namespace}">', *_lines(content, "  "), f"</{name}>"]
    return "\n".join(lines).encode() + b"\n"


def _lines(content: dict[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, value in content.items():
        if isinstance(value, dict):
            lines += [f"{indent}<{name}>", *_lines(value, indent + "  "), f"{indent}</{name}>"]
        elif value is not None:
            lines.append(f"{indent}<{name}>{escape(str(value))}</{name}>")
    return lines
