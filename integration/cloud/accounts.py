"""Who Google's stand-ins know: service accounts and their keys, a user, the identity pools. None of it was ever real."""

from __future__ import annotations

import itertools
import re
import secrets
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PROJECT = "my-project"

#: The account that the metadata server hands out tokens of.
MACHINE = f"stand-in-machine@{PROJECT}.iam.gserviceaccount.com"
#: The account that a new key belongs to, unless another is asked for.
KEYED = f"stand-in-keyed@{PROJECT}.iam.gserviceaccount.com"

#: A person who has logged in with `gcloud auth application-default login`, and what that has left behind.
USER = "user@example.com"
CLIENT_ID = "123456789012-standin.apps.googleusercontent.com"
CLIENT_SECRET = "stand-in-client-secret/+=not-real"
REFRESH_TOKEN = "1//stand-in-refresh-token"

POOL = "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/stand-in-pool"
WORKFORCE_POOL = "//iam.googleapis.com/locations/global/workforcePools/stand-in-workforce"
OIDC = f"{POOL}/providers/stand-in-oidc"
AWS = f"{POOL}/providers/stand-in-aws"
WORKFORCE = f"{WORKFORCE_POOL}/providers/stand-in-oidc"

#: An identity that an OpenID Connect provider of a pool vouches for, and its token.
SUBJECT = "stand-in-subject"
SUBJECT_TOKEN = "stand-in.subject-token.not-real"

#: https://cloud.google.com/iam/docs/service-account-overview
EMAIL = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z][a-z0-9-]{4,28}[a-z0-9]\.iam\.gserviceaccount\.com")


def principal(audience: str, subject: str) -> str:
    """The member of a pool: https://cloud.google.com/iam/docs/principal-identifiers."""
    return "principal:" + audience.partition("/providers/")[0] + "/subject/" + subject


class Keys:
    """The keys of service accounts; who has ever had one exists."""

    #: Google's ids of clients have 21 digits.
    _clients = itertools.count(100_000_000_000_000_000_001)

    def __init__(self) -> None:
        self._accounts: set[str] = set()
        self._keys: dict[str, tuple[str, rsa.RSAPublicKey]] = {}

    def create(self, email: str) -> dict[str, Any]:
        """Make a key; returns the file that Google's console gives for it, which is the only copy."""
        if not EMAIL.fullmatch(email):
            raise ValueError(f"{email!r} is not the address of a service account")
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = secrets.token_hex(20)
        self._accounts.add(email)
        self._keys[name] = email, private.public_key()
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": email.partition("@")[2].partition(".")[0],
            "private_key_id": name,
            "private_key": pem.decode(),
            "client_email": email,
            "client_id": str(next(self._clients)),
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": "https://oauth2.googleapis.com/token",
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{quote(email)}",
            "universe_domain": "googleapis.com",
        }

    def delete(self, name: str) -> None:
        """Forget a key; its account stays. Raises KeyError."""
        del self._keys[name]

    def exists(self, email: str) -> bool:
        return email in self._accounts

    def find(self, email: str, name: str) -> rsa.RSAPublicKey | None:
        """The public key of this name, if it is this account's."""
        owner, key = self._keys.get(name, ("", None))
        return key if owner == email else None
