"""The stand-in for EC2's instance metadata service, version 2: a session first, then the keys of the instance's role."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from typing import Any, Callable

from . import keys
from .delivery import Whole
from .frame import CALL_HEADERS
from .http import REASONS, Exchange, Request, timestamp
from .identity import Identity, refuse
from .state import State
from .strict import LOOPBACK, Refused, check_headers

#: `Server` is what the real one calls itself.
HEAD = {"Content-Type": "text/plain", "Server": "EC2ws"}

SESSION = "x-aws-ec2-metadata-token"
LIFETIME = "x-aws-ec2-metadata-token-ttl-seconds"
#: What a session may last, in seconds.
SHORTEST, LONGEST = 1, 21600
#: Sessions remembered; a gateway needs one for each fetch, or one in six hours.
KEPT_SESSIONS = 1024

HOST = re.compile(r"169\.254\.169\.254(:80)?")
TOKEN_PATH = "/latest/api/token"
ROLES_PATH = "/latest/meta-data/iam/security-credentials"
ZONE_PATH = "/latest/meta-data/placement/availability-zone"

INSTANCE = "i-0f00d0f00d0f00d00"


class Imds(Identity):
    """Handler of the instance metadata port."""

    name = "imds"

    def __init__(self, state: State) -> None:
        super().__init__(state)
        #: Session token -> when it ends.
        self._sessions: dict[str, float] = {}

    async def answer(self, request: Request, exchange: Exchange, entry: dict[str, Any]) -> None:
        own = (*CALL_HEADERS, LIFETIME if request.method == "PUT" else SESSION)
        try:
            headers = check_headers(request.headers, own, self.state.settings.allow_headers, None)
            if "authorization" in headers:
                raise Refused("headers", "header authorization must not reach the metadata service")
            if not HOST.fullmatch(headers["host"]) and not LOOPBACK.fullmatch(headers["host"]):
                raise Refused("headers", f"host is {headers['host']!r}")
            if request.body:
                raise Refused("http", f"a body on {request.method}")
        except Refused as refused:
            # An x-forwarded-for is refused like this by the real one, which lets the rest pass.
            raise refuse(refused.kind, refused.detail, page(403)) from None
        name, answer = self._route(request, headers)
        status, more, body = await self.call(name, self.state.settings.imds, exchange) or answer()
        await exchange.whole(status, HEAD | more, body)

    def _route(self, request: Request, headers: dict[str, str]) -> tuple[str, Callable[[], Whole]]:
        """The name of the call, and what answers it."""
        settings = self.state.settings.imds
        if (request.method == "PUT") != (request.target == TOKEN_PATH) or request.method not in ("GET", "PUT"):
            raise refuse("path", f"{request.method} {request.target} is not known here", page(405))
        if request.method == "PUT":
            wanted = headers.get(LIFETIME, "")
            if not re.fullmatch(r"[0-9]{1,5}", wanted) or not SHORTEST <= int(wanted) <= LONGEST:
                raise refuse("headers", f"{LIFETIME} is {wanted!r}, not {SHORTEST} to {LONGEST}", page(400))
            return "token", lambda: (200, {LIFETIME: wanted}, self._open(int(wanted)).encode())
        if time.monotonic() >= self._sessions.get(headers.get(SESSION, ""), 0):
            raise refuse("token", "no session, an unknown one, or one that has ended", page(401))
        if request.target == ZONE_PATH:
            return "zone", lambda: (200, {}, settings.zone.encode())
        # SDKs of AWS ask with a slash at the end, Google's without one; botocore.utils, google.auth.aws.
        role = settings.role
        if role is not None and request.target in (ROLES_PATH, ROLES_PATH + "/"):
            return "role", lambda: (200, {}, role.encode())
        if role is not None and request.target == f"{ROLES_PATH}/{role}":
            return "key", lambda: (200, {}, self._keys(role).encode())
        raise refuse("path", f"nothing at {request.target}", page(404))

    def _open(self, lifetime: int) -> str:
        now = time.monotonic()
        token = "AQAEA" + base64.urlsafe_b64encode(secrets.token_bytes(37)).decode()
        self._sessions = {old: end for old, end in self._sessions.items() if now < end} | {token: now + lifetime}
        if len(self._sessions) > KEPT_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return token

    def _keys(self, role: str) -> str:
        role_arn = f"arn:aws:iam::{keys.ACCOUNT}:role/{role}"
        key = self.keys(keys.assumed(self.name, role_arn, INSTANCE, {}, ()), self.state.settings.imds)
        told = {
            "Code": "Success",
            "LastUpdated": timestamp(self.clock()),
            "Type": "AWS-HMAC",
            "AccessKeyId": key.access_key_id,
            "SecretAccessKey": key.secret_access_key,
            "Token": key.session_token,
            "Expiration": timestamp(key.expires),
        }
        return json.dumps(told, indent=2, separators=(",", " : "))


def page(status: int) -> Whole:
    """An error as the real one tells it."""
    title = f"{status} - {REASONS[status]}"
    text = f"""<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{title}</title>
 </head>
 <body>
  <h1>{title}</h1>
 </body>
</html>
"""
    return status, HEAD | {"Content-Type": "text/html"}, text.encode()
