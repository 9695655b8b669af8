"""Puts the parts of envoy/credentials/ into a gateway of envoy/, as an operator does by hand, and runs that."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import gateway
from .cloud.driver import StandIn
from .conftest import Edit, running
from .harness import Gate

FOLDER = gateway.ROOT / "envoy" / "credentials"

#: Where the parts find what the platform puts there, and where they put the socket of their listener.
PLACES = re.compile(r"(?<![\w/])/(?=var/run/|run/fairlead/)")

IRSA_TOKEN = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
POD_IDENTITY_TOKEN = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token"
FEDERATION_TOKEN = "/var/run/service-account/token"

#: What each platform sets for Envoy's process by itself.
ENVIRONMENT = {
    "eks-irsa": {
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/fairlead-bedrock", "AWS_WEB_IDENTITY_TOKEN_FILE": IRSA_TOKEN,
    },
    "eks-pod-identity": {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": POD_IDENTITY_TOKEN,
    },
    "ecs": {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/7c1d4c9e-4b5c-4f0a-9d0e-0f4c6f3f2a11"},
}  # fmt: skip

#: Every platform that has a part.
PLATFORMS = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "token-files")


def part(name: str, root: str = "") -> dict[str, Any]:
    """A part as it stands in its file, or with its files and its socket below another root."""
    return yaml.safe_load(PLACES.sub(f"{root}/", (FOLDER / f"{name}.yaml").read_text()))


def add(config: dict[str, Any], name: str, root: str = "") -> None:
    """Puts a part, and those that belong to it, into a gateway's configuration."""
    wanted = part(name, root)
    for other in wanted.pop("also", []):
        add(config, other.removesuffix(".yaml"), root)
    resources = config["static_resources"]
    for kind in ("listeners", "clusters"):
        new = wanted.pop(kind, [])
        names = {each["name"] for each in new}
        resources[kind] = [each for each in resources[kind] if each["name"] not in names] + new
    vm, plugin = wanted.pop("vm_config", {}), json.loads(wanted.pop("configuration", "{}"))
    assert not wanted, f"{name}.yaml has what nobody puts anywhere: {sorted(wanted)}"
    for settings in gateway.wasm_settings(config):
        settings["vm_config"]["vm_id"] = vm.get("vm_id", settings["vm_config"]["vm_id"])
        keys = settings["vm_config"].setdefault("environment_variables", {}).setdefault("host_env_keys", [])
        keys += [key for key in vm.get("environment_variables", {}).get("host_env_keys", []) if key not in keys]
        whole = json.loads(settings["configuration"]["value"])
        for backend, changes in plugin.get("backends", {}).items():
            whole["backends"][backend] |= changes
        settings["configuration"]["value"] = json.dumps(whole)


def production(name: str) -> dict[str, Any]:
    """gateway.yaml with a part in it, as it is in production."""
    config = gateway.load("gateway.yaml")
    add(config, name)
    return config


class Projected:
    """A file in a volume that Kubernetes projects: a link into `..data`, itself a link that is swapped at each change.

    As kubelet's atomic writer does it: github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, text: str) -> None:
        """Replaces the file at once; what was before is removed."""
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        version = Path(tempfile.mkdtemp(prefix="..", dir=folder))
        (version / self.path.name).write_text(text)
        data, new = folder / "..data", folder / "..data_tmp"
        before = data.resolve() if data.is_symlink() else None
        new.symlink_to(version.name)
        new.rename(data)
        if before is None:
            self.path.symlink_to(f"..data/{self.path.name}")
        else:
            shutil.rmtree(before)


@dataclass
class Platform:
    """A gateway on a platform, whose files are below a root of their own."""

    gate: Gate
    root: str

    def file(self, path: str) -> Path:
        """Where a file of the platform is on this machine."""
        return Path(PLACES.sub(f"{self.root}/", path))

    def projected(self, path: str) -> Projected:
        """A token file of the platform, to be written."""
        return Projected(self.file(path))


@contextmanager
def platform(
    name: str,
    version: str,
    cloud: StandIn,
    *,
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    plugin: Edit = lambda _: None,
    edit: Edit = lambda _: None,
    concurrency: int = 2,
) -> Iterator[Platform]:
    """A running gateway with a part in it.

    `environment` is added to what the platform sets by itself; `files` are its projected files, by their path in
    production. In both, production paths become those on this machine. Addresses become those of the stand-in cloud.
    """
    with tempfile.TemporaryDirectory(prefix="fairlead-") as root:
        os.makedirs(f"{root}/run/fairlead")

        def whole(config: dict[str, Any]) -> None:
            add(config, name, root)
            edit(config)

        variables = {**ENVIRONMENT.get(name, {}), **(environment or {})}
        local = {key: PLACES.sub(f"{root}/", value) for key, value in variables.items()}
        for path, text in (files or {}).items():
            Projected(Path(PLACES.sub(f"{root}/", path))).write(text)
        with running(
            version, cloud, f"platform-{name}", plugin=plugin, edit=whole, environment=local, concurrency=concurrency
        ) as gate:
            yield Platform(gate, root)
