"""What all ports that give something away have alike: counted, delayed or replaced as the control port says."""

from __future__ import annotations

import html
import re
from typing import Any

from .delivery import Whole
from .frame import CALL_HEADERS, Port, Refusal
from .http import Exchange, Request
from .strict import LOOPBACK, Refused, check_headers
from .trouble import Trouble


class Issuer(Port):
    """A port that checks who asks, and gives what its settings (of the port's name) say."""

    #: What calls are counted as, those that were not refused.
    call = "token"
    content_type = "application/json"

    def check(self, request: Request, entry: dict[str, Any]) -> Any:
        """Refuse, or return what `give` needs to know."""
        raise NotImplementedError

    def give(self, asked: Any, entry: dict[str, Any]) -> bytes:
        """The body of a good answer."""
        raise NotImplementedError

    def refusal(self, refused: Refused) -> Whole:
        """The answer to a refused request."""
        raise NotImplementedError

    def head(self) -> dict[str, str]:
        """Headers that every answer carries."""
        raise NotImplementedError

    async def answer(self, request: Request, exchange: Exchange, entry: dict[str, Any]) -> None:
        try:
            asked = self.check(request, entry)
        except Refused as refused:
            raise Refusal(refused, self.refusal(refused)) from None
        self.state.counters[f"{self.name}.{self.call}_calls"] += 1
        settings: Trouble = getattr(self.state.settings, self.name)
        instead = await settings.instead(self.call, exchange)
        status, more, body = instead or (200, {}, self.give(asked, entry))
        await exchange.whole(status, self.head() | {"Content-Type": self.content_type} | more, body)


class Service(Issuer):
    """A service with a name of its own at googleapis.com, which tells its time in every answer."""

    host: str
    #: Matches the one target that is served, by POST.
    path: re.Pattern[str]
    content_type = "application/json; charset=UTF-8"

    def clock(self) -> float:
        return self.state.google_now()

    def head(self) -> dict[str, str]:
        return {"Vary": "Origin", "X-Content-Type-Options": "nosniff", "Server": "ESF"}

    def route(self, request: Request) -> re.Match[str]:
        """Refuse what this service does not serve."""
        found = self.path.fullmatch(request.target)
        if request.method != "POST" or found is None:
            raise Refused("path", f"{request.method} {request.target} is not known here")
        return found

    def headers(self, request: Request, content: re.Pattern[str], own: tuple[str, ...] = ()) -> dict[str, str]:
        """Check the headers; returns them by lower-case name."""
        found = check_headers(request.headers, (*CALL_HEADERS, *own), self.state.settings.allow_headers, content)
        if found["host"] != self.host and not LOOPBACK.fullmatch(found["host"]):
            raise Refused("headers", f"host {found['host']!r} is not {self.host}")
        return found


def page(status: int, refused: Refused, head: dict[str, str]) -> Whole:
    """The page that Google's front shows to whom it does not know."""
    body = f"<!DOCTYPE html><title>Error {status}</title><p>{html.escape(refused.detail)}"
    return status, head | {"Content-Type": "text/html; charset=UTF-8"}, body.encode()
