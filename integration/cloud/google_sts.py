"""The stand-in for sts.googleapis.com: tokens of other clouds and companies are exchanged for Google's.

https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token; clients send its fields as a form, by the names
of RFC 8693.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from . import accounts, aws_caller
from .bearer import PROJECT
from .http import Request, json_bytes
from .strict import Refused, parse_json
from .token_endpoint import TokenEndpoint, check_names, scopes

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

OIDC_TYPES = frozenset({"urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"})
AWS_TYPES = frozenset({"urn:ietf:params:aws:token-type:aws4_request"})

#: Provider of a pool -> the types of token that it vouches for.
PROVIDERS = {accounts.OIDC: OIDC_TYPES, accounts.AWS: AWS_TYPES, accounts.WORKFORCE: OIDC_TYPES}

AUDIENCE = re.compile(
    r"//iam\.googleapis\.com/(projects/[0-9]+/locations/global/workloadIdentityPools|locations/global/workforcePools)"
    r"/[a-z0-9-]{4,63}/providers/[a-z0-9-]{4,32}"
)

REQUIRED = {"grant_type", "audience", "scope", "requested_token_type", "subject_token", "subject_token_type"}


@dataclass
class Exchange:
    """What a checked request gets."""

    principal: str
    scopes: frozenset[str]
    user_project: str | None


class GoogleSts(TokenEndpoint):
    """Handler of the port: `POST /v1/token`."""

    name = "google_sts"
    host = "sts.googleapis.com"
    path = re.compile(r"/v1/token")

    def check(self, request: Request, entry: dict[str, Any]) -> Exchange:
        form = self.form(request)
        check_names(form, REQUIRED, {"options"})
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:token-exchange":
            raise Refused("form", f"Invalid grant_type: {form['grant_type']}", "unsupported_grant_type")
        if form["requested_token_type"] != ACCESS_TOKEN:
            raise Refused("form", 'Invalid value for "requested_token_type".', "invalid_request")
        audience, kind = form["audience"], form["subject_token_type"]
        if kind not in _types(audience):
            raise Refused("rule", f"the provider does not vouch for tokens of type {kind}", "invalid_request")
        granted = scopes(form["scope"])
        user_project = _user_project(audience, form.get("options"))
        subject = self._subject(form["subject_token"], kind, audience)
        return Exchange(accounts.principal(audience, subject), granted, user_project)

    def give(self, asked: Exchange, entry: dict[str, Any]) -> bytes:
        entry["principal"] = asked.principal
        lifetime = self.state.settings.google_sts.lifetime_s
        token = self.state.issue(asked.principal, asked.scopes, lifetime, asked.user_project)
        return json_bytes(
            {
                "access_token": token.value,
                "issued_token_type": ACCESS_TOKEN,
                "token_type": "Bearer",
                "expires_in": int(lifetime),
            }
        )

    def _subject(self, token: str, kind: str, audience: str) -> str:
        settings = self.state.settings
        if kind in AWS_TYPES:
            return aws_caller.check(token, audience, settings.google_sts.signed_target, self.state.known())
        subject = settings.google_sts.subject_tokens.get(token)
        if subject is None:
            raise Refused("token", "the subject token is not one that the provider has issued", "invalid_grant")
        return subject


def _types(audience: str) -> frozenset[str]:
    """What the provider takes. Words as in https://github.com/google-github-actions/auth/issues/211 and 334."""
    if not AUDIENCE.fullmatch(audience):
        raise Refused(
            "rule",
            'Invalid value for "audience". This value should be the full resource name of the Identity Provider. See '
            "https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token for the list of possible formats.",
            "invalid_request",
        )
    if audience not in PROVIDERS:
        raise Refused(
            "rule",
            'The target service indicated by the "audience" parameters is invalid. This might either be because the '
            "pool or provider is disabled or deleted or because it doesn't exist.",
            "invalid_target",
        )
    return PROVIDERS[audience]


def _user_project(audience: str, options: str | None) -> str | None:
    """The project of a workforce pool's user: such a pool belongs to none, and no other pool may name one."""
    if (audience == accounts.WORKFORCE) != (options is not None):
        raise Refused("rule", "options are for workforce pools, and those want a userProject", "invalid_request")
    if options is None:
        return None
    # google-auth for Python encodes it once more than its clients in other languages.
    value = parse_json((options if options.startswith("{") else unquote(options)).encode())
    project = value.get("userProject") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(project, str) or not PROJECT.fullmatch(project):
        raise Refused("rule", "options must be an object with a userProject", "invalid_request")
    return project
