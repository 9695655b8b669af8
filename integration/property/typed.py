"""Makes values of the types that an SDK publishes for requests, so that every documented field comes up."""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Callable
from typing import Any

import typing_extensions

from .dice import Dice

#: Returned by a rule: the field is left out.
OMIT: Any = object()

REQUIRED = (typing.Required, typing_extensions.Required)

#: A rule makes a whole type (`Type`) or one of its fields (`Type.field`).
Rules = dict[str, Callable[[Dice, "Maker"], Any]]


def is_typed_dict(kind: Any) -> bool:
    return typing.is_typeddict(kind) or typing_extensions.is_typeddict(kind)


class Maker:
    """Makes values; rules say what types alone do not, `weights` how often a member of a union comes (1)."""

    def __init__(self, dice: Dice, rules: Rules, weights: dict[str, float], optional: float = 0.3) -> None:
        self.dice = dice
        self._rules = rules
        self._weights = weights
        self._optional = optional
        #: Every `Type.field` that was made.
        self.made: set[str] = set()

    def make(self, kind: Any) -> Any:
        """A value of the type."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if is_typed_dict(kind):
            return self._typed_dict(kind)
        if origin in REQUIRED or origin is typing.Annotated:
            return self.make(arguments[0])
        if origin is typing.Literal:
            return self.dice.choice(arguments)
        if origin is typing.Union:
            return self.make(self._one_of(arguments))
        if origin is dict:
            return {self.dice.mark(): self.make(arguments[1]) for _ in range(self.dice.randint(0, 2))}
        if origin in (list, collections.abc.Iterable, collections.abc.Sequence):
            return [self.make(arguments[0]) for _ in range(self.dice.randint(1, 2))]
        plain: dict[Any, Callable[[], Any]] = {
            str: self.dice.text, bool: lambda: self.dice.maybe(0.5), int: lambda: self.dice.randint(1, 100),
            float: lambda: round(self.dice.uniform(0, 1), 3), object: self.dice.value, type(None): lambda: None,
        }  # fmt: skip
        if kind in plain:
            return plain[kind]()
        if getattr(kind, "__protocol_attrs__", None) or getattr(kind, "_is_protocol", False):  # SequenceNotStr
            return [self.make(arguments[0] if arguments else str)]
        raise TypeError(f"no rule makes {kind!r}")

    def _one_of(self, options: tuple[Any, ...]) -> Any:
        # Files and paths are for the SDK to read; on the wire they are strings.
        options = tuple(one for one in options if one is str or not isinstance(one, type) or one in PLAIN or is_typed_dict(one))
        weights = [self._weights.get(getattr(one, "__name__", ""), 1.0) for one in options]
        return self.dice.choices(options, weights)[0]

    def _typed_dict(self, kind: Any) -> Any:
        whole = self._rules.get(kind.__name__)
        if whole is not None:
            return whole(self.dice, self)
        made = {}
        for name, hint in hints(kind).items():
            # Not `__required_keys__`: the SDKs' annotations are strings, of which it knows nothing.
            chance = 1.0 if typing.get_origin(hint) in REQUIRED else self._weights.get(f"{kind.__name__}.{name}", self._optional)
            if not self.dice.maybe(chance):
                continue
            rule = self._rules.get(f"{kind.__name__}.{name}")
            value = rule(self.dice, self) if rule else self.make(hint)
            if value is not OMIT:
                made[name] = value
                self.made.add(f"{kind.__name__}.{name}")
        return made


PLAIN = (bool, int, float, type(None), object)


def hints(kind: Any) -> dict[str, Any]:
    return typing_extensions.get_type_hints(kind, include_extras=True)


def fields(kind: Any, skip: frozenset[Any] = frozenset(), found: dict[Any, set[str]] | None = None) -> set[str]:
    """Every `Type.field` of a type and of all types in it but `skip`."""
    found = {} if found is None else found
    if is_typed_dict(kind):
        if kind not in found and kind not in skip:
            found[kind] = set(hints(kind))
            for hint in hints(kind).values():
                fields(hint, skip, found)
    else:
        for argument in typing.get_args(kind):
            fields(argument, skip, found)
    return {f"{kind.__name__}.{name}" for kind, names in found.items() for name in names}


def members(kind: Any) -> list[Any]:
    """The TypedDicts among the members of unions and lists."""
    arguments = typing.get_args(kind)
    found = [one for argument in arguments for one in members(argument)] if arguments else [kind]
    return [one for one in found if is_typed_dict(one)]
