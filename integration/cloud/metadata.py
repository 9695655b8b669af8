"""The stand-in for the GCE metadata server: hands out access tokens that the Vertex stand-in knows."""

from __future__ import annotations

import re

from .http import Closed, Exchange, Gone, Request, json_bytes
from .state import State
from .strict import Refused

TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"

HOST = re.compile(r"(metadata\.google\.internal|metadata|169\.254\.169\.254|127\.0\.0\.1|localhost)(:\d+)?")

#: Headers of the client that must not be sent along to fetch a token.
LEAKS = ("authorization", "x-api-key", "api-key", "cookie", "x-goog-api-key", "openai-organization")


class Metadata:
    """Handler of the metadata port."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, request: Request, exchange: Exchange) -> None:
        entry = self._state.arrived("metadata", request)
        outcome = "crashed"
        headers = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
        try:
            _check(request)
            self._state.counters["metadata.token_calls"] += 1
            settings = self._state.settings.metadata
            if settings.delay_s:
                await exchange.wait(settings.delay_s)
            if settings.body is not None or settings.status != 200:
                body = (settings.body or "").encode()
            else:
                token = self._state.issue()
                body = json_bytes(
                    {"access_token": token.value, "expires_in": int(settings.lifetime_s), "token_type": "Bearer"}
                )
            await exchange.whole(settings.status, headers | {"Content-Type": settings.content_type}, body)
            outcome = "sent"
        except Refused as refused:
            outcome = "refused"
            self._state.refused("metadata", refused, entry)
            status = 404 if refused.kind == "path" else 403
            page = f"<!DOCTYPE html><title>Error {status}</title><p>{refused.detail}".encode()
            await exchange.whole(status, headers | {"Content-Type": "text/html; charset=UTF-8"}, page)
        except Gone:
            outcome = "client_gone"
            raise
        except Closed:
            outcome = "dropped"
            raise
        finally:
            self._state.finished(entry, outcome, exchange.status)


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
