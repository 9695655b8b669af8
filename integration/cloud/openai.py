"""The stand-in for api.openai.com: chat completions, embeddings and images."""

from __future__ import annotations

import re
from typing import Any

from .completions import Completions
from .completions_rules import check_openai
from .delivery import Whole
from .frame import Api, Cloud
from .http import Request
from .openai_apis import Draw, Embed, Own, told
from .replies import Error
from .strict import LOOPBACK, Refused, check_headers

#: The key that opens the stand-in; it opens nothing else.
KEY = "sk-stand-in-openai"

HOST = re.compile(r"api\.openai\.com")


class Chat(Own, Completions):
    """`POST /v1/chat/completions`. Thoughts are counted and never shown."""

    path = re.compile(r"/v1/chat/completions")

    def check(self, body: Any) -> None:
        check_openai(body)

    def thought(self, text: str) -> dict[str, Any]:
        return {}


class OpenAI(Cloud):
    """Handler of the OpenAI port."""

    name = "openai"
    apis = (Chat, Embed, Draw)

    def enter(self, request: Request, api: Api) -> str:
        headers = check_headers(request.headers, (), self.state.settings.allow_headers)
        if not (HOST.fullmatch(headers["host"]) or LOOPBACK.fullmatch(headers["host"])):
            raise Refused("headers", f"host {headers['host']!r} is not OpenAI's")
        if headers.get("authorization") != f"Bearer {KEY}":
            raise Refused("token", "Incorrect API key provided: sk-stand*****. You can find your API key at …", "invalid_api_key")
        return "OpenAI"

    def refusal(self, refused: Refused) -> Whole:
        return told(Error("not_found", refused.detail), {})

