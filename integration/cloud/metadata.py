"""The stand-in for the GCE metadata server: hands out access tokens that the Vertex stand-in knows."""

from __future__ import annotations

import re
from typing import Any

from .delivery import Whole
from .frame import Port, Refusal
from .http import Exchange, Request, json_bytes
from .strict import Refused

HEAD = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}

TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"

HOST = re.compile(r"(metadata\.google\.internal|metadata|169\.254\.169\.254|127\.0\.0\.1|localhost)(:\d+)?")

#: Headers of the client that must not be sent along to fetch a token.
LEAKS = ("authorization", "x-api-key", "api-key", "cookie", "x-goog-api-key", "openai-organization")


class Metadata(Port):
    """Handler of the metadata port."""

    name = "metadata"

    async def answer(self, request: Request, exchange: Exchange, entry: dict[str, Any]) -> None:
        try:
            _check(request)
        except Refused as refused:
            raise Refusal(refused, _page(refused)) from None
        self.state.counters["metadata.token_calls"] += 1
        settings = self.state.settings.metadata
        if settings.delay_s:
            await exchange.wait(settings.delay_s)
        if settings.body is not None or settings.status != 200:
            body = (settings.body or "").encode()
        else:
            token = self.state.issue()
            body = json_bytes(
                {"access_token": token.value, "expires_in": int(settings.lifetime_s), "token_type": "Bearer"}
            )
        await exchange.whole(settings.status, HEAD | {"Content-Type": settings.content_type}, body)


def _page(refused: Refused) -> Whole:
    status = 404 if refused.kind == "path" else 403
    page = f"<!DOCTYPE html><title>Error {status}</title><p>{refused.detail}".encode()
    return status, HEAD | {"Content-Type": "text/html; charset=UTF-8"}, page


def _check(request: Request) -> None:
    """https://cloud.google.com/compute/docs/metadata/querying-metadata: the flavor is required, a proxy refused."""
    headers = [(name.lower(), value) for name, value in request.headers]
    found = dict(headers)
    if len(found) != len(headers):
        raise Refused("headers", "a header arrived twice")
    if found.get("metadata-flavor") != "Google":
        raise Refused("headers", "Metadata-Flavor: Google is missing")
    if "x-forwarded-for" in found:
        raise Refused("headers", "X-Forwarded-For is set")
    for name in LEAKS:
        if name in found:
            raise Refused("headers", f"header {name} must not reach the metadata server")
    if not HOST.fullmatch(found.get("host", "")):
        raise Refused("headers", f"host is {found.get('host')!r}")
    if request.body:
        raise Refused("http", "a body on GET")
    if request.method != "GET" or request.target != TOKEN_PATH:
        raise Refused("path", f"{request.method} {request.target} is not known here")
