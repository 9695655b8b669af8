"""What the control port may change of AWS's identity services and of AWS's clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from .keys import ACCOUNT
from .trouble import Trouble
from .web_tokens import POD_TOKEN, STS_TOKEN


@dataclass
class AwsSettings:
    """What all of AWS shares."""

    #: How far AWS's clock is ahead of this machine's.
    clock_offset_s: float = 0


@dataclass
class ImdsSettings(Trouble):
    """The instance metadata service."""

    lifetime_s: float = 3600
    #: For so long the same keys are handed out, as the real one does for most of their lifetime; 0: new ones each time.
    rotate_s: float = 0
    #: The instance's role; None: it has none.
    role: str | None = "fairlead-instance"
    zone: str = "us-east-1a"


@dataclass
class ContainerSettings(Trouble):
    """The container endpoints: the one of ECS, and the Pod Identity agent of EKS."""

    lifetime_s: float = 3600
    rotate_s: float = 0
    role_arn: str = f"arn:aws:iam::{ACCOUNT}:role/fairlead-task"
    #: Where ECS answers (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI).
    path: str = "/v2/credentials/3f8d2c1e-6b0a-4a57-9d7e-5c1b2a3d4e5f"
    #: What `authorization` must be at that path (AWS_CONTAINER_AUTHORIZATION_TOKEN); None: nothing, as on ECS.
    authorization: str | None = None
    #: The tokens that the Pod Identity agent believes: what is in the file now.
    tokens: list[str] = field(default_factory=lambda: [POD_TOKEN])


@dataclass
class StsSettings(Trouble):
    """The security token service."""

    #: In place of the DurationSeconds that was asked for, which cannot be below 900.
    lifetime_s: float | None = None
    #: Web identity tokens that are believed.
    tokens: list[str] = field(default_factory=lambda: [STS_TOKEN])
    #: ARNs of roles that may be assumed, `*` for anything.
    roles: list[str] = field(default_factory=lambda: [f"arn:aws*:iam::{ACCOUNT}:role/*"])
    #: ARN of a role -> the external id that it demands.
    external_ids: dict[str, str] = field(
        default_factory=lambda: {f"arn:aws:iam::{ACCOUNT}:role/external": "stand-in-external-id"}
    )
