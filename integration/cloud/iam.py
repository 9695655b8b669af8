"""The stand-in for iamcredentials.googleapis.com: access tokens of a service account for those who may be it.

https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from . import bearer
from .accounts import EMAIL
from .bearer import Denied
from .delivery import Whole
from .http import Request, timestamp
from .issuer import Service, page
from .strict import JSON, Refused, parse_json

PERMISSION = "iam.serviceAccounts.getAccessToken"

#: The most that may be asked for without a policy of the organisation that allows more.
LONGEST = 3600

DURATION = re.compile(r"([0-9]+(?:\.[0-9]{1,9})?)s")


@dataclass
class Asked:
    """What a checked request gets."""

    account: str
    scopes: frozenset[str]
    lifetime: float


class Iam(Service):
    """Handler of the port: `POST …:generateAccessToken`."""

    name = "iam"
    host = "iamcredentials.googleapis.com"
    path = re.compile(rf"/v1/projects/-/serviceAccounts/({EMAIL.pattern}):generateAccessToken")

    def check(self, request: Request, entry: dict[str, Any]) -> Asked:
        account = self.route(request)[1]
        headers = self.headers(request, JSON, (bearer.USER_PROJECT,))
        method = "google.iam.credentials.v1.IAMCredentials.GenerateAccessToken"
        token = bearer.check(self.state, headers, entry, self.host, method, bearer.SCOPES)
        body = parse_json(request.body)
        if not isinstance(body, dict):
            raise _bad("the body is no object")
        for name in sorted(body.keys() - {"scope", "delegates", "lifetime"}):
            raise _bad(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        asked = Asked(account, _scopes(body.get("scope")), _lifetime(body.get("lifetime", f"{LONGEST}s")))
        self._admit([token.principal, *_delegates(body.get("delegates")), account])
        return asked

    def give(self, asked: Asked, entry: dict[str, Any]) -> bytes:
        lifetime = min(asked.lifetime, self.state.settings.iam.lifetime_s)
        token = self.state.issue(asked.account, asked.scopes, lifetime)
        return _json({"accessToken": token.value, "expireTime": timestamp(self.state.google_now() + lifetime)})

    def refusal(self, refused: Refused) -> Whole:
        if refused.kind == "path":
            return page(404, refused, self.head())
        denied = refused if isinstance(refused, Denied) else Denied(refused.kind, refused.detail, "INVALID_ARGUMENT")
        return bearer.answer(denied, self.head())

    def _admit(self, chain: list[str]) -> None:
        """Everyone in the chain must be allowed to be the next one."""
        allowed = self.state.settings.iam.may_impersonate
        for account in chain[1:]:
            if account not in allowed:
                raise Denied("rule", "Requested entity was not found.", "NOT_FOUND")
        for caller, account in zip(chain, chain[1:]):
            if caller not in allowed[account]:
                message = f"Permission '{PERMISSION}' denied on resource (or it may not exist)."
                info = {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "IAM_PERMISSION_DENIED",
                    "domain": "iam.googleapis.com",
                    "metadata": {"permission": PERMISSION},
                }
                raise Denied("rule", message, "PERMISSION_DENIED", [info])


def _scopes(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not value or any(scope not in bearer.SCOPES for scope in value):
        raise _bad("scope: a list of known scopes is wanted")
    return frozenset(value)


def _lifetime(value: Any) -> float:
    found = DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < float(found[1]) <= LONGEST:
        raise _bad(f"lifetime: seconds are wanted, as text with an s, and not more than {LONGEST}")
    return float(found[1])


def _delegates(value: Any) -> list[str]:
    """The addresses of the delegates; google-auth sends null where there are none."""
    prefix = "projects/-/serviceAccounts/"
    names = [] if value is None else value
    if not isinstance(names, list) or value == []:
        raise _bad("delegates: a list of service accounts is wanted, or nothing")
    for name in names:
        if not isinstance(name, str) or not EMAIL.fullmatch(name.removeprefix(prefix)) or not name.startswith(prefix):
            raise _bad(f"delegates: {name!r} is not {prefix}ADDRESS")
    return [name.removeprefix(prefix) for name in names]


def _bad(detail: str) -> Refused:
    return Refused("shape", detail, "INVALID_ARGUMENT")


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()
