"""The stand-in for AWS's security token service: assumed roles, with a web identity or with keys, and who a caller is."""

from __future__ import annotations

import fnmatch
import re
import uuid
from typing import Any

from . import keys, query, sigv4
from .delivery import Whole
from .frame import CALL_HEADERS, Refusal
from .http import Exchange, Request, timestamp
from .identity import Identity
from .keys import Caller, Key
from .shapes import service
from .strict import FORM, LOOPBACK, Refused, check_headers, parse_form
from .web_tokens import STS_AUDIENCE, claims

SERVICE = "sts"
VERSION = "2011-06-15"
NAMESPACE = f"https://sts.amazonaws.com/doc/{VERSION}/"

HOST = re.compile(r"sts(?:(?:-fips)?\.([a-z0-9-]+))?\.amazonaws\.com(\.cn)?")
#: Where the host without a region is.
GLOBAL = "us-east-1"

ROLE = re.compile(r"arn:(aws[a-z-]*):iam::\d{12}:role/(?:[!-~]+/)?[\w+=,.@-]{1,64}", re.ASCII)

#: What a caller signs on top of it for Google, which passes the request on (`google.auth.aws`).
TARGET = "x-goog-cloud-target-resource"
OWN_HEADERS = (*CALL_HEADERS, "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")

#: How long a session lasts when nothing is asked for, and at most when a role has assumed a role.
USUAL = CHAINED = 3600

#: Error -> HTTP status: those of the model, and those of
#: https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html that are given here.
ERRORS: dict[str, int] = {
    shape["error"]["code"]: shape["error"]["httpStatusCode"]
    for shape in service(SERVICE)._service_description["shapes"].values()
    if shape.get("exception")
} | {
    "AccessDenied": 403,
    "ExpiredToken": 403,
    "IncompleteSignature": 400,
    "InvalidAction": 400,
    "InvalidClientTokenId": 403,
    "InvalidParameterValue": 400,
    "MalformedQueryString": 404,
    "MissingAuthenticationToken": 403,
    "SignatureDoesNotMatch": 403,
    query.INVALID: 400,
}

#: What the check of signatures calls an error -> what the query protocol calls it.
NAMES = {
    "ExpiredTokenException": "ExpiredToken",
    "IncompleteSignatureException": "IncompleteSignature",
    sigv4.INVALID: "SignatureDoesNotMatch",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
}


class Sts(Identity):
    """Handler of the STS port."""

    name = "sts"

    async def answer(self, request: Request, exchange: Exchange, entry: dict[str, Any]) -> None:
        head = {"x-amzn-RequestId": str(uuid.uuid4()), "Content-Type": "text/xml"}
        try:
            told, headers, region = _read(request, self.state.settings.allow_headers)
            entry["parameters"] = dict(told)
            action, version = told.pop("Action", ""), told.pop("Version", "")
            if action not in ACTIONS or version != VERSION:
                raise Refused("path", f"Could not find operation {action} for version {version}", "InvalidAction")
            signer = self._signer(request, headers, region, action)
            if signer is not None:
                entry["caller"] = signer.record()
            asked = query.members(service(SERVICE).operation_model(action).input_shape, told)
            counter, run = ACTIONS[action]
            status, more, body = await self.call(counter, self.state.settings.sts, exchange) or (
                200, {}, query.answer(action, NAMESPACE, run(self, asked, signer, region), head["x-amzn-RequestId"])
            )  # fmt: skip
        except Refused as refused:
            raise Refusal(refused, _error(refused, head)) from None
        await exchange.whole(status, head | more, body)

    def _signer(self, request: Request, headers: dict[str, str], region: str | None, action: str) -> Key | None:
        """Who has signed; None where nobody has to."""
        if action != "AssumeRoleWithWebIdentity":
            return sigv4.check(request, headers, region, SERVICE, self.state.known())
        for name in headers:
            if name == "authorization" or name.startswith("x-amz-"):
                raise Refused("headers", f"header {name} on a call that is not signed", query.INVALID)
        return None

    def _assume_role(self, asked: dict[str, Any], signer: Key, region: str | None) -> dict[str, Any]:
        role, caller = asked["RoleArn"], signer.caller
        denied = f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {role}"
        self._check_role(role, region, denied)
        demanded = self.state.settings.sts.external_ids.get(role)
        if demanded is not None and asked.get("ExternalId") != demanded:
            raise Refused("rule", denied, "AccessDenied")
        if caller.session_name is not None and asked.get("DurationSeconds", USUAL) > CHAINED:
            detail = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
            raise Refused("rule", detail, query.INVALID)
        tags, transitive = _tags(asked, caller)
        given = self._credentials(asked, tags, transitive)
        # The percentage of what fits; how the real one packs is not told.
        packed = len(asked["Tags"]) if "Tags" in asked else None
        return {"SourceIdentity": asked.get("SourceIdentity")} | given | {"PackedPolicySize": packed}

    def _assume_role_with_web_identity(self, asked: dict[str, Any], _: None, region: str | None) -> dict[str, Any]:
        token = asked["WebIdentityToken"]
        try:
            found = claims(token)
        except ValueError:
            hint = "(You may see this error if you sent an Access Token)"
            raise Refused("token", f"The ID Token provided is not a valid JWT. {hint}", "InvalidIdentityToken") from None
        if token not in self.state.settings.sts.tokens:
            # The two spaces are the real one's.
            detail = (
                "Couldn't retrieve verification key from your identity provider,  please reference "
                "AssumeRoleWithWebIdentity documentation for requirements"
            )
            raise Refused("token", detail, "InvalidIdentityToken")
        now, ends = int(self.clock()), found["exp"]
        if now >= ends:
            detail = f"Token expired: current date/time {now} must be before the expiration date/time {ends}"
            raise Refused("token", detail, "ExpiredTokenException")
        if STS_AUDIENCE not in found["aud"]:
            raise Refused("token", "Incorrect token audience", "InvalidIdentityToken")
        self._check_role(asked["RoleArn"], region, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        about = {"SubjectFromWebIdentityToken": found["sub"], "Audience": STS_AUDIENCE}
        return about | self._credentials(asked, {}, ()) | {"Provider": found["iss"]}

    def _get_caller_identity(self, _: dict[str, Any], signer: Key, __: str | None) -> dict[str, Any]:
        return {"Arn": signer.caller.arn, "UserId": signer.caller.user_id, "Account": keys.ACCOUNT}

    def _check_role(self, role: str, region: str | None, denied: str) -> None:
        found = ROLE.fullmatch(role)
        if found is None or (region is not None and found[1] != _partition(region)):
            raise Refused("rule", "Request ARN is invalid", query.INVALID)
        if not any(fnmatch.fnmatchcase(role, pattern) for pattern in self.state.settings.sts.roles):
            raise Refused("rule", denied, "AccessDenied")

    def _credentials(self, asked: dict[str, Any], tags: dict[str, str], transitive: tuple[str, ...]) -> dict[str, Any]:
        """Issue keys, and tell them."""
        caller = keys.assumed(self.name, asked["RoleArn"], asked["RoleSessionName"], tags, transitive)
        ordered = self.state.settings.sts.lifetime_s
        key = self.issue(caller, asked.get("DurationSeconds", USUAL) if ordered is None else ordered)
        return {
            "AssumedRoleUser": {"Arn": caller.arn, "AssumedRoleId": caller.user_id},
            "Credentials": {
                "AccessKeyId": key.access_key_id,
                "SecretAccessKey": key.secret_access_key,
                "SessionToken": key.session_token,
                "Expiration": timestamp(key.expires),
            },
        }


#: What is answered: operation -> what its counter is called, and what does it.
ACTIONS = {
    "AssumeRole": ("assume_role", Sts._assume_role),
    "AssumeRoleWithWebIdentity": ("assume_role_with_web_identity", Sts._assume_role_with_web_identity),
    "GetCallerIdentity": ("get_caller_identity", Sts._get_caller_identity),
}


def _read(request: Request, tolerated: list[str]) -> tuple[dict[str, str], dict[str, str], str | None]:
    """The parameters, the headers, and the region that the host tells."""
    # Only as Google passes it on does a call have its parameters in the query.
    passed_on = bool(request.query)
    own = (*OWN_HEADERS, TARGET) if passed_on else OWN_HEADERS
    headers = check_headers(request.headers, own, tolerated, None if passed_on else FORM)
    if request.method != "POST" or request.path != "/":
        raise Refused("path", f"{request.method} {request.target} is not POST /", "InvalidAction")
    told = parse_form(request.query.encode() if passed_on else request.body)
    if passed_on and (request.body or told.get("Action") != "GetCallerIdentity"):
        raise Refused("form", "parameters in the query")
    return told, headers, _region(headers["host"])


def _region(host: str) -> str | None:
    """The region of a host; None for a bare address."""
    if LOOPBACK.fullmatch(host):
        return None
    found = HOST.fullmatch(host)
    region = (found[1] or GLOBAL) if found else ""
    if found is None or (found[2] is not None) != region.startswith("cn-"):
        raise Refused("headers", f"host {host!r} is not an STS endpoint")
    return region


def _partition(region: str) -> str:
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _tags(asked: dict[str, Any], caller: Caller) -> tuple[dict[str, str], tuple[str, ...]]:
    """The session's tags and which of them are transitive, with those that the caller's session hands down."""
    inherited = {name: caller.tags[name] for name in caller.transitive}
    given = {tag["Key"]: tag["Value"] for tag in asked.get("Tags", [])}
    names = {name.lower() for name in given}
    transitive = tuple(asked.get("TransitiveTagKeys", []))
    problem = None
    if len(names) < len(asked.get("Tags", [])):
        problem = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
    elif names & {name.lower() for name in inherited}:
        problem = (
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from "
            "the calling session."
        )
    elif not {name.lower() for name in transitive} <= names:
        problem = "The specified transitive tag key must be included in the requested tags."
    if problem is not None:
        raise Refused("rule", problem, "InvalidParameterValue")
    # By the names that the tags have, whatever the case they are called transitive in.
    lower = {name.lower() for name in transitive}
    return inherited | given, (*inherited, *(name for name in given if name.lower() in lower))


def _error(refused: Refused, head: dict[str, str]) -> Whole:
    if refused.kind == "form":
        code = "MalformedQueryString"
    else:
        code = (NAMES[refused.error] if refused.kind == "signature" else refused.error) or query.INVALID
    message = "Request is missing Authentication Token" if code == "MissingAuthenticationToken" else refused.detail
    return ERRORS[code], head, query.error(NAMESPACE, code, message, head["x-amzn-RequestId"])
