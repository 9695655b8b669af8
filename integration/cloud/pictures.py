"""Images as the clouds make them, small but real, and the checks that all image APIs share."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Collection
from typing import Any

from .replies import Reply, Turn
from .strict import Refused

#: The smallest JPEG there is.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP////////////////////////////////////////////////////////////////////"
    "//////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA="
)


def png(width: int, height: int, size: int = 0) -> bytes:
    """A black PNG of so many pixels, padded to at least `size` bytes."""
    rows = (b"\0" + b"\0" * ((width + 7) // 8)) * height
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    chunks += [(b"stAn", bytes(range(256)) * (size // 256))] if size else []
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks + [(b"IEND", b"")])


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg(size: int = 0) -> bytes:
    """A JPEG of one pixel, padded with comments to at least `size` bytes."""
    comment = b"\xff\xfe" + struct.pack(">H", 60000) + b"x" * 59998
    return JPEG[:2] + comment * -(-size // len(comment)) + JPEG[2:]


def encoded(reply: Reply, media_type: str, width: int, height: int) -> str:
    """One image in base64."""
    size = reply.pictures.size
    image = jpeg(size) if media_type == "image/jpeg" else png(width, height, size)
    return base64.b64encode(image).decode()


def turn(api: Any, prompt: str) -> Turn:
    """What a script may know of a request for images."""
    return Turn(
        cloud=api.cloud, place=api.place, model=api.model, stream=False, messages=1, last_text=prompt,
        tool_results=[], images=0, words=len(prompt.split()), tools=[], forced_tool=None, schema=None,
        marked_text=prompt,
    )  # fmt: skip


# Checks of members; `where` is the path that the refusal names.


def members(value: Any, known: Collection[str], where: str, required: Collection[str] = ()) -> dict[str, Any]:
    """An object with no other members than these."""
    if not isinstance(value, dict):
        raise Refused("shape", f"{where}: must be an object")
    for name in value:
        if name not in known:
            raise Refused("shape", f"{where}: extraneous key [{name}] is not permitted")
    for name in required:
        if name not in value:
            raise Refused("shape", f"{where}: required key [{name}] not found")
    return value


def text(value: Any, most: int, where: str) -> str:
    """A text that is not blank and not too long."""
    if not isinstance(value, str):
        raise Refused("shape", f"{where}: must be a string")
    if not value.strip() or len(value) > most:
        raise Refused("rule", f"{where}: must have 1 to {most} characters, not {len(value)}")
    return value


def whole(value: Any, least: int, most: int, where: str) -> int:
    """A whole number between two bounds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused("shape", f"{where}: must be a whole number")
    if not least <= value <= most:
        raise Refused("rule", f"{where}: must be from {least} to {most}, not {value}")
    return value


def number(value: Any, least: float, most: float, where: str) -> float:
    """A number between two bounds."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise Refused("shape", f"{where}: must be a number")
    if not least <= value <= most:
        raise Refused("rule", f"{where}: must be from {least} to {most}, not {value}")
    return value


def one_of(value: Any, words: Collection[str], where: str) -> str:
    """One of some words."""
    if value not in words:
        raise Refused("rule", f"{where}: {value!r} is not one of {', '.join(words)}")
    return value


def flag(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Refused("shape", f"{where}: must be true or false")
    return value
