"""Chance that repeats: odd texts, JSON and JSON Schemas from one seed."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

#: What makes texts hard: white space, quoting, markup, every length of UTF-8, joiners, directions, controls.
ODD = (
    "", " ", "\n", "\t", "\r\n", '"', "\\", "\\n", "</s>", "data: [DONE]\n\n", "é", "ß", "漢字", "😀", "👩\u200d🚀", "e\u0301",
    "\u200fعربي", "\u2028", "\x7f", "\u0001", "\ufeff", "{}", "null", "%2F", "${x}", "'",
)  # fmt: skip

#: Texts of which nothing is to be seen; clouds refuse them in many places.
BLANK = ("", " ", "\n\n", "\t", "\u00a0")

#: A text's own word, by which a test sees whether it arrived.
MARK = re.compile(r"mk\d+n\d+q")

#: The smallest files that the clouds take for what they are, by media type.
FILES = {
    "image/png": b"\x89PNG\r\n\x1a\n" + bytes(24),
    "image/jpeg": b"\xff\xd8\xff\xe0" + bytes(24),
    "image/gif": b"GIF89a" + bytes(24),
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(24),
    "application/pdf": b"%PDF-1.4\n%%EOF\n",
    "audio/wav": b"RIFF\x10\0\0\0WAVEfmt " + bytes(24),
    "audio/mp3": b"ID3\x03" + bytes(24),
}


class Dice(random.Random):
    """All the chance of one request."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._seed = seed
        self._marks = 0

    def maybe(self, chance: float) -> bool:
        return self.random() < chance

    def some(self, options: Sequence[T], most: int) -> list[T]:
        """Up to `most` of the options, in any order."""
        return self.sample(options, self.randint(0, min(most, len(options))))

    def mark(self) -> str:
        self._marks += 1
        return f"mk{self._seed}n{self._marks}q"

    def name(self, most: int = 0) -> str:
        """What every API takes for a name; some are as long as they may be."""
        name = f"{self.choice(('get', 'set', 'a-b', 'do_it', 'X'))}_{self.mark()}"
        return name.ljust(most, "_") if self.maybe(0.1) else name

    def text(self, blank: float = 0.02) -> str:
        """Any text; one that is not blank holds a mark."""
        if self.maybe(blank):
            return self.choice(BLANK)
        return self.choice(ODD) + self.mark() + "".join(self.choices(ODD, k=self.randint(0, 3)))

    def file(self, kinds: Sequence[str]) -> tuple[str, str]:
        """The media type and the base64 of a small file."""
        kind = self.choice(kinds)
        return kind, base64.b64encode(FILES[kind]).decode()

    def value(self, depth: int = 2) -> Any:
        """Any JSON."""
        kind = self.randint(0, 7 if depth else 5)
        if kind < 2:
            return self.text()
        if kind == 6:
            return [self.value(depth - 1) for _ in range(self.randint(0, 3))]
        if kind == 7:
            return self.object(depth - 1)
        return (self.randint(-(10**6), 10**6), self.uniform(-1e6, 1e6), self.maybe(0.5), None)[kind - 2]

    def object(self, depth: int = 2) -> dict[str, Any]:
        """Any JSON object."""
        return {self.choice(ODD) + self.mark(): self.value(depth) for _ in range(self.randint(0, 3))}

    def schema(self, strict: bool = False) -> dict[str, Any]:
        """A JSON Schema of an object; a strict one keeps to what structured outputs allow."""
        schema = self._object_schema(2, strict)
        if self.maybe(0.2):
            schema["$defs"] = {"Node": self._object_schema(0, strict), "Word": {"type": "string", "enum": ["a", "b"]}}
            schema["properties"]["node"] = {"$ref": "#/$defs/Node"}
            schema["properties"]["words"] = {"type": "array", "items": {"$ref": "#/$defs/Word"}}
            if strict:
                schema["required"] = list(schema["properties"])
        return schema

    def _object_schema(self, depth: int, strict: bool) -> dict[str, Any]:
        properties = {self.name(): self._schema(depth, strict) for _ in range(self.randint(0, 3))}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if strict:
            schema |= {"required": list(properties), "additionalProperties": False}
        else:
            if self.maybe(0.5):
                schema["required"] = self.some(list(properties), 3)
            if self.maybe(0.4):
                schema["additionalProperties"] = self.choice([False, True, {"type": "string"}])
            if self.maybe(0.1):
                schema["title"] = self.text()
        return schema

    def _schema(self, depth: int, strict: bool) -> dict[str, Any]:
        """One of the forms that generators of schemas write."""
        forms: list[dict[str, Any]] = [
            {"type": "string"},
            {"type": "integer", "minimum": 0, "maximum": 10},
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "boolean"},
            {"type": "string", "enum": ["a", "b"]},
            {"enum": ["x", 1, None]},
            {"const": "only"},
            {"type": ["string", "null"]},
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            {"type": "string", "format": self.choice(["date-time", "email", "uuid", "uri"])},
            {"type": "string", "pattern": "^[a-z]+$", "maxLength": 20},
        ]
        if depth:
            inner = self._schema(depth - 1, strict)
            forms += [
                {"type": "array", "items": inner},
                {"type": "array", "items": inner, "minItems": 1, "maxItems": 3},
                {"anyOf": [inner, {"type": "string"}]},
                self._object_schema(depth - 1, strict),
            ]
            if not strict:
                forms += [
                    {"oneOf": [inner, {"type": "null"}]}, {"allOf": [inner]}, {}, {"type": "array"}, {"type": "object"},
                    {"type": "object", "additionalProperties": inner}, {"type": "string", "default": "d", "examples": ["e"]},
                    {"type": "array", "prefixItems": [inner]}, {"not": {"type": "null"}},
                ]  # fmt: skip
        schema = dict(self.choice(forms))
        if self.maybe(0.3):
            schema["description"] = self.text()
        return schema
