"""What AWS's identity services have alike: calls that are counted, and keys that are handed out."""

from __future__ import annotations

import math
import time

from .aws_settings import ContainerSettings, ImdsSettings
from .delivery import Whole
from .frame import Port, Refusal
from .http import Exchange
from .keys import Caller, Key
from .state import State
from .strict import Refused
from .trouble import Trouble


class Identity(Port):
    """A port that hands out keys."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        #: The access key id of what was handed out last, and when that was.
        self._last = ("", 0.0)

    def clock(self) -> float:
        return self.state.aws_now()

    async def call(self, name: str, settings: Trouble, exchange: Exchange) -> Whole | None:
        """Count a call, and do what a test ordered for it; returns what to send instead of the answer."""
        self.state.counters[f"{self.name}.{name}_calls"] += 1
        return await settings.instead(name, exchange)

    def keys(self, caller: Caller, settings: ImdsSettings | ContainerSettings) -> Key:
        """Keys for a role: new ones, or the last ones while those are not to be rotated."""
        now = time.monotonic()
        last, made = self._last
        key = self.state.keyring.find(last)
        if key and now < made + settings.rotate_s and key.caller == caller and self.clock() < key.expires:
            return key
        key = self.issue(caller, settings.lifetime_s)
        self._last = (key.access_key_id, now)
        return key

    def issue(self, caller: Caller, lifetime_s: float) -> Key:
        """New keys; they expire on a whole second, since that is what can be told of it."""
        return self.state.keyring.issue(caller, math.floor(self.clock() + lifetime_s))


def refuse(kind: str, detail: str, answer: Whole) -> Refusal:
    """A refusal whose answer does not follow from its kind."""
    return Refusal(Refused(kind, detail), answer)
