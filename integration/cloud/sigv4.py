"""Check of a request's AWS credentials: SigV4 recomputed with botocore's own signer, or a Bedrock API key."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
from dataclasses import dataclass

from botocore.auth import SIGNED_HEADERS_BLACKLIST, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .http import Request
from .strict import Refused

SERVICE = "bedrock"


@dataclass(frozen=True)
class Key:
    """One test credential; a session token, where there is one, must come with it."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


#: The stand-in's accounts. None of these was ever a real key.
KEYS = (
    Key("AKIDSTANDIN000000001", "stand-in-secret-one/not+a+real=key"),
    Key("ASIDSTANDIN000000002", "stand-in-secret-two/not+a+real=key", "stand-in-session-token/+=two"),
)

#: A long-term Bedrock API key, sent as a bearer token instead of a signature.
BEARER = "stand-in-bedrock-api-key"

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Za-z0-9]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, "
    r"SignedHeaders=([a-z0-9-]+(?:;[a-z0-9-]+)*), Signature=([0-9a-f]{64})"
)

#: What AWS allows between the signature's time and its own clock.
SKEW = datetime.timedelta(minutes=5)


def check(
    request: Request, headers: dict[str, str], region: str | None, service: str, regions: set[str], bearers: set[str]
) -> str:
    """Refuse unless the request is signed for `service` in `region` (or one of `regions`); return the key id that signed.

    `region` is the one that the host name tells, None when the host is a bare address.
    """
    authorization = headers.get("authorization")
    if authorization is None:
        raise Refused("signature", "Missing Authentication Token", "MissingAuthenticationTokenException")
    if authorization.startswith("Bearer "):
        if authorization[7:] not in bearers:
            raise Refused("signature", "unknown bearer token", "AccessDeniedException")
        signing = sorted(name for name in headers if name.startswith("x-amz-"))
        if signing:
            raise Refused("signature", f"a bearer token and {signing[0]} together", "IncompleteSignatureException")
        return "bearer"
    parts = AUTHORIZATION.fullmatch(authorization)
    if parts is None:
        raise Refused("signature", "the authorization header is malformed", "IncompleteSignatureException")
    key_id, day, scope_region, scope_service, signed, signature = parts.groups()
    key = next((key for key in KEYS if key.access_key_id == key_id), None)
    if key is None:
        raise Refused(
            "signature", "The security token included in the request is invalid.", "UnrecognizedClientException"
        )
    if scope_service != service:
        raise Refused("signature", f"Credential should be scoped to correct service: '{service}'.", INVALID)
    if scope_region not in regions or (region is not None and scope_region != region):
        raise Refused("signature", f"Credential should be scoped to a valid region, not {scope_region!r}.", INVALID)
    stamp = headers.get("x-amz-date", "")
    _check_time(stamp, day)
    _check_token(key, headers)
    _check_names(signed.split(";"), headers)
    _check_payload(request, headers)
    expected = sign(request, headers, signed.split(";"), key, stamp, service, scope_region)
    if not hmac.compare_digest(expected, signature):
        raise Refused("signature", "The request signature we calculated does not match the signature you provided.",
                      INVALID)  # fmt: skip
    return key_id


INVALID = "InvalidSignatureException"


def sign(
    request: Request, headers: dict[str, str], names: list[str], key: Key, stamp: str, service: str, region: str
) -> str:
    """Compute the signature of the request as it came, over the headers that the client says it signed."""
    rebuilt = AWSRequest(
        method=request.method,
        url=f"http://{headers['host']}{request.target}",
        headers={name: headers[name] for name in names},
        data=request.body,
    )
    rebuilt.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(key.access_key_id, key.secret_access_key), service, region)
    return signer.signature(signer.string_to_sign(rebuilt, signer.canonical_request(rebuilt)), rebuilt)


def _check_time(stamp: str, day: str) -> None:
    try:
        when = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        raise Refused("signature", f"x-amz-date is {stamp!r}", "IncompleteSignatureException") from None
    if stamp[:8] != day:
        raise Refused("signature", "Date in Credential scope does not match x-amz-date.", INVALID)
    now = datetime.datetime.now(datetime.timezone.utc)
    if abs(now - when) > SKEW:
        raise Refused("signature", f"Signature expired: {stamp} is more than 5 min from {now:%Y%m%dT%H%M%SZ}", INVALID)


def _check_token(key: Key, headers: dict[str, str]) -> None:
    if headers.get("x-amz-security-token") != key.session_token:
        raise Refused(
            "signature", "The security token included in the request is invalid.", "UnrecognizedClientException"
        )


def _check_names(names: list[str], headers: dict[str, str]) -> None:
    if names != sorted(set(names)):
        raise Refused("signature", "SignedHeaders must be sorted and unique.", INVALID)
    for name in names:
        if name not in headers:
            raise Refused("signature", f"signed header {name} did not arrive", INVALID)
        if name in SIGNED_HEADERS_BLACKLIST or name == "content-length":
            raise Refused("signature", f"header {name} may be rewritten on the way and must not be signed", INVALID)
    required = {"host"} | {name for name in headers if name.startswith("x-amz-")}
    missing = sorted(required - set(names))
    if missing:
        raise Refused("signature", f"header {missing[0]} must be signed", INVALID)
    for name in names:
        value = headers[name]
        if value != " ".join(value.split()):
            raise Refused("signature", f"signed header {name} has stray white space", INVALID)


def _check_payload(request: Request, headers: dict[str, str]) -> None:
    told = headers.get("x-amz-content-sha256")
    if told is not None and told != hashlib.sha256(request.body).hexdigest():
        raise Refused("signature", "x-amz-content-sha256 is not the hash of the body", INVALID)
