"""What the control port may change of Google's identity services."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import accounts
from .trouble import Trouble


@dataclass
class Issuing(Trouble):
    """How a port that issues access tokens answers."""

    lifetime_s: float = 3599


@dataclass
class Metadata(Issuing):
    """The metadata server."""

    #: Whose tokens it hands out.
    email: str = accounts.MACHINE


@dataclass
class Oauth2(Issuing):
    """The token endpoint of service accounts and users."""

    #: Refresh token -> whose it is. One that is not here has expired.
    refresh_tokens: dict[str, str] = field(default_factory=lambda: {accounts.REFRESH_TOKEN: accounts.USER})


@dataclass
class GoogleSts(Issuing):
    """The exchange of other clouds' and companies' tokens."""

    #: Accepted token of an OpenID Connect provider -> its subject.
    subject_tokens: dict[str, str] = field(default_factory=lambda: {accounts.SUBJECT_TOKEN: accounts.SUBJECT})
    #: Whether AWS's signature must cover `x-goog-cloud-target-resource`. Google recommends it, and takes it without:
    #: google-auth for Python adds the header behind the signature.
    signed_target: bool = True


@dataclass
class Iam(Issuing):
    """The issuer of tokens for those who may be a service account."""

    #: The most that a token may live; the request says how long it wants it.
    lifetime_s: float = 3600
    #: Service account -> the principals that may impersonate it. Who is not here does not exist.
    may_impersonate: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Subject(Trouble):
    """The URL where a workload gets its own token, to begin with as Azure's machines have it."""

    token: str = accounts.SUBJECT_TOKEN
    #: Path and query, as they must come.
    target: str = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fstand-in"
    #: Headers that must come, by lower-case name.
    headers: dict[str, str] = field(default_factory=lambda: {"metadata": "True"})
    #: The field of the JSON answer that has the token; None: the answer is the token.
    json_field: str | None = "access_token"


@dataclass
class Google:
    """What is Google's as a whole."""

    #: How far its clock is ahead of this machine's.
    clock_offset_s: float = 0
    #: Projects that every caller may let pay (`serviceusage.services.use`).
    quota_projects: list[str] = field(default_factory=list)
