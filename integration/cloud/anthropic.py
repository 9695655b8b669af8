"""The stand-in for api.anthropic.com: none of its APIs is played yet."""

from __future__ import annotations

from .delivery import Whole
from .errors import anthropic_body
from .frame import Api, Cloud
from .http import Request, json_bytes
from .strict import Refused


class Anthropic(Cloud):
    """Handler of the Anthropic port."""

    name = "anthropic"

    def enter(self, request: Request, api: Api) -> str:
        return "Anthropic"

    def refusal(self, refused: Refused) -> Whole:
        return 501, {"Content-Type": "application/json"}, json_bytes(anthropic_body("api_error", refused.detail))
