"""A signed request to AWS's GetCallerIdentity as a token: Google's STS would send it, and learn from AWS whose it is.

Its form is told under `subjectToken` in https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_plus

from . import sigv4, sts
from .http import Request
from .sigv4 import Known
from .strict import Refused, parse_json

#: JSON percent-encoded once, by any language's notion of what may stay.
ENCODED = re.compile(r"(?:[A-Za-z0-9_.~!*'()/+-]|%[0-9A-Fa-f]{2})+")

#: AWS's regional endpoints; Google takes the global one as well, which knows only us-east-1.
URL = re.compile(r"https://(?P<host>sts\.(?P<region>[a-z0-9-]+)\.amazonaws\.com)(?P<target>/?\?.*)")
ACTION = "?Action=GetCallerIdentity&Version=2011-06-15"

TARGET = "x-goog-cloud-target-resource"

REQUIRED = {"authorization", "host", "x-amz-date", TARGET}


def check(token: str, audience: str, signed_target: bool, known: Known) -> str:
    """Refuse, or return the subject: the ARN of who has signed, which a pool takes unless told otherwise."""
    if not ENCODED.fullmatch(token):
        raise _bad("Invalid format of AWS credentials: not percent-encoded once")
    value = parse_json(unquote_plus(token).encode())
    if not isinstance(value, dict) or value.keys() != {"url", "method", "headers"} or value["method"] != "POST":
        raise _bad("Invalid format of AWS credentials: an object with url, method POST and headers is wanted")
    url = URL.fullmatch(value["url"]) if isinstance(value["url"], str) else None
    if url is None or url["target"].removeprefix("/") != ACTION:
        raise _bad(f"Invalid format of AWS credentials: the url is not {ACTION} at a regional endpoint of STS")
    headers = _headers(value["headers"])
    if headers["host"] != url["host"]:
        raise _bad(f"Invalid format of AWS credentials: the header host is not {url['host']}")
    if headers[TARGET].removeprefix("https:") != audience:
        raise _bad(f"Invalid format of AWS credentials: {TARGET} is not the audience")
    if signed_target and TARGET not in _signed_names(headers["authorization"]):
        raise _bad(f"Invalid format of AWS credentials: {TARGET} is not signed")
    request = Request("POST", url["target"], list(headers.items()), b"", 0)
    try:
        return sigv4.check(request, headers, url["region"], sts.SERVICE, known).caller.arn
    except Refused as refused:
        raise Refused(
            "signature", f"AWS answered {refused.error} with the message: {refused.detail}", "invalid_grant"
        ) from None


def _headers(pairs: Any) -> dict[str, str]:
    """Headers by lower-case name, from a list of `key` and `value`."""
    found: dict[str, str] = {}
    for pair in pairs if isinstance(pairs, list) else []:
        if not isinstance(pair, dict) or pair.keys() != {"key", "value"}:
            raise _bad("Invalid format of AWS credentials: a header is a key and a value")
        name, value = pair["key"], pair["value"]
        if not isinstance(name, str) or not isinstance(value, str) or name.lower() in found:
            raise _bad("Invalid format of AWS credentials: a header is no text, or comes twice")
        found[name.lower()] = value
    if not REQUIRED <= found.keys() <= REQUIRED | {"x-amz-security-token"}:
        raise _bad(f"Invalid format of AWS credentials: the headers are {', '.join(sorted(found))}")
    return found


def _signed_names(authorization: str) -> list[str]:
    found = re.search(r"SignedHeaders=([^,]*)", authorization)
    return found[1].split(";") if found else []


def _bad(detail: str) -> Refused:
    return Refused("token", detail, "invalid_grant")
