"""Writes envoy/istio/credentials/: what the parts of envoy/credentials/ add to Envoy, as EnvoyFilters of the gateway.

python -m integration.istio.credentials; a test holds the files against this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import gateway, platform
from . import envoyfilter

FOLDER = gateway.ROOT / "envoy" / "istio" / "credentials"

#: Those that Istio has no need of: there is none on ECS, and mesh.yaml has what GKE takes.
NOT_HERE = {"ecs", "gke"}

PARTS = sorted(path.stem for path in platform.FOLDER.glob("*.yaml") if path.stem not in NOT_HERE)

MADE = """\
# Made from ../../credentials/{name}.yaml, which says {what}: change that file, then type
# python -m integration.istio.credentials

"""

TOKEN_FILES = """\
# fairlead in Istio (1.28 or newer): the tokens of the gateway's pods, for the files beside this one that ask for it.
# The pods need the directory of the socket: values.yaml. No other patch of an EnvoyFilter reaches a listener that one adds.
#
"""

PLATFORM = """\
# fairlead in Istio (1.28 or newer) with other credentials: apply this beside the files of ../{also}, and see
# values.yaml for the pods. Both WasmPlugins get these variables, and the first one these credentials in the place of its own
# (EnvoyFilters: `host_env_keys` and `configuration`, as in ../../credentials/{name}.yaml):
#
{plugin}#
"""


def settings(part: dict[str, Any]) -> dict[str, Any]:
    """What a part changes in the WasmPlugins: `vmConfig` of both, `pluginConfig` of the first."""
    keys = part["vm_config"].get("environment_variables", {}).get("host_env_keys", [])
    variables = {"vmConfig": {"env": [{"name": key, "valueFrom": "HOST"} for key in keys]}} if keys else {}
    return {**variables, "pluginConfig": json.loads(part["configuration"])}


def head(name: str, part: dict[str, Any]) -> str:
    """The comment above a part's EnvoyFilter."""
    if "configuration" not in part:
        return TOKEN_FILES + MADE.format(name=name, what="how it works")
    plugin = "".join(f"#   {line}\n" for line in envoyfilter.block(settings(part)).splitlines())
    also = "".join(f" and {other}" for other in part.get("also", []))
    made = MADE.format(name=name, what="what to set up at the cloud")
    return PLATFORM.format(also=also, name=name, plugin=plugin) + made


def written(name: str) -> str:
    """The whole file of a part."""
    part = platform.part(name)
    patches = [
        envoyfilter.patch(kind, "ADD", each)
        for kind, key in (("LISTENER", "listeners"), ("CLUSTER", "clusters"))
        for each in part.get(key, [])
    ]
    return envoyfilter.written(head(name, part), f"fairlead-{name}", patches)


def file(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


if __name__ == "__main__":
    for name in PARTS:
        file(name).write_text(written(name))
