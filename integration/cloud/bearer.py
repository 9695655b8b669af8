"""Check of the Google access token that a request brings, and of the project that shall pay for the request."""

from __future__ import annotations

import json
import re
from typing import Any

from .delivery import Whole
from .errors import GOOGLE, GOOGLE_MESSAGES, google_body
from .state import State, Token
from .strict import Refused

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
#: Opens the IAM APIs and nothing else.
IAM = "https://www.googleapis.com/auth/iam"

#: What an issuer may be asked for.
SCOPES = frozenset({CLOUD_PLATFORM, IAM})

USER_PROJECT = "x-goog-user-project"

#: https://cloud.google.com/resource-manager/docs/creating-managing-projects, or its number.
PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]|[1-9][0-9]{5,18}")

JSON = "application/json; charset=UTF-8"

INVALID = GOOGLE_MESSAGES["UNAUTHENTICATED"]
MISSING = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential."
)


class Denied(Refused):
    """A refusal by Google's front, which tells more than the error's name: `details` of a google.rpc.Status."""

    error: str

    def __init__(self, kind: str, detail: str, error: str, details: list[dict[str, Any]] | None = None) -> None:
        super().__init__(kind, detail, error)
        self.details = details


def answer(denied: Denied, head: dict[str, str]) -> Whole:
    """What the client gets."""
    headers = head | {"Content-Type": JSON}
    if denied.error == "UNAUTHENTICATED":
        wrong = ', error="invalid_token"' if denied.detail == INVALID else ""
        headers["WWW-Authenticate"] = f'Bearer realm="https://accounts.google.com/"{wrong}'
    body = google_body(denied.error, denied.detail, denied.details)
    return GOOGLE[denied.error], headers, json.dumps(body, indent=2).encode()


def check(
    state: State, headers: dict[str, str], entry: dict[str, Any], service: str, method: str, scopes: frozenset[str]
) -> Token:
    """Refuse unless there is a valid token with one of `scopes`, and who it charges may be charged.

    The record of the request gets `principal` and `quota_project`. Reasons are those of google/api/error_reason.proto.
    """
    called = {"method": method, "service": service}
    authorization = headers.get("authorization")
    if authorization is None:
        raise Denied("token", MISSING, "UNAUTHENTICATED", [_info("CREDENTIALS_MISSING", called)])
    sent = authorization.removeprefix("Bearer ")
    token = state.token(sent) if sent != authorization else None
    if token is None:
        raise Denied("token", INVALID, "UNAUTHENTICATED")
    entry["principal"] = token.principal
    if token.revoked:
        raise Denied("token", INVALID, "UNAUTHENTICATED")
    if token.expired:
        raise Denied("token", INVALID, "UNAUTHENTICATED", [_info("ACCESS_TOKEN_EXPIRED", called)])
    if not scopes & token.scopes:
        message = "Request had insufficient authentication scopes."
        raise Denied("token", message, "PERMISSION_DENIED", [_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", called)])
    project = headers.get(USER_PROJECT, token.user_project)
    if project is not None:
        entry["quota_project"] = project
        _charge(project, state.settings.google.quota_projects, service)
    return token


def _charge(project: str, allowed: list[str], service: str) -> None:
    """As https://github.com/google-github-actions/auth/issues/250 shows it."""
    if not PROJECT.fullmatch(project):
        raise Refused("headers", f"header {USER_PROJECT} is {project!r}, which is no project")
    if project in allowed:
        return
    page = f"https://console.developers.google.com/iam-admin/iam/project?project={project}"
    message = (
        f"Caller does not have required permission to use project {project}. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission, "
        f"by visiting {page} and then retry. Propagation of the new permission may take a few minutes."
    )
    links = [{"description": "Google developer console IAM admin", "url": page}]
    help_page = {"@type": "type.googleapis.com/google.rpc.Help", "links": links}
    info = _info("USER_PROJECT_DENIED", {"consumer": f"projects/{project}", "service": service})
    raise Denied("rule", message, "PERMISSION_DENIED", [help_page, info])


def _info(reason: str, metadata: dict[str, str]) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": metadata,
    }
