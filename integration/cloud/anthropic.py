"""The stand-in for api.anthropic.com: the Messages API, and the key that it wants."""

from __future__ import annotations

from .delivery import Whole
from .frame import Api, Cloud
from .http import Request
from .messages import CountOwn, Own, answer
from .replies import Error
from .strict import LOOPBACK, Refused, check_headers

#: Opens nothing else.
API_KEY = "sk-ant-stand-in-api-key"


class Anthropic(Cloud):
    """Handler of the Anthropic port."""

    name = "anthropic"
    apis = (Own, CountOwn)

    def enter(self, request: Request, api: Api) -> str:
        headers = check_headers(request.headers, Own.more_headers, self.state.settings.allow_headers)
        if headers["host"] != "api.anthropic.com" and not LOOPBACK.fullmatch(headers["host"]):
            raise Refused("headers", f"host {headers['host']!r} is not Anthropic's")
        if "authorization" in headers:
            raise Refused("headers", "a key in authorization, which is another way to send it")
        if headers.get("x-api-key") != API_KEY:
            raise Refused("token", "invalid x-api-key", "authentication_error")
        return "Anthropic"

    def refusal(self, refused: Refused) -> Whole:
        return answer(Error("not_found_error", refused.detail), {})
