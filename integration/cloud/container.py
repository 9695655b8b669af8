"""The stand-in for the endpoints that give a container its role's keys: the agent of ECS, and EKS's Pod Identity agent."""

from __future__ import annotations

import re
import uuid
from typing import Any

from . import keys
from .delivery import Whole
from .frame import CALL_HEADERS, Refusal
from .http import Exchange, Request, json_bytes, timestamp
from .identity import Identity, refuse
from .strict import LOOPBACK, Refused, check_headers
from .web_tokens import POD_AUDIENCE, claims

#: Where each agent listens. That of EKS looks at the host itself (`validateRequestTargetHost` of eks-pod-identity-agent).
ECS = re.compile(r"169\.254\.170\.2(:80)?")
EKS = re.compile(r"(169\.254\.170\.23|\[fd00:ec2::23\])(:80)?")

EKS_PATH = "/v1/credentials"

#: Parts of the name that each agent gives the session.
TASK = "7d1f0c9e8b7a4f6d9c3b2a1f0e9d8c7b"
POD = "eks-llm-fairlead-0b1c2d3e-4f50-4a6b-8c7d-9e0f1a2b3c4d"

JSON = {"Content-Type": "application/json"}
#: Go's `http.Error`, by which the agent of EKS answers.
TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}


class Container(Identity):
    """Handler of the container port."""

    name = "container"

    async def answer(self, request: Request, exchange: Exchange, entry: dict[str, Any]) -> None:
        try:
            headers = check_headers(request.headers, CALL_HEADERS, self.state.settings.allow_headers, None)
            if request.body:
                raise Refused("http", f"a body on {request.method}")
            if request.method != "GET":
                raise Refused("http", f"{request.method} is not GET")
        except Refused as refused:
            raise refuse(refused.kind, refused.detail, text(400, refused.detail)) from None
        name = self._admit(request, headers)
        self.state.counters["container.calls"] += 1
        instead = await self.call(name, self.state.settings.container, exchange)
        status, more, body = instead or (200, {}, self._keys(name))
        await exchange.whole(status, JSON | more, body)

    def _admit(self, request: Request, headers: dict[str, str]) -> str:
        """Which agent it is; refuses what that agent would."""
        host, settings = headers["host"], self.state.settings.container
        authorization = headers.get("authorization")
        if request.target == EKS_PATH:
            if not EKS.fullmatch(host) and not LOOPBACK.fullmatch(host):
                wanted = "please use either [169.254.170.23 fd00:ec2::23] address"
                detail = f"Access Denied. Called agent through invalid address, {wanted} not {host}"
                raise refuse("headers", detail, text(403, detail))
            self._check_token(authorization or "")
            return "eks"
        if not ECS.fullmatch(host) and not LOOPBACK.fullmatch(host):
            raise refuse("headers", f"host {host!r} does not serve {request.target}", text(404, "404 page not found"))
        if request.target == settings.path:
            if authorization != settings.authorization:
                raise refuse("token", "authorization is not what this path wants", ecs_error("AccessDenied", "denied", 403))
            return "ecs"
        if not request.target.startswith("/v2/credentials/"):
            raise refuse("path", f"nothing at {request.target}", text(404, "404 page not found"))
        error, message = ("InvalidIdInRequest", "Credentials not found")
        if request.target == "/v2/credentials/":
            error, message = ("NoIdInRequest", "No Credential ID in the request")
        raise refuse("path", message, ecs_error(error, f"CredentialsV2Request: {message}", 400))

    def _check_token(self, token: str) -> None:
        """First what the agent sees by itself (`DefaultCredentialValidator`), then what EKS Auth tells it."""
        if not token:
            raise no_token("Service account token cannot be empty")
        try:
            told = claims(token)
        except ValueError:
            raise no_token("Service account token cannot be parsed: token is malformed") from None
        if self.clock() >= told["exp"]:
            cause = "token has invalid claims: token is expired"
            raise no_token(f"Service account token failed basic claim validations: {cause}")
        if token not in self.state.settings.container.tokens or POD_AUDIENCE not in told["aud"]:
            cause = "The specified Kubernetes service account token is invalid."
            raise no_token(f"[{uuid.uuid4()}]: (InvalidTokenException): {cause}, fault: client")

    def _keys(self, agent: str) -> bytes:
        settings = self.state.settings.container
        session = TASK if agent == "ecs" else POD
        key = self.keys(keys.assumed(self.name, settings.role_arn, session, {}, ()), settings)
        given = {"AccessKeyId": key.access_key_id, "SecretAccessKey": key.secret_access_key, "Token": key.session_token}
        if agent == "ecs":
            return json_bytes({"RoleArn": settings.role_arn} | given | {"Expiration": timestamp(key.expires)})
        return json_bytes(given | {"AccountId": keys.ACCOUNT, "Expiration": timestamp(key.expires)})


def ecs_error(code: str, message: str, status: int) -> Whole:
    """`ErrorMessage` of the agent of ECS."""
    return status, JSON, json_bytes({"code": code, "message": message, "HTTPErrorCode": status})


def no_token(detail: str) -> Refusal:
    return refuse("token", detail, text(400, detail))


def text(status: int, message: str) -> Whole:
    return status, TEXT, (message + "\n").encode()
