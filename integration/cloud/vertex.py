"""The stand-in for Google's Vertex AI: its APIs, and the token that all of them want."""

from __future__ import annotations

import re

from . import embeddings, google
from .delivery import Whole
from .frame import Cloud
from .gemini import CountTokens, Gemini
from .http import Request
from .messages import CountRawPredict, RawPredict
from .open_models import Mistral, OpenModels
from .replies import Error
from .strict import LOOPBACK, Refused, check_headers
from .vertex_images import GeminiImages, Imagen

#: Regional, global and multi-region endpoints.
HOST = re.compile(r"(?:([a-z0-9-]+)-)?aiplatform\.googleapis\.com|aiplatform\.([a-z]+)\.rep\.googleapis\.com")


class Vertex(Cloud):
    """Handler of the Vertex port."""

    name = "vertex"
    apis = (GeminiImages, Imagen, Gemini, CountTokens, CountRawPredict, RawPredict, OpenModels, Mistral, *embeddings.VERTEX)

    def enter(self, request: Request, api: google.Api) -> str:
        headers = check_headers(request.headers, api.more_headers, self.state.settings.allow_headers)
        project, location = api.found["project"], api.found["location"]
        _host(headers["host"], location)
        self._token(headers.get("authorization"))
        return f"Google Vertex AI ({project}, {location})"

    def refusal(self, refused: Refused) -> Whole:
        return google.told(Error("NOT_FOUND", refused.detail), {})

    def _token(self, authorization: str | None) -> None:
        sent = authorization.removeprefix("Bearer ") if authorization else None
        if sent is None or sent == authorization or not any(
            token.value == sent and token.valid for token in self.state.tokens
        ):
            raise Refused(
                "token",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
                "valid authentication credential.",
                "UNAUTHENTICATED",
            )


def _host(host: str, location: str) -> None:
    if LOOPBACK.fullmatch(host):
        return
    found = HOST.fullmatch(host)
    if found is None:
        raise Refused("headers", f"host {host!r} is not a Vertex endpoint")
    served = found.group(1) or found.group(2) or "global"
    if served != location:
        raise Refused("headers", f"host {host!r} serves {served!r}, the path asks for {location!r}")
