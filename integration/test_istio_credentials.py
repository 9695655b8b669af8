"""envoy/istio/credentials/: what envoy/credentials/ has for Envoy alone, for the pods of Istio's gateway."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import gateway
from .cloud.driver import StandIn
from .cloud.web_tokens import STS_TOKEN
from .conftest import running
from .harness import BEDROCK, VERTEX, say, until
from .istio import credentials
from .istio.effective import effective, read
from .platform import ENVIRONMENT, FEDERATION_TOKEN, IRSA_TOKEN, PLACES, PLATFORMS, Platform, Projected, part
from .test_config import validate
from .test_istio import FOLDER, HEADERS, MESH, WAYS
from .test_platforms import google_json
from .test_reload import replace
from .test_token_files import SOCKET, served

VALUES = yaml.safe_load((credentials.FOLDER / "values.yaml").read_text())

#: Parts that are a platform's, and not the listener alone.
WITH_CREDENTIALS = [name for name in credentials.PARTS if name in PLATFORMS]


def resources(name: str, way: str) -> list[dict[str, Any]]:
    """What an operator applies for a part."""
    files = [*(other.removesuffix(".yaml") for other in part(name).get("also", [])), name]
    return read(MESH, FOLDER / f"{way}.yaml", *map(credentials.file, files))


def told(name: str) -> dict[str, Any]:
    """What the comment of a file says of the WasmPlugins."""
    lines = credentials.file(name).read_text().split("apiVersion")[0].splitlines()
    return yaml.safe_load("\n".join(line.removeprefix("#   ") for line in lines if line.startswith("#   ")))


def edited(name: str) -> list[dict[str, Any]]:
    """The same with the WasmPlugins edited as the file's comment says."""
    whole, changes = resources(name, "wasmplugin"), told(name)
    for plugin in whole:
        if plugin["kind"] == "WasmPlugin":
            spec = plugin["spec"]
            known = [each["name"] for each in spec["vmConfig"]["env"]]
            spec["vmConfig"]["env"] += [
                each for each in changes.get("vmConfig", {}).get("env", []) if each["name"] not in known
            ]
            for backend, change in changes["pluginConfig"]["backends"].items():
                if "pluginConfig" in spec:
                    spec["pluginConfig"]["backends"][backend] |= change
    return whole


# As they are written


def test_there_is_a_file_for_each_part_that_istio_needs() -> None:
    found = {path.stem for path in credentials.FOLDER.glob("*.yaml")} - {"values"}
    assert found == set(credentials.PARTS) == {"token-files", *PLATFORMS} - credentials.NOT_HERE


@pytest.mark.parametrize("name", credentials.PARTS)
def test_they_are_those_of_the_parts_for_envoy_alone(name: str) -> None:
    assert credentials.file(name).read_text() == credentials.written(name), "type: python -m integration.istio.credentials"


@pytest.mark.parametrize("name", WITH_CREDENTIALS)
def test_the_plugin_is_told_what_it_is_told_in_envoy_alone(name: str) -> None:
    alone = part(name)
    first, latch = gateway.wasm_settings(effective(edited(name), HEADERS))
    assert first["vm_config"] == latch["vm_config"], "they would not share a VM"
    keys = set(first["vm_config"]["environment_variables"]["host_env_keys"])
    assert keys >= set(alone["vm_config"].get("environment_variables", {}).get("host_env_keys", []))
    found = json.loads(first["configuration"]["value"])["backends"]
    for backend, change in json.loads(alone["configuration"])["backends"].items():
        assert found[backend]["credentials"] == change["credentials"]


def test_google_needs_nothing_on_its_own_platform() -> None:
    """Why there is no gke.yaml: mesh.yaml has the metadata server by the name that the plugins use."""
    made = effective(read(MESH, FOLDER / "wasmplugin.yaml"), HEADERS)
    plugin = json.loads(next(iter(gateway.wasm_settings(made)))["configuration"]["value"])
    used = plugin["backends"]["vertex-us-central1"]["credentials"]
    assert used["source"] == "metadata_server"
    assert used["cluster"] in [each["name"] for each in made["static_resources"]["clusters"]]


def test_the_pods_have_the_directory_and_the_tokens() -> None:
    assert set(VALUES) == {"serviceAccount", "env", "volumes", "volumeMounts"}
    mounts = {each["name"]: each["mountPath"] for each in VALUES["volumeMounts"]}
    assert sorted(mounts) == sorted(each["name"] for each in VALUES["volumes"])
    assert mounts["fairlead"] == str(Path(SOCKET).parent)
    assert mounts["google-token"] == str(Path(FEDERATION_TOKEN).parent)
    role = VALUES["serviceAccount"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role == ENVIRONMENT["eks-irsa"]["AWS_ROLE_ARN"]


def test_the_pods_token_is_for_the_provider_that_the_variable_names() -> None:
    (source,) = next(each for each in VALUES["volumes"] if each["name"] == "google-token")["projected"]["sources"]
    token, account = source["serviceAccountToken"], json.loads(VALUES["env"]["GOOGLE_CREDENTIALS_JSON"])
    assert token["audience"] == f"https:{account['audience']}" and token["path"] == Path(FEDERATION_TOKEN).name
    (known,) = google_json("federation").values()
    assert account.keys() == json.loads(known).keys()
    assert account["credential_source"] == json.loads(known)["credential_source"]


def test_the_readme_says_what_to_apply() -> None:
    readme = (gateway.ROOT / "README.md").read_text()
    (section,) = re.findall(r"\n## Into Istio\n(.*?)\n## ", readme, re.DOTALL)
    rows = [row for row in section.splitlines() if row.startswith("|") and "values.yaml" not in row]
    found = {name: row for row in rows for name in credentials.PARTS if f"`{name}.yaml`" in row}
    assert set(found) == set(credentials.PARTS)
    for name in WITH_CREDENTIALS:
        assert ("`token-files.yaml`" in found[name]) == ("also" in part(name)), name


# As Istio makes it


@pytest.mark.parametrize("name", WITH_CREDENTIALS)
def test_envoy_and_the_plugin_accept_what_istio_makes_of_it(version: str, name: str, tmp_path: Path) -> None:
    config = effective(edited(name), HEADERS)
    for settings in gateway.wasm_settings(config):
        settings["vm_config"]["code"]["local"]["filename"] = str(gateway.WASM)
    code, said = validate(version, config, tmp_path, **ENVIRONMENT.get(name, {}), **google_json(name))
    assert code == 0 and "OK" in said, said[-3000:]
    assert not re.search(r"deprecated|work-in-progress", said, re.IGNORECASE), said[-3000:]


@pytest.mark.parametrize("way", [*WAYS, "attempts"])
def test_the_gateways_own_patches_leave_the_tokens_alone(way: str) -> None:
    config = effective(resources("eks-irsa", way), HEADERS)
    front, tokens = config["static_resources"]["listeners"]
    assert list(gateway.wasm_settings(front)) and tokens == part("token-files")["listeners"][0]


@contextmanager
def pod(
    config: dict[str, Any], name: str, version: str, cloud: StandIn, token: str, edit: Callable[[dict[str, Any], str], None]
) -> Iterator[Platform]:
    """A gateway's pod on EKS, with a projected token; `edit` has the configuration and the root of the pod's files."""
    with tempfile.TemporaryDirectory(prefix="fairlead-") as root:
        os.makedirs(f"{root}/run/fairlead")
        Projected(Path(PLACES.sub(f"{root}/", IRSA_TOKEN))).write(token)
        config, variables = (json.loads(PLACES.sub(f"{root}/", json.dumps(each))) for each in (config, ENVIRONMENT["eks-irsa"]))
        edit(config, root)
        with running(version, cloud, f"istio-{name}", config=config, environment=variables) as gate:
            yield Platform(gate, root)


def as_it_is(_: dict[str, Any], __: str) -> None:
    pass


@pytest.mark.parametrize("way", WAYS)
def test_the_tokens_are_served_to_envoy_and_to_no_client(version: str, cloud: StandIn, way: str) -> None:
    cloud.reset()
    config = effective(resources("eks-irsa", way), HEADERS)
    with pod(config, f"tokens-{way}", version, cloud, "canary-71c4", as_it_is) as on:
        on.gate.fresh()
        assert served(on, IRSA_TOKEN) == (200, "canary-71c4")
        for headers in ({}, {"x-fairlead-cluster": "token_files"}):
            answer = on.gate.call("GET", str(on.file(IRSA_TOKEN)), headers=headers)
            assert answer.status == 404 and b"canary" not in answer.body, answer
        for model in (BEDROCK, VERTEX):
            assert on.gate.post({"model": model, "messages": say()}).status == 200
        on.gate.verify()


def test_the_listener_comes_and_changes_at_run_time_and_outlives_its_container(version: str, cloud: StandIn) -> None:
    """As istiod sends it. A container that died has left its socket in the directory, which is the pod's."""
    tokens: dict[str, Any] = {}
    file = Path("lds.json")

    def by_lds(config: dict[str, Any], root: str) -> None:
        nonlocal tokens, file
        _, tokens = config["static_resources"]["listeners"]
        config["static_resources"]["listeners"].remove(tokens)
        file = Path(root) / file
        config["dynamic_resources"] = {"lds_config": {"path_config_source": {"path": str(file)}}}
        config["node"] = {"id": "tests", "cluster": "tests"}
        send()

    def send() -> None:
        replace(file, {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", **tokens})

    config = effective(resources("eks-irsa", "envoyfilter"), HEADERS)
    with pod(config, "lds", version, cloud, "first", by_lds) as on:
        on.gate.fresh()
        until("the listener has come", lambda: on.file(SOCKET).exists())
        assert served(on, IRSA_TOKEN) == (200, "first")
        script = tokens["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]
        source = script["default_source_code"]
        source["inline_string"] = source["inline_string"].replace("return 200, text", 'return 200, text .. "!"')
        send()
        until("it has changed", lambda: served(on, IRSA_TOKEN) == (200, "first!"))
        process = on.gate.envoy.process
        assert process is not None
        process.kill()
        process.wait()
        assert on.file(SOCKET).exists()
        on.gate.envoy.start()
        until("it is back", lambda: served(on, IRSA_TOKEN) == (200, "first!"))
        on.gate.verify()


def test_a_pod_of_eks_calls_bedrock_as_its_role(version: str, cloud: StandIn) -> None:
    cloud.reset()
    with pod(effective(edited("eks-irsa"), HEADERS), "irsa", version, cloud, STS_TOKEN, as_it_is) as on:
        on.gate.fresh()
        assert on.gate.post({"model": BEDROCK, "messages": say()}).status == 200
        assert ":assumed-role/fairlead-bedrock/" in on.gate.sent("bedrock")["caller"]["arn"]
        assert on.gate.post({"model": VERTEX, "messages": say()}).status == 200
        on.gate.verify()
