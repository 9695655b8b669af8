"""Strict check of JSON against the TypedDicts of a vendor's package: unknown, missing and mistyped members are refused."""

from __future__ import annotations

import collections.abc
import functools
import types
from typing import Any, Literal, Union, get_args, get_origin

from typing_extensions import NotRequired, Required, get_type_hints

from .strict import Refused


def check(value: Any, kind: Any, where: str) -> None:
    """Refuse a value that does not fit the type."""
    problem = _problem(value, kind, where)
    if problem:
        raise Refused("shape", problem)


@functools.cache
def _members(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


@functools.cache
def _required(kind: Any) -> frozenset[str]:
    """Not `__required_keys__`: the packages' annotations are strings, of which it knows nothing."""
    hints = get_type_hints(kind, include_extras=True)
    wrapped = {name for name, hint in hints.items() if get_origin(hint) in (Required, NotRequired)}
    required = {name for name, hint in hints.items() if get_origin(hint) is Required}
    return frozenset(required | (kind.__required_keys__ - wrapped if kind.__total__ else set()))


def _problem(value: Any, kind: Any, where: str) -> str | None:
    """What is wrong with the value; None where nothing is."""
    if kind is Any or kind is object:
        return None
    if kind is type(None):
        return None if value is None else f"{where}: must be null"
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(value, get_args(kind), where)
    if origin is Literal:
        return None if value in get_args(kind) else f"{where}: {value!r} is none of {get_args(kind)}"
    if hasattr(kind, "__required_keys__"):
        return _typed_dict(value, kind, where)
    if origin is dict:
        if not isinstance(value, dict):
            return f"{where}: must be an object"
        inner = get_args(kind)[1]
        return _first(_problem(one, inner, f"{where}.{name}") for name, one in value.items())
    if origin is not None and issubclass(origin, collections.abc.Iterable) or origin in (list, tuple):
        if not isinstance(value, list):
            return f"{where}: must be an array"
        inner = get_args(kind)[0]
        return _first(_problem(one, inner, f"{where}[{index}]") for index, one in enumerate(value))
    if kind is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif kind is int:
        good = isinstance(value, int) and not isinstance(value, bool)
    elif kind in (str, bool):
        good = isinstance(value, kind)
    else:
        return f"{where}: the stand-in does not know the type {kind!r}"
    return None if good else f"{where}: must be {kind.__name__}, not {type(value).__name__}"


def _first(problems: collections.abc.Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem), None)


def _union(value: Any, kinds: tuple[Any, ...], where: str) -> str | None:
    """The problem with the member that fits best: the one whose `type` or `role` is the value's."""
    problems = [_problem(value, kind, where) for kind in kinds]
    if None in problems:
        return None
    if isinstance(value, dict):
        for kind, problem in zip(kinds, problems):
            for tag in ("role", "type"):
                wanted = _members(kind).get(tag) if hasattr(kind, "__required_keys__") else None
                if wanted is not None and get_origin(wanted) is Literal and value.get(tag) in get_args(wanted):
                    return problem
    return problems[0]


def _typed_dict(value: Any, kind: Any, where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where}: must be an object"
    members = _members(kind)
    for name in value:
        if name not in members:
            return f"{where}.{name}: unknown parameter"
    for name in sorted(_required(kind)):
        if name not in value:
            return f"{where}.{name}: missing required parameter"
    return _first(_problem(one, members[name], f"{where}.{name}") for name, one in value.items())
