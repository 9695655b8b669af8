"""The stand-in for the GCE metadata server: hands out access tokens that the Vertex stand-in knows."""

from __future__ import annotations

import re
from typing import Any

from .bearer import CLOUD_PLATFORM
from .delivery import Whole
from .http import Request, json_bytes
from .issuer import Issuer, page
from .state import State, Token
from .strict import Refused

TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"

HOST = re.compile(r"(metadata\.google\.internal|metadata|169\.254\.169\.254|127\.0\.0\.1|localhost)(:\d+)?")

#: Headers of the client that must not be sent along to fetch a token.
LEAKS = ("authorization", "x-api-key", "api-key", "cookie", "x-goog-api-key", "openai-organization")


class Metadata(Issuer):
    """Handler of the metadata port."""

    name = "metadata"

    def check(self, request: Request, entry: dict[str, Any]) -> None:
        _check(request)

    def give(self, asked: None, entry: dict[str, Any]) -> bytes:
        token = issue(self.state)
        entry["principal"] = token.principal
        lifetime = int(self.state.settings.metadata.lifetime_s)
        return json_bytes({"access_token": token.value, "expires_in": lifetime, "token_type": "Bearer"})

    def refusal(self, refused: Refused) -> Whole:
        return page(404 if refused.kind == "path" else 403, refused, self.head())

    def head(self) -> dict[str, str]:
        return {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}


def issue(state: State) -> Token:
    """A new token of the machine's account."""
    settings = state.settings.metadata
    return state.issue(settings.email, frozenset({CLOUD_PLATFORM}), settings.lifetime_s)


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
