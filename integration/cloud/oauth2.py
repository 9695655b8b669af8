"""The stand-in for oauth2.googleapis.com: access tokens for service accounts that sign, and for users who have logged in."""

from __future__ import annotations

import hmac
import re
from typing import Any

from . import accounts, assertion
from .bearer import CLOUD_PLATFORM
from .http import Request, json_bytes
from .strict import Refused
from .token_endpoint import TokenEndpoint, check_names, scopes

#: What the user has agreed to.
GRANTED = frozenset({CLOUD_PLATFORM})


class Oauth2(TokenEndpoint):
    """Handler of the port: `POST /token`."""

    name = "oauth2"
    host = "oauth2.googleapis.com"
    path = re.compile(r"/token")

    def check(self, request: Request, entry: dict[str, Any]) -> tuple[str, frozenset[str], dict[str, str]]:
        form = self.form(request)
        match form.get("grant_type"):
            case "urn:ietf:params:oauth:grant-type:jwt-bearer":
                return *self._signed(form), {}
            case "refresh_token":
                user, granted = self._refreshed(form)
                return user, granted, {"scope": " ".join(sorted(granted))}
            case None:
                raise Refused("form", "Missing required parameter: grant_type", "invalid_request")
            case other:
                raise Refused("form", f"Invalid grant_type: {other}", "unsupported_grant_type")

    def give(self, asked: tuple[str, frozenset[str], dict[str, str]], entry: dict[str, Any]) -> bytes:
        principal, granted, more = asked
        entry["principal"] = principal
        lifetime = self.state.settings.oauth2.lifetime_s
        token = self.state.issue(principal, granted, lifetime)
        return json_bytes(
            {"access_token": token.value, "expires_in": int(lifetime), **more, "token_type": "Bearer"}
        )

    def _signed(self, form: dict[str, str]) -> tuple[str, frozenset[str]]:
        check_names(form, {"grant_type", "assertion"}, set())
        return assertion.check(form["assertion"], self.state.account_keys, self.state.google_now())

    def _refreshed(self, form: dict[str, str]) -> tuple[str, frozenset[str]]:
        check_names(form, {"grant_type", "client_id", "client_secret", "refresh_token"}, {"scope"})
        if form["client_id"] != accounts.CLIENT_ID:
            raise Refused("token", "The OAuth client was not found.", "invalid_client")
        if not hmac.compare_digest(form["client_secret"].encode(), accounts.CLIENT_SECRET.encode()):
            raise Refused("token", "The provided client secret is invalid.", "invalid_client")
        user = self.state.settings.oauth2.refresh_tokens.get(form["refresh_token"])
        if user is None:
            raise Refused("token", "Token has been expired or revoked.", "invalid_grant")
        wanted = scopes(form["scope"]) if "scope" in form else GRANTED
        if not wanted <= GRANTED:
            raise Refused("rule", "Some requested scopes were not granted.", "invalid_scope")
        return user, wanted
