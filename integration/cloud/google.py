"""What all APIs of Vertex AI have alike: the path to a location, and Google's errors."""

from __future__ import annotations

import json
import re
from typing import Any

from . import bearer, frame
from .bearer import JSON
from .delivery import Whole
from .errors import GOOGLE, google_body, google_name
from .replies import Error
from .strict import Refused

MODEL = r"(?P<model>[a-zA-Z0-9][a-zA-Z0-9._@-]*)"


class Api(frame.Api):
    """An API below a project and a location; `path` has the groups of both."""

    plain = "-._~@"

    def head(self) -> dict[str, str]:
        return {"Vary": "Origin", "X-Content-Type-Options": "nosniff"}

    def refusal(self, refused: Refused) -> Whole:
        if isinstance(refused, bearer.Denied):
            return bearer.answer(refused, self.head())
        return super().refusal(refused)

    def error(self, error: Error) -> Whole:
        return told(error, self.head())


def path(rest: str, version: str = "v1") -> re.Pattern[str]:
    """The pattern of a path below a location; `{model}` in `rest` is a model's name."""
    location = rf"/{version}/projects/(?P<project>[a-z][a-z0-9-]{{4,28}}[a-z0-9])/locations/(?P<location>[a-z0-9-]+)/"
    return re.compile(location + rest.replace("{model}", MODEL))


def told(error: Error, head: dict[str, str]) -> Whole:
    """An error in Google's words."""
    name = google_name(error.type)
    body: Any = google_body(name, error.message)
    headers = head | {"Content-Type": JSON}
    if error.retry_after:
        headers["Retry-After"] = error.retry_after
    return GOOGLE[name], headers, json.dumps([body] if error.array else body, indent=2).encode()
