"""What Google's OAuth 2.0 token endpoints have alike: forms, and the errors of RFC 6749."""

from __future__ import annotations

from .bearer import SCOPES
from .delivery import Whole
from .http import Request, json_bytes
from .issuer import Service, page
from .strict import FORM, Refused, parse_form

#: RFC 6749, section 5.2, and RFC 8693, section 2.2.2. The statuses are Google's.
ERRORS = {
    "invalid_request": 400,
    "invalid_grant": 400,
    "invalid_scope": 400,
    "invalid_target": 400,
    "unsupported_grant_type": 400,
    "invalid_client": 401,
    "unauthorized_client": 401,
}


class TokenEndpoint(Service):
    """A port where a form is exchanged for an access token."""

    def form(self, request: Request) -> dict[str, str]:
        """Check what comes around the form; returns it."""
        self.route(request)
        found = self.headers(request, FORM)
        if "authorization" in found:
            raise Refused("headers", "header authorization must not reach a token endpoint")
        return parse_form(request.body)

    def refusal(self, refused: Refused) -> Whole:
        if refused.kind == "path":
            return page(404, refused, self.head())
        name = refused.error or "invalid_request"
        body = {"error": name, "error_description": refused.detail}
        return ERRORS[name], self.head() | {"Content-Type": self.content_type}, json_bytes(body)


def check_names(form: dict[str, str], required: set[str], optional: set[str]) -> None:
    """Refuse a form that lacks a parameter or has an unknown or an empty one."""
    for name in sorted(required - form.keys()):
        raise Refused("form", f"Missing required parameter: {name}", "invalid_request")
    for name in sorted(form.keys() - required - optional):
        raise Refused("form", f"Unknown parameter: {name}", "invalid_request")
    for name, value in form.items():
        if not value:
            raise Refused("form", f"Parameter is empty: {name}", "invalid_request")


def scopes(text: object) -> frozenset[str]:
    """The scopes that are asked for, parted by single spaces."""
    found = text.split(" ") if isinstance(text, str) else []
    if not found or not SCOPES.issuperset(found):
        raise Refused("rule", "Invalid OAuth scope or ID token audience provided.", "invalid_scope")
    return frozenset(found)
