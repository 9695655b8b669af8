"""AWS keys and whose they are: the accounts' own, and those that the stand-ins of AWS's identity services hand out."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

#: The account that everything belongs to; the number of AWS's own examples.
ACCOUNT = "123456789012"

#: Issued keys that are remembered, so that an expired one is told from one of nobody: a load test of two minutes with
#: lifetimes of five seconds and hundreds of roles stays below.
KEPT_KEYS = 16384

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@dataclass(frozen=True)
class Caller:
    """Whose keys a request was signed with."""

    #: What gave the keys out: static, bearer, imds, container or sts.
    source: str
    arn: str | None = None
    user_id: str | None = None
    session_name: str | None = None
    #: Session tags, the inherited ones too.
    tags: dict[str, str] = field(default_factory=dict)
    #: The tags that the next session in a chain of roles inherits.
    transitive: tuple[str, ...] = ()


@dataclass(frozen=True)
class Key:
    """One credential; a session token, where there is one, must come with it."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    caller: Caller = Caller("static")
    #: By AWS's clock, in seconds since 1970; None: never.
    expires: float | None = None

    def record(self) -> dict[str, Any]:
        """What the record of a request shows of it; no secret."""
        return {"access_key_id": self.access_key_id} | dataclasses.asdict(self.caller)


def unique_id(prefix: str, name: str) -> str:
    """The unchanging id of a user (AIDA) or role (AROA)."""
    return prefix + base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:17]


def user(name: str) -> Caller:
    """A user with keys of their own."""
    return Caller("static", f"arn:aws:iam::{ACCOUNT}:user/{name}", unique_id("AIDA", name))


#: The stand-in's accounts. None of these was ever a real key.
KEYS = (
    Key("AKIDSTANDIN000000001", "stand-in-secret-one/not+a+real=key", None, user("one")),
    Key("ASIDSTANDIN000000002", "stand-in-secret-two/not+a+real=key", "stand-in-session-token/+=two", user("two")),
)


def assumed(source: str, role_arn: str, session_name: str, tags: dict[str, str], transitive: tuple[str, ...]) -> Caller:
    """Who has assumed a role. The path of a role is no part of its session's name."""
    _, partition, _, _, account, name = role_arn.split(":", 5)
    arn = f"arn:{partition}:sts::{account}:assumed-role/{name.rpartition('/')[2]}/{session_name}"
    return Caller(source, arn, f"{unique_id('AROA', role_arn)}:{session_name}", session_name, tags, transitive)


class Keyring:
    """All keys that somebody may have signed with; the issued ones stay known when they have expired."""

    def __init__(self) -> None:
        self._own = {key.access_key_id: key for key in KEYS}
        self._issued: dict[str, Key] = {}

    def find(self, access_key_id: str) -> Key | None:
        return self._own.get(access_key_id) or self._issued.get(access_key_id)

    def issue(self, caller: Caller, expires: float) -> Key:
        """Make new keys that are good until then."""
        key = Key(
            "ASIA" + "".join(secrets.choice(ALPHABET) for _ in range(16)),
            base64.b64encode(secrets.token_bytes(30)).decode(),
            # As long as real ones are, with all that base64 may hold.
            "IQoJb3JpZ2luX2VjE" + base64.b64encode(secrets.token_bytes(520)).decode(),
            caller,
            expires,
        )
        self._issued[key.access_key_id] = key
        if len(self._issued) > KEPT_KEYS:
            del self._issued[next(iter(self._issued))]
        return key

    def issued(self) -> list[Key]:
        """What was handed out, oldest first."""
        return list(self._issued.values())

    def revoke(self, now: float, access_key_id: str | None) -> int:
        """Let one key, or all that are valid, expire at once; returns how many."""
        chosen = [key for key in self._issued.values() if now < key.expires and access_key_id in (None, key.access_key_id)]
        for key in chosen:
            self._issued[key.access_key_id] = dataclasses.replace(key, expires=now)
        return len(chosen)
