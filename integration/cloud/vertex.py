"""The stand-in for Google's Vertex AI: its APIs, and the token that all of them want."""

from __future__ import annotations

import re

from . import bearer, embeddings, google
from .delivery import Whole
from .frame import Cloud
from .gemini import CountTokens, Gemini
from .http import Request
from .messages import CountRawPredict, RawPredict
from .open_models import Mistral, OpenModels
from .replies import Error
from .strict import LOOPBACK, Refused, check_headers
from .vertex_images import GeminiImages, Imagen

SERVICE = "aiplatform.googleapis.com"

#: Regional, global and multi-region endpoints.
HOST = re.compile(r"(?:([a-z0-9-]+)-)?aiplatform\.googleapis\.com|aiplatform\.([a-z]+)\.rep\.googleapis\.com")


class Vertex(Cloud):
    """Handler of the Vertex port."""

    name = "vertex"
    apis = (GeminiImages, Imagen, Gemini, CountTokens, CountRawPredict, RawPredict, OpenModels, Mistral, *embeddings.VERTEX)

    def enter(self, request: Request, api: google.Api) -> str:
        own = (*api.more_headers, bearer.USER_PROJECT)
        headers = check_headers(request.headers, own, self.state.settings.allow_headers)
        project, location = api.found["project"], api.found["location"]
        _host(headers["host"], location)
        method = f"google.cloud.aiplatform.v1.PredictionService.{_method(request.path)}"
        bearer.check(self.state, headers, api.entry, SERVICE, method, frozenset({bearer.CLOUD_PLATFORM}))
        return f"Google Vertex AI ({project}, {location})"

    def refusal(self, refused: Refused) -> Whole:
        return google.told(Error("NOT_FOUND", refused.detail), {})


def _method(path: str) -> str:
    """The name that Google's errors have for what was called; a path without a verb is that of the open models."""
    verb = path.rpartition(":")[2]
    return "ChatCompletions" if "/" in verb else verb[:1].upper() + verb[1:]


def _host(host: str, location: str) -> None:
    if LOOPBACK.fullmatch(host):
        return
    found = HOST.fullmatch(host)
    if found is None:
        raise Refused("headers", f"host {host!r} is not a Vertex endpoint")
    served = found.group(1) or found.group(2) or "global"
    if served != location:
        raise Refused("headers", f"host {host!r} serves {served!r}, the path asks for {location!r}")
