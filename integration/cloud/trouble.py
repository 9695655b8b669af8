"""Troubles that a test orders for those who hand out credentials: a late answer, or another one."""

from __future__ import annotations

from dataclasses import dataclass

from .delivery import Whole
from .http import Exchange


@dataclass
class Trouble:
    """What stands in the way of a service's answer."""

    delay_s: float = 0
    status: int = 200
    #: Sent instead of the answer when set, whatever it is.
    body: str | None = None
    #: Of `body`; None: as the service's answers have it.
    content_type: str | None = None
    #: The one call that these are for, as the counters name it; None: all.
    only: str | None = None

    async def instead(self, call: str, exchange: Exchange) -> Whole | None:
        """Let a call wait; returns what to send instead of the answer."""
        if self.only not in (None, call):
            return None
        if self.delay_s:
            await exchange.wait(self.delay_s)
        if self.body is None and self.status == 200:
            return None
        headers = {"Content-Type": self.content_type} if self.content_type else {}
        return self.status, headers, (self.body or "").encode()
