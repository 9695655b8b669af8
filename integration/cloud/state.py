"""What the stand-in remembers between requests: records, refusals, counters, settings and issued tokens."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from . import google_settings
from .accounts import Keys
from .aws_settings import AwsSettings, ContainerSettings, ImdsSettings, StsSettings
from .http import Request
from .keys import Keyring
from .scripts import CLOUDS, Stage
from .sigv4 import BEARER, Known
from .strict import Refused

#: Requests kept for each cloud since the last reset; more than any one test sends.
KEPT = 1024
#: Bodies above this size are dropped from the record, which keeps their length: memory stays below 1 GiB a cloud.
KEPT_BODY = 1024 * 1024
#: Tokens kept, the newest, so that an expired one is told from one that never was; more than any test lets be issued.
KEPT_TOKENS = 4096

#: Whose requests are recorded.
RECORDED = (*CLOUDS, "imds", "container", "sts", "metadata", "oauth2", "google_sts", "iam", "subject")


@dataclass
class Settings:
    """What the control port may change."""

    regions: list[str] = field(default_factory=lambda: ["us-east-1", "us-west-2", "eu-central-1"])
    bearer_tokens: list[str] = field(default_factory=lambda: [BEARER])
    #: Header names (lower case) that are let through although they are not on the allow list.
    allow_headers: list[str] = field(default_factory=list)
    aws: AwsSettings = field(default_factory=AwsSettings)
    imds: ImdsSettings = field(default_factory=ImdsSettings)
    container: ContainerSettings = field(default_factory=ContainerSettings)
    sts: StsSettings = field(default_factory=StsSettings)
    google: google_settings.Google = field(default_factory=google_settings.Google)
    metadata: google_settings.Metadata = field(default_factory=google_settings.Metadata)
    oauth2: google_settings.Oauth2 = field(default_factory=google_settings.Oauth2)
    google_sts: google_settings.GoogleSts = field(default_factory=google_settings.GoogleSts)
    iam: google_settings.Iam = field(default_factory=google_settings.Iam)
    subject: google_settings.Subject = field(default_factory=google_settings.Subject)


class Token:
    """One access token that Google has issued."""

    def __init__(self, principal: str, scopes: frozenset[str], lifetime: float, user_project: str | None) -> None:
        self.value = "ya29.stand-in." + secrets.token_urlsafe(24)
        #: Whose it is: the address of an account, or the identifier of a pool's member.
        self.principal = principal
        self.scopes = scopes
        #: Who pays, where the issuer was told so.
        self.user_project = user_project
        self.expires = time.monotonic() + lifetime
        self.revoked = False

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.expires

    @property
    def valid(self) -> bool:
        return not self.revoked and not self.expired


class State:
    """Everything that lives longer than one request."""

    def __init__(self, allow_headers: list[str]) -> None:
        self._allow_headers = allow_headers
        self.stage = Stage()
        self.tokens: deque[Token] = deque(maxlen=KEPT_TOKENS)
        self.keyring = Keyring()
        self.account_keys = Keys()
        self.reset()

    def reset(self) -> None:
        """Forget records, counters, scripts and settings. Tokens and keys stay valid, since gateways hold them."""
        self.settings = Settings(allow_headers=list(self._allow_headers))
        self.requests: dict[str, deque[dict[str, Any]]] = {cloud: deque(maxlen=KEPT) for cloud in RECORDED}
        self.refusals: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.counters: Counter[str] = Counter()
        self.stage.reset()

    def arrived(self, cloud: str, request: Request) -> dict[str, Any]:
        """Record a request; the entry is completed while it is answered."""
        entry: dict[str, Any] = {
            "cloud": cloud,
            "at": time.time(),
            "connection": request.connection,
            "method": request.method,
            "path": request.target,
            "headers": [[name, value] for name, value in request.headers],
            "body": request.body if len(request.body) <= KEPT_BODY else b"",
            "body_bytes": len(request.body),
            "script": None,
            "caller": None,
            "principal": None,
            "status": None,
            "outcome": "open",
        }
        self.requests[cloud].append(entry)
        self.counters[f"{cloud}.requests"] += 1
        self.counters[f"{cloud}.in_flight"] += 1
        self.counters[f"{cloud}.in_flight_most"] = max(
            self.counters[f"{cloud}.in_flight_most"], self.counters[f"{cloud}.in_flight"]
        )
        return entry

    def finished(self, entry: dict[str, Any], outcome: str, status: int | None) -> None:
        """Note how the answer went: sent, refused, client_gone, dropped (on purpose) or crashed (our fault)."""
        entry["outcome"] = outcome
        entry["status"] = status
        cloud = entry["cloud"]
        self.counters[f"{cloud}.{outcome}"] += 1
        # A reset may have come between arrival and end.
        self.counters[f"{cloud}.in_flight"] = max(0, self.counters[f"{cloud}.in_flight"] - 1)

    def refused(self, cloud: str, refused: Refused, entry: dict[str, Any] | None) -> None:
        """Record a refusal, so that a test can assert that there was none."""
        path = entry["path"] if entry else None
        self.refusals.append({"cloud": cloud, "kind": refused.kind, "detail": refused.detail, "path": path})
        self.counters["refusals"] += 1

    def issue(
        self, principal: str, scopes: frozenset[str], lifetime: float, user_project: str | None = None
    ) -> Token:
        """Make a new access token; old ones stay valid until they expire."""
        token = Token(principal, scopes, lifetime, user_project)
        self.tokens.append(token)
        return token

    def aws_now(self) -> float:
        """AWS's clock, in seconds since 1970."""
        return time.time() + self.settings.aws.clock_offset_s

    def known(self, bearers: set[str] | None = None) -> Known:
        """What AWS knows of those who sign."""
        return Known(self.keyring, set(self.settings.regions), self.aws_now(), bearers)

    def token(self, value: str) -> Token | None:
        """The token that has this value, whether it is still valid or not."""
        return next((token for token in reversed(self.tokens) if token.value == value), None)

    def google_now(self) -> float:
        """Google's clock, in seconds since 1970."""
        return time.time() + self.settings.google.clock_offset_s

    def settings_json(self) -> dict[str, Any]:
        return asdict(self.settings)

    def change(self, wanted: dict[str, Any]) -> None:
        """Apply a partial change of the settings; unknown names raise KeyError."""
        _change(self.settings, wanted)


def _change(settings: Any, wanted: Any) -> None:
    if not isinstance(wanted, dict):
        raise TypeError(f"{type(settings).__name__} wants an object")
    for name, value in wanted.items():
        if name not in vars(settings):
            raise KeyError(name)
        if is_dataclass(getattr(settings, name)):
            _change(getattr(settings, name), value)
        else:
            setattr(settings, name, value)


def readable(entry: dict[str, Any]) -> dict[str, Any]:
    """A record as the control port shows it: the body as JSON where it is, else in base64."""
    return entry | {"body": _readable(entry["body"])}


def _readable(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return {"base64": base64.b64encode(body).decode()}
