"""The frame around every request to a cloud: recorded, sent to its API, admitted, answered or refused, outcome noted.

A cloud is a `Cloud` with its `apis`; an API is an `Api`, which is made for one request.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

from .delivery import Whole, deliver
from .http import Closed, Exchange, Gone, Request
from .replies import Error, Fault, Reply, Turn
from .scripts import BadScript
from .state import State
from .strict import Refused, parse_json


#: What Envoy adds to the calls that a plugin makes itself, and does not let itself be told to leave out.
CALL_HEADERS = ("x-envoy-internal", "x-envoy-expected-rq-timeout-ms")


class Port:
    """Handler of one port; a subclass answers, and this records how that went."""

    #: As scripts, records and counters call it.
    name: str

    def __init__(self, state: State) -> None:
        self.state = state

    async def __call__(self, request: Request, exchange: Exchange) -> None:
        entry = self.state.arrived(self.name, request)
        exchange.clock = self.clock
        outcome = "crashed"
        try:
            await self.answer(request, exchange, entry)
            outcome = "sent"
        except Refusal as refusal:
            outcome = "refused"
            self.state.refused(self.name, refusal.reason, entry)
            await exchange.whole(*refusal.answer)
        except Gone:
            outcome = "client_gone"
            raise
        except Closed:
            outcome = "dropped"
            raise
        finally:
            self.state.finished(entry, outcome, exchange.status)

    async def answer(self, request: Request, exchange: Exchange, entry: dict[str, Any]) -> None:
        """Answer the request, or raise `Refusal`."""
        raise NotImplementedError

    def clock(self) -> float | None:
        """What time it is here, for the header `Date`; None: it is not told."""
        return None


class Refusal(Exception):
    """A refused request: the reason for the record, and the answer that the client gets."""

    def __init__(self, reason: Refused, answer: Whole) -> None:
        super().__init__(reason.detail)
        self.reason = reason
        self.answer = answer


class Cloud(Port):
    """A port whose requests belong to one of several APIs, which scripts may play on."""

    #: The first whose `path` matches gets the request, so the narrower one stands first.
    apis: tuple[type[Api], ...] = ()

    def enter(self, request: Request, api: Api) -> str:
        """Check what all APIs here want alike: headers, host, credentials. Returns the name of the place."""
        raise NotImplementedError

    def refusal(self, refused: Refused) -> Whole:
        """The answer to a request of no API."""
        raise NotImplementedError

    async def answer(self, request: Request, exchange: Exchange, entry: dict[str, Any]) -> None:
        api = self._api(request)
        api.entry = entry
        try:
            try:
                api.place = self.enter(request, api)
                entry["caller"] = api.caller
                api.route()
                api.turn = api.admit(parse_json(request.body))
                entry["script"], answer = self.state.stage.answer(api.turn)
                await deliver(api, answer, exchange)
            except BadScript as bad:
                raise Refused("script", str(bad)) from None
        except Refused as refused:
            raise Refusal(refused, api.refusal(refused)) from None

    def _api(self, request: Request) -> Api:
        for api in self.apis:
            found = api.path.fullmatch(request.path)
            if found:
                return api(self.name, request, found)
        refused = Refused("path", f"nothing at {request.path}")
        raise Refusal(refused, self.refusal(refused))


class Api:
    """One request to one API: what is checked of it, how a script sees it, how answers are written (a `Dialect`)."""

    #: Matches the raw path. A group `model` is the model: one segment, percent-encoded exactly once.
    path: re.Pattern[str]
    #: Characters besides letters and digits that stand in that segment as they are.
    plain = "-._~"
    stream_type = "text/event-stream"
    stream = False
    #: Headers that its requests may have and others may not.
    more_headers: tuple[str, ...] = ()
    #: What the request must have after its path, without the question mark.
    query = ""

    turn: Turn
    #: The record of the request, for what only its cloud knows of it.
    entry: dict[str, Any]
    #: Where the request went, as the default script says it.
    place: str
    #: Whose credentials it came with, for the record; only AWS's are told.
    caller: dict[str, Any] | None = None

    def __init__(self, cloud: str, request: Request, found: re.Match[str]) -> None:
        self.cloud = cloud
        self.request = request
        self.found = found
        self.model = unquote(found.groupdict().get("model") or "")

    def route(self) -> None:
        """Refuse another method, another query, and a model that is not encoded exactly once."""
        request = self.request
        wanted = request.path + ("?" + self.query if self.query else "")
        if request.method != "POST" or request.target != wanted:
            raise Refused("path", f"{request.method} {request.target} is not POST {wanted}")
        segment = self.found.groupdict().get("model") or ""
        if quote(self.model, safe=self.plain) != segment:
            raise Refused("path", f"{segment!r} is not {self.model!r} percent-encoded once")

    def admit(self, body: Any) -> Turn:
        """Check the body; returns what a script may know of it."""
        raise NotImplementedError

    def refusal(self, refused: Refused) -> Whole:
        """The answer to a refused request; `refused.error` is this API's name for it, where there is one."""
        return self.error(Error(refused.error or "invalid", refused.detail))

    # The rest is `delivery.Dialect`; an API without streams writes only whole answers and errors.

    def head(self) -> dict[str, str]:
        return {}

    def whole(self, reply: Reply) -> bytes:
        raise NotImplementedError

    def frames(self, reply: Reply) -> list[bytes]:
        raise NotImplementedError

    def broken(self, fault: Fault, following: bytes) -> bytes:
        raise NotImplementedError

    def error(self, error: Error) -> Whole:
        raise NotImplementedError
