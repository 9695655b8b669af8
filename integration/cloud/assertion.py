"""Check of the JWT that a service account signs to get an access token.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest, with the words of Google's refusals.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from .accounts import Keys
from .strict import Refused, parse_json
from .token_endpoint import scopes

AUDIENCE = "https://oauth2.googleapis.com/token"

#: The longest that an assertion may be good for, in seconds.
LIFETIME = 3600
#: How far its `iat` may be ahead of Google's clock. Google does not tell how much it forgives; surely not less.
SKEW = 60

CLAIMS = {"iss", "scope", "aud", "iat", "exp"}


def check(assertion: str, keys: Keys, now: float) -> tuple[str, frozenset[str]]:
    """Refuse, or return whose token may be issued, and its scopes. `now` is Google's clock."""
    parts = assertion.split(".")
    if len(parts) != 3:
        raise _bad("shape", "Invalid JWT: three parts with dots between them are wanted.")
    header, claims = (_object(part) for part in parts[:2])
    kid = header.get("kid")
    if header != {"alg": "RS256", "typ": "JWT", "kid": kid} or not isinstance(kid, str):
        raise _bad("rule", "Invalid JWT: the header must have alg RS256, typ JWT, kid, and nothing else.")
    if "sub" in claims:
        raise Refused(
            "rule",
            "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of "
            "the scopes requested.",
            "unauthorized_client",
        )
    if claims.keys() != CLAIMS:
        raise _bad("rule", f"Invalid JWT: the claims must be {', '.join(sorted(CLAIMS))}.")
    email = claims["iss"]
    if not isinstance(email, str) or not keys.exists(email):
        raise _bad("rule", "Invalid grant: account not found")
    _verify(parts, keys, email, kid)
    if claims["aud"] != AUDIENCE:
        raise _bad("rule", "Invalid JWT: Failed audience check.")
    issued, expires = claims["iat"], claims["exp"]
    if type(issued) is not int or type(expires) is not int:
        raise _bad("rule", "Invalid JWT: iat and exp must be whole numbers.")
    if issued > now + SKEW or expires <= now or not 0 < expires - issued <= LIFETIME:
        raise _bad(
            "rule",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat "
            "and exp values in the JWT claim.",
        )
    return email, scopes(claims["scope"])


def _bad(kind: str, detail: str) -> Refused:
    return Refused(kind, detail, "invalid_grant")


def _object(part: str) -> dict[str, Any]:
    value = parse_json(_decode(part))
    if not isinstance(value, dict):
        raise _bad("shape", "Invalid JWT: a part is not a JSON object.")
    return value


def _decode(part: str) -> bytes:
    """Base64url of RFC 7515: no padding, no stray bits, one way to write it."""
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad("shape", "Invalid JWT: a part is not base64url.") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise _bad("shape", "Invalid JWT: a part is not canonical base64url.")
    return data


def _verify(parts: list[str], keys: Keys, email: str, kid: str) -> None:
    key = keys.find(email, kid)
    signed = ".".join(parts[:2]).encode()
    try:
        if key is None:
            raise InvalidSignature
        key.verify(_decode(parts[2]), signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise _bad("signature", "Invalid JWT Signature.") from None
