"""The stand-in for a URL where a workload gets its own token, such as Azure's machines and GitHub's jobs have it."""

from __future__ import annotations

from typing import Any

from .delivery import Whole
from .frame import CALL_HEADERS
from .http import Request, json_bytes
from .issuer import Issuer
from .strict import Refused, check_headers


class Subject(Issuer):
    """Handler of the port: `GET` of the target that the settings tell."""

    name = "subject"
    call = "subject"

    def check(self, request: Request, entry: dict[str, Any]) -> None:
        settings = self.state.settings.subject
        own = (*CALL_HEADERS, *settings.headers)
        found = check_headers(request.headers, own, self.state.settings.allow_headers, None)
        for name, value in settings.headers.items():
            if found.get(name) != value:
                raise Refused("headers", f"header {name} must be {value!r}")
        if "authorization" in found.keys() - settings.headers.keys():
            raise Refused("headers", "header authorization must not reach this URL")
        if request.body:
            raise Refused("http", "a body on GET")
        if request.method != "GET" or request.target != settings.target:
            raise Refused("path", f"{request.method} {request.target} is not known here")

    def give(self, asked: None, entry: dict[str, Any]) -> bytes:
        settings = self.state.settings.subject
        if settings.json_field is None:
            return settings.token.encode()
        return json_bytes({"token_type": "Bearer", settings.json_field: settings.token})

    def refusal(self, refused: Refused) -> Whole:
        status = 404 if refused.kind == "path" else 400
        return status, {"Content-Type": "application/json"}, json_bytes({"error": refused.detail})

    def head(self) -> dict[str, str]:
        return {"Cache-Control": "no-store"}
