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
from .keys import Caller, Key, Keyring
from .strict import Refused

SERVICE = "bedrock"


@dataclass(frozen=True)
class Known:
    """What a request's credentials are held against."""

    keyring: Keyring
    regions: set[str]
    #: AWS's clock, in seconds since 1970.
    now: float
    #: Bedrock API keys; None where they are of no use.
    bearers: set[str] | None = None


#: A long-term Bedrock API key, sent as a bearer token instead of a signature.
BEARER = "stand-in-bedrock-api-key"
#: How Bedrock API keys begin, the long-term ones and the short-term ones (`aws-bedrock-token-generator`).
PREFIXES = ("ABSK", "bedrock-api-key-")

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Za-z0-9]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, "
    r"SignedHeaders=([a-z0-9-]+(?:;[a-z0-9-]+)*), Signature=([0-9a-f]{64})"
)

#: What AWS allows between the signature's time and its own clock.
SKEW = datetime.timedelta(minutes=5)
STAMP = "%Y%m%dT%H%M%SZ"


def check(request: Request, headers: dict[str, str], region: str | None, service: str, known: Known) -> Key:
    """Refuse unless the request is signed for `service` in `region` (or one of those known); return the key that signed.

    `region` is the one that the host name tells, None when the host is a bare address.
    """
    authorization = headers.get("authorization")
    if authorization is None:
        raise Refused("signature", "Missing Authentication Token", "MissingAuthenticationTokenException")
    if authorization.startswith("Bearer ") and known.bearers is not None:
        return _check_bearer(authorization[7:], headers, known.bearers)
    parts = AUTHORIZATION.fullmatch(authorization)
    if parts is None:
        raise Refused("signature", "the authorization header is malformed", "IncompleteSignatureException")
    key_id, day, scope_region, scope_service, signed, signature = parts.groups()
    key = known.keyring.find(key_id)
    if key is None:
        raise Refused("signature", INVALID_TOKEN, "UnrecognizedClientException")
    if scope_service != service:
        raise Refused("signature", f"Credential should be scoped to correct service: '{service}'.", INVALID)
    if scope_region not in known.regions or (region is not None and scope_region != region):
        raise Refused("signature", f"Credential should be scoped to a valid region, not {scope_region!r}.", INVALID)
    stamp = headers.get("x-amz-date", "")
    _check_time(stamp, day, known.now)
    if headers.get("x-amz-security-token") != key.session_token:
        raise Refused("signature", INVALID_TOKEN, "UnrecognizedClientException")
    if key.expires is not None and known.now >= key.expires:
        raise Refused("signature", "The security token included in the request is expired", "ExpiredTokenException")
    _check_names(signed.split(";"), headers)
    _check_payload(request, headers)
    expected = sign(request, headers, signed.split(";"), key, stamp, service, scope_region)
    if not hmac.compare_digest(expected, signature):
        raise Refused("signature", MISMATCH, INVALID)
    return key


INVALID = "InvalidSignatureException"
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and "
    "signing method. Consult the service documentation for details."
)
INVALID_TOKEN = "The security token included in the request is invalid."


def _check_bearer(token: str, headers: dict[str, str], bearers: set[str]) -> Key:
    if token not in bearers:
        detail = "Authentication failed: Please make sure your API Key is valid."
        if not token.startswith(PREFIXES):
            detail = "Invalid API Key format: Must start with pre-defined prefix"
        raise Refused("token", detail, "AccessDeniedException")
    signing = sorted(name for name in headers if name.startswith("x-amz-"))
    if signing:
        raise Refused("signature", f"a bearer token and {signing[0]} together", "IncompleteSignatureException")
    return Key("bearer", "", caller=Caller("bearer"))


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


def _check_time(stamp: str, day: str, clock: float) -> None:
    try:
        when = datetime.datetime.strptime(stamp, STAMP).replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        raise Refused("signature", f"x-amz-date is {stamp!r}", "IncompleteSignatureException") from None
    if stamp[:8] != day:
        raise Refused("signature", "Date in Credential scope does not match x-amz-date.", INVALID)
    now = datetime.datetime.fromtimestamp(clock, datetime.timezone.utc)
    if when < now - SKEW:
        limit = f"{now - SKEW:{STAMP}} ({now:{STAMP}} - 5 min.)"
        raise Refused("signature", f"Signature expired: {stamp} is now earlier than {limit}", INVALID)
    if when > now + SKEW:
        limit = f"{now + SKEW:{STAMP}} ({now:{STAMP}} + 5 min.)"
        raise Refused("signature", f"Signature not yet current: {stamp} is still later than {limit}", INVALID)


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
