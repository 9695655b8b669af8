"""Strict check of a Messages request against the types of the `anthropic` package."""

from __future__ import annotations

import collections.abc
import functools
import typing
from typing import Any, Literal, Union

from anthropic.types import message_create_params
from typing_extensions import is_typeddict

from .strict import Refused

#: What the API has and the package's plain client has not: version 2023-06-01, and the beta client.
MORE: dict[str, Any] = {
    "temperature": float, "top_p": float, "top_k": int, "stream": bool, "output_format": dict,
    "context_management": dict, "mcp_servers": list, "anthropic_version": str, "anthropic_beta": list,
}  # fmt: skip


def check_body(body: Any, top: frozenset[str], required: tuple[str, ...] = ("max_tokens", "messages")) -> None:
    """Refuse a body that is not of the API's types, or has a member at its top that is not in `top`."""
    if not isinstance(body, dict):
        raise Refused("shape", "the body must be a JSON object")
    for name in body:
        if name not in top:
            raise Refused("shape", f"{name}: Extra inputs are not permitted")
    hints = members(message_create_params.MessageCreateParamsBase) | MORE
    for name, value in body.items():
        _check(hints[name], value, name)
    for name in required:
        if name not in body:
            raise Refused("shape", f"{name}: Field required")


@functools.cache
def members(kind: Any) -> dict[str, Any]:
    """The members of a TypedDict and their types."""
    return {name: _bare(hint) for name, hint in typing.get_type_hints(kind, include_extras=False).items()}


def _bare(hint: Any) -> Any:
    origin = typing.get_origin(hint)
    name = getattr(origin, "_name", None) or getattr(origin, "__name__", "")
    if name in ("Required", "NotRequired", "Annotated", "ReadOnly"):
        return _bare(typing.get_args(hint)[0])
    return hint


def _check(hint: Any, value: Any, where: str) -> None:
    hint = _bare(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return
    if origin is Union:
        _union(args, value, where)
    elif origin is Literal:
        if value not in args:
            raise Refused("shape", f"{where}: Input should be one of {args}, not {_show(value)}")
    elif is_typeddict(hint):
        _struct(hint, value, where)
    elif origin in (list, collections.abc.Iterable, collections.abc.Sequence):
        if not isinstance(value, list):
            raise Refused("shape", f"{where}: Input should be a valid list")
        for index, item in enumerate(value):
            _check(args[0], item, f"{where}.{index}")
    elif hint is dict or origin is dict:
        if not isinstance(value, dict):
            raise Refused("shape", f"{where}: Input should be a valid dictionary")
    elif hint is list:
        if not isinstance(value, list):
            raise Refused("shape", f"{where}: Input should be a valid list")
    elif hint in (str, int, float, bool):
        fits = isinstance(value, (int, float) if hint is float else hint)
        if not fits or (isinstance(value, bool) and hint is not bool):
            raise Refused("shape", f"{where}: Input should be a valid {hint.__name__}, not {_show(value)}")
    elif hint is type(None):
        if value is not None:
            raise Refused("shape", f"{where}: must be null")
    elif not isinstance(value, str):
        # Base64, and whatever else travels as text.
        raise Refused("shape", f"{where}: Input should be a valid string, not {_show(value)}")


def _union(args: tuple[Any, ...], value: Any, where: str) -> None:
    if value is None and type(None) in args:
        return
    structs = [_bare(arg) for arg in _flat(args) if is_typeddict(_bare(arg))]
    if isinstance(value, dict) and structs:
        for tag in ("type", "role"):
            tagged = [one for one in structs if value.get(tag) in typing.get_args(_bare(_untie(members(one).get(tag))))]
            if tagged and tag in value:
                return _struct(tagged[0], value, where)
            if tag in value and all(tag in members(one) for one in structs):
                raise Refused("shape", f"{where}.{tag}: Input tag {value[tag]!r} does not match any of the expected tags")
        return _struct(structs[0], value, where)
    problems = []
    for arg in args:
        try:
            return _check(arg, value, where)
        except Refused as refused:
            problems.append(refused)
    # The one that got furthest knows best.
    raise max(problems, key=lambda refused: len(refused.detail.partition(":")[0]))


def _flat(args: tuple[Any, ...]) -> list[Any]:
    """The members of a union and of the unions in it."""
    found: list[Any] = []
    for arg in args:
        arg = _bare(arg)
        found += _flat(typing.get_args(arg)) if typing.get_origin(arg) is Union else [arg]
    return found


def _untie(hint: Any) -> Any:
    """`Literal["a"]` of `Optional[Literal["a"]]`."""
    if typing.get_origin(hint) is Union:
        return next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return hint


def _struct(kind: Any, value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise Refused("shape", f"{where}: Input should be a valid dictionary")
    hints = members(kind)
    for name, item in value.items():
        if name in hints:
            _check(hints[name], item, f"{where}.{name}")
        elif getattr(kind, "__pydantic_config__", {}).get("extra") != "allow":
            raise Refused("shape", f"{where}.{name}: Extra inputs are not permitted")
    for name in kind.__required_keys__:
        if name not in value:
            raise Refused("shape", f"{where}.{name}: Field required")


def _show(value: Any) -> str:
    return {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"
            }.get(type(value), "null")  # fmt: skip
