"""A gateway with a backend for each source of credentials that a test names.

Clusters and the listener of token files are those of envoy/credentials/. A backend's name is that of a model on it.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import conftest, gateway, platform
from .cloud.driver import StandIn
from .conftest import Edit, running
from .harness import BEDROCK, CLIENT_KEY, VERTEX, Answer, Gate, say, until
from .platform import PLACES, Platform, Projected

#: The parts that have a cluster for each place where credentials are fetched.
PARTS = ("token-files", "ec2", "ecs", "eks-irsa", "gke", "gcp-key", "federation")

Backends = Mapping[str, dict[str, Any]]

#: A model of each provider.
MODEL = {"bedrock": BEDROCK, "vertex": VERTEX}


def bedrock(credentials: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A backend of Bedrock's with these credentials."""
    return conftest.bedrock("bedrock_us_east_1", credentials) | more


def vertex(credentials: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A backend of Vertex AI's with these credentials."""
    return {
        "provider": "vertex", "project": "my-project", "location": "us-central1", "cluster": "vertex_us_central1",
        "credentials": credentials,
    } | more  # fmt: skip


def bring(config: dict[str, Any]) -> None:
    """Adds the clusters and listeners of all parts."""
    resources = config["static_resources"]
    for name in PARTS:
        part = platform.part(name)
        for kind in ("listeners", "clusters"):
            known = {each["name"] for each in resources[kind]}
            resources[kind] += [each for each in part.get(kind, []) if each["name"] not in known]
    # Whatever place a test makes one.
    resources["clusters"].append(conftest.cluster("subject"))


def let_in(config: dict[str, Any], names: list[str]) -> None:
    """Lets the plugin see more variables of Envoy's environment."""
    for settings in gateway.wasm_settings(config):
        keys = settings["vm_config"]["environment_variables"]["host_env_keys"]
        keys += [name for name in names if name not in keys]


def chained(config: dict[str, Any], backends: Backends, more: Mapping[str, list[str]]) -> None:
    """Gives each backend a cluster and a chain of its own in a configuration like fallback.yaml; `more` are chains."""
    clusters = config["static_resources"]["clusters"]
    known = {cluster["name"]: cluster for cluster in clusters}
    for name, backend in backends.items():
        own = copy.deepcopy(known[backend["cluster"]])
        own["name"] = own["load_assignment"]["cluster_name"] = f"to-{name}"
        # Tests that make a source fail are not about backends that are left alone for it.
        own.pop("outlier_detection")
        (endpoint,) = own["load_assignment"]["endpoints"][0]["lb_endpoints"]
        endpoint["metadata"]["filter_metadata"]["fairlead"]["backend"] = name
        clusters.append(own)
    for name, members in (*((name, [name]) for name in backends), *more.items()):
        chain = copy.deepcopy(known["only_us_east_1"])
        chain["name"] = f"chain-{name}"
        chain["cluster_type"]["typed_config"]["clusters"] = [f"to-{member}" for member in members]
        clusters.append(chain)


@contextmanager
def sources(
    version: str,
    cloud: StandIn,
    name: str,
    backends: Backends,
    *,
    teams: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    pairs: Mapping[str, list[str]] | None = None,
    gated: bool = False,
    clusters: Mapping[str, int] | None = None,
    edit: Edit = lambda _: None,
    concurrency: int = 2,
) -> Iterator[Platform]:
    """A running gateway with these backends and no others.

    `environment` and `files` are as with `platform.platform`. `gated`: both positions, as in fallback.yaml; `pairs` are
    then models that several backends have.
    """
    pairs = pairs or {}
    with tempfile.TemporaryDirectory(prefix="fairlead-") as root:
        os.makedirs(f"{root}/run/fairlead")

        def local(value: Any) -> Any:
            """With the places of production on this machine."""
            return json.loads(PLACES.sub(f"{root}/", json.dumps(value)))

        variables = local(dict(environment or {}))

        def plugin(whole: dict[str, Any]) -> None:
            whole["backends"] = local(backends)
            models = {each: MODEL[backend["provider"]] for each, backend in backends.items()}
            whole["models"] = [{"name": each, "backend": each, "model": model} for each, model in models.items()]
            for pair, members in pairs.items():
                targets = [
                    {"backend": each, "model": models[each], "order": order} for order, each in enumerate(members, 1)
                ]
                whole["models"].append({"name": pair, "targets": targets})
            if gated:
                for each, backend in whole["backends"].items():
                    backend["cluster"] = f"to-{each}"
                chains = {**{each: [each] for each in backends}, **pairs}
                whole["chains"] = [
                    {"cluster": f"chain-{each}", "backends": members} for each, members in chains.items()
                ]
            if teams:
                whole["teams"] = dict(teams)

        def whole(config: dict[str, Any]) -> None:
            bring(config)
            let_in(config, list(variables))
            if gated:
                chained(config, backends, pairs)
            edit(config)
            config |= local(config)

        for path, text in (files or {}).items():
            Projected(Path(local(path))).write(text)
        with running(
            version, cloud, f"sources-{name}", plugin=plugin, edit=whole, environment=variables,
            concurrency=concurrency, clusters={"subject": cloud.ports["subject"], **(clusters or {})},
            file="fallback.yaml" if gated else "gateway.yaml",
        ) as gate:  # fmt: skip
            yield Platform(gate, root)


def ask(gate: Gate, model: str, key: str = CLIENT_KEY, script: str = "") -> Answer:
    """Asks a model as the owner of a key."""
    return gate.post({"model": model, "messages": say(script)}, {"authorization": f"Bearer {key}"})


def key_of(team: str) -> str:
    """The key of a team, which is no secret here."""
    return f"key-of-{team}"


def health(gate: Gate) -> Any:
    """What the gateway says of itself; it lives in any case."""
    answer = gate.call("GET", "/health")
    assert answer.status == 200
    return json.loads(answer.body)


@dataclass
class Begun:
    """A gateway that has all its credentials, and what it has asked for to get them."""

    gate: Gate
    counters: dict[str, int]
    #: What one of those who hand out was asked.
    asked: list[dict[str, Any]]


def begun(gate: Gate, role: str) -> Begun:
    """Waits for all credentials; `role` is the one whose requests are kept."""
    until("all are there", lambda: health(gate) == {"status": "ok"})
    return Begun(gate, gate.counters(), gate.requests(role))
