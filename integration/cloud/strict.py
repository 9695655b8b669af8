"""Checks that all clouds share: headers that may arrive, strict JSON, base64 and media types."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any, Iterable
from urllib.parse import unquote_plus


class Refused(Exception):
    """A request that the stand-in does not accept.

    `kind` is one word for tests to filter by: http, headers, path, json, form, shape, rule, signature, token.
    `error` overrides the error name that the cloud would use; None leaves the choice to the cloud.
    """

    def __init__(self, kind: str, detail: str, error: str | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.error = error


#: Headers that a gateway may send to either cloud. Everything else is a leak from the client or from Envoy.
COMMON_HEADERS = frozenset(
    {
        "host",
        "content-type",
        "content-length",
        "transfer-encoding",
        "accept",
        "authorization",
        "connection",
        "traceparent",
        "tracestate",
        "user-agent",
    }
)

#: A client's user agent is a leak; the gateway's own is not.
OUR_USER_AGENT = re.compile(r"fairlead(/[0-9A-Za-z.+-]+)?")

#: The types of bodies.
JSON = re.compile(r"application/json(; ?charset=utf-8)?", re.IGNORECASE)
FORM = re.compile(r"application/x-www-form-urlencoded(; ?charset=utf-8)?", re.IGNORECASE)

#: A host name that tells nothing of the endpoint that was meant.
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")

ACCEPTABLE = frozenset({"*/*", "application/json", "text/event-stream", "application/vnd.amazon.eventstream"})


def check_headers(
    headers: list[tuple[str, str]],
    own: Iterable[str],
    tolerated: Iterable[str],
    content: re.Pattern[str] | None = JSON,
) -> dict[str, str]:
    """Refuse duplicates and anything outside the allow list; return the headers by lower-case name.

    `own` are the cloud's own headers, `tolerated` are those a test has allowed through the control port, `content` is
    the content type that there must be, None where there is no body.
    """
    allowed = COMMON_HEADERS | set(own)
    tolerated = set(tolerated)
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in found:
            raise Refused("headers", f"header {lower} arrived twice")
        if lower not in allowed and lower not in tolerated:
            raise Refused("headers", f"header {lower} must not reach the cloud")
        found[lower] = value
    if "host" not in found:
        raise Refused("headers", "header host is missing")
    agent = found.get("user-agent")
    if agent is not None and "user-agent" not in tolerated and not OUR_USER_AGENT.fullmatch(agent):
        raise Refused("headers", "header user-agent is not the gateway's own")
    if found.get("connection", "keep-alive").lower() not in ("keep-alive", "close"):
        raise Refused("headers", "header connection names other headers")
    kind = found.get("content-type")
    if (content is None) != (kind is None) or (content is not None and not content.fullmatch(kind)):
        raise Refused("headers", f"header content-type is {kind!r}, which this endpoint does not take")
    accept = found.get("accept")
    if accept is not None and "accept" not in tolerated and accept not in ACCEPTABLE:
        raise Refused("headers", f"header accept is {accept!r}, which this endpoint does not produce")
    return found


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Refused("json", f"key {key!r} occurs twice in one object")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise Refused("json", f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Refused("json", f"number {text} is out of range")
    return value


def parse_json(body: bytes) -> Any:
    """Parse a request body: UTF-8 without BOM, no duplicate keys, no NaN, no lone surrogates."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("json", f"the body is not UTF-8: {error}") from None
    if text.startswith("\ufeff"):
        raise Refused("json", "the body starts with a byte order mark")
    try:
        value = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite
        )
    except RecursionError:
        raise Refused("json", "the body is nested too deeply") from None
    except ValueError as error:
        raise Refused("json", f"the body is not JSON: {error}") from None
    if "\\u" in text:  # Only an escape can make one: decoding UTF-8 refuses raw surrogates.
        _no_lone_surrogates(value)
    return value


def _no_lone_surrogates(value: Any) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Refused("json", "a string holds half a surrogate pair") from None
    elif isinstance(value, list):
        for item in value:
            _no_lone_surrogates(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _no_lone_surrogates(key)
            _no_lone_surrogates(item)


#: What https://url.spec.whatwg.org/#urlencoded-serializing leaves as it is; `~` is left by some, and means itself.
FORM_TEXT = re.compile(r"(?:[A-Za-z0-9*._~+-]|%[0-9A-Fa-f]{2})*")


def parse_form(body: bytes) -> dict[str, str]:
    """Parse a form: every name once, nothing raw that a serialiser would have encoded."""
    found: dict[str, str] = {}
    for pair in body.decode("latin-1").split("&"):
        name, equals, value = pair.partition("=")
        if not name or not equals or not FORM_TEXT.fullmatch(name) or not FORM_TEXT.fullmatch(value):
            raise Refused("form", f"parameter {name!r} is not form-urlencoded")
        try:
            name, value = (unquote_plus(text, errors="strict") for text in (name, value))
        except UnicodeDecodeError:
            raise Refused("form", f"parameter {name!r} is not UTF-8") from None
        if name in found:
            raise Refused("form", f"parameter {name!r} occurs twice")
        found[name] = value
    return found


def decode_base64(text: str, where: str) -> bytes:
    """Decode canonical standard base64: padded, no line breaks, no stray bits."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("shape", f"{where}: not base64: {error}") from None
    if base64.b64encode(data).decode() != text:
        raise Refused("shape", f"{where}: not canonical base64")
    return data


def sniff(data: bytes) -> str | None:
    """Name the media type by its first bytes; None when they are not known here."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio/wav"
    if data.startswith(b"%PDF-"):
        return "application/pdf"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "image/heic"
    if data[4:8] == b"ftyp":
        return "video/mp4"
    if data.startswith(b"ID3") or data[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        return "audio/mpeg"
    if data.startswith(b"fLaC"):
        return "audio/flac"
    if data.startswith(b"OggS"):
        return "audio/ogg"
    if data.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm"
    return None
