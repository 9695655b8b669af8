"""The stand-in for api.openai.com: none of its APIs is played yet."""

from __future__ import annotations

from .delivery import Whole
from .errors import openai_body
from .frame import Api, Cloud
from .http import Request, json_bytes
from .strict import Refused


class OpenAI(Cloud):
    """Handler of the OpenAI port."""

    name = "openai"

    def enter(self, request: Request, api: Api) -> str:
        return "OpenAI"

    def refusal(self, refused: Refused) -> Whole:
        return 501, {"Content-Type": "application/json"}, json_bytes(openai_body("server_error", refused.detail))
