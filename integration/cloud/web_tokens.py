"""Projected service account tokens of Kubernetes, as EKS hands them to a pod: JWTs that only the stand-ins believe."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from .http import json_bytes

ISSUER = "https://oidc.eks.us-east-1.amazonaws.com/id/57A4D1405D34D5B4D5AE57A4D1405D34"
SUBJECT = "system:serviceaccount:llm:fairlead"

#: Who the tokens are for: IRSA's for STS, Pod Identity's for its agent.
STS_AUDIENCE = "sts.amazonaws.com"
POD_AUDIENCE = "pods.eks.amazonaws.com"


def projected(audience: str, expires: float, subject: str = SUBJECT) -> str:
    """A token with the claims that EKS writes. The signature is the right length and means nothing."""
    claims = {
        "aud": [audience],
        "exp": int(expires),
        "iat": int(expires) - 86400,
        "iss": ISSUER,
        "kubernetes.io": {"namespace": "llm", "serviceaccount": {"name": "fairlead"}},
        "sub": subject,
    }
    signed = _encode(json_bytes({"alg": "RS256", "kid": "stand-in"})) + "." + _encode(json_bytes(claims))
    return signed + "." + _encode(hashlib.sha512(signed.encode()).digest() * 4)


def claims(token: str) -> dict[str, Any]:
    """The claims of a token; ValueError when it is no JWT, or one without the claims that all of these have."""
    header, payload, signature = token.split(".")
    if not isinstance(_decode(header), dict) or not signature:
        raise ValueError("no JWT")
    found = _decode(payload)
    kinds = {"aud": list, "exp": int, "iss": str, "sub": str}
    if not isinstance(found, dict) or any(not isinstance(found.get(name), kind) for name, kind in kinds.items()):
        raise ValueError("no claims")
    return found


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(part: str) -> Any:
    return json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))


#: 2100-01-01; a test of expiry makes its own tokens and has them accepted through the control port.
FAR = 4102444800
#: What the stand-ins of STS and of the Pod Identity agent accept unless told otherwise.
STS_TOKEN = projected(STS_AUDIENCE, FAR)
POD_TOKEN = projected(POD_AUDIENCE, FAR)
