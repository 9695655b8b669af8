"""The parts of envoy/credentials/: sound, of one mind, and each a gateway that Envoy and the plugin accept."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from . import gateway
from .cloud.driver import StandIn
from .harness import VERTEX, say
from .platform import ENVIRONMENT, FEDERATION_TOKEN, FOLDER, PLATFORMS, part, platform, production
from .test_config import validate


def google_json(name: str) -> dict[str, str]:
    """The variable with Google's JSON, where a platform has one: nobody's account."""
    account = "fairlead@my-project.iam.gserviceaccount.com"
    if name == "gcp-key":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        whole: dict[str, Any] = {
            "type": "service_account", "project_id": "my-project", "private_key_id": "0123456789abcdef",
            "private_key": pem, "client_email": account, "client_id": "1", "universe_domain": "googleapis.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }  # fmt: skip
    elif name == "federation":
        # As gcloud's create-cred-config prints it: google.aip.dev/auth/4117.
        iam = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"
        whole = {
            "universe_domain": "googleapis.com", "type": "external_account",
            "audience": "//iam.googleapis.com/projects/123456/locations/global/workloadIdentityPools/pool/providers/p",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"file": FEDERATION_TOKEN, "format": {"type": "text"}},
            "service_account_impersonation_url": f"{iam}/{account}:generateAccessToken",
        }  # fmt: skip
    else:
        return {}
    return {"GOOGLE_CREDENTIALS_JSON": json.dumps(whole)}


@pytest.mark.parametrize("name", PLATFORMS)
def test_envoy_and_the_plugin_accept_a_gateway_with_the_part(version: str, name: str, tmp_path: Path) -> None:
    config = production(name)
    for settings in gateway.wasm_settings(config):
        settings["vm_config"]["code"]["local"]["filename"] = str(gateway.WASM)
    variables = {**ENVIRONMENT.get(name, {}), **google_json(name)}
    code, said = validate(version, config, tmp_path, **variables)
    assert code == 0 and "OK" in said, said[-3000:]
    assert not re.search(r"deprecated|work-in-progress", said, re.IGNORECASE), said[-3000:]
    assert not any(value in said for value in google_json(name).values())


def test_a_part_makes_a_gateway_that_runs(version: str, cloud: StandIn) -> None:
    cloud.reset()
    with platform("gke", version, cloud) as on:
        on.gate.fresh()
        assert on.gate.completions.create(model=VERTEX, messages=say()).choices
        on.gate.verify()


def clusters() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every cluster of every part, with the part's name."""
    for path in sorted(FOLDER.glob("*.yaml")):
        for cluster in part(path.stem).get("clusters", []):
            yield path.stem, cluster


def address(cluster: dict[str, Any]) -> dict[str, Any]:
    """The one address of a cluster."""
    ((endpoint,),) = (each["lb_endpoints"] for each in cluster["load_assignment"]["endpoints"])
    return endpoint["endpoint"]["address"]


def test_parts_that_have_the_same_cluster_have_it_alike() -> None:
    shipped = {each["name"]: each for each in gateway.load("gateway.yaml")["static_resources"]["clusters"]}
    known: dict[str, Any] = {json.dumps([name, address(each)]): each for name, each in shipped.items()}
    for name, cluster in clusters():
        same = known.setdefault(json.dumps([cluster["name"], address(cluster)]), cluster)
        assert cluster == same, f"{cluster['name']} of {name} is not as elsewhere"


def test_whatever_leaves_the_machine_is_encrypted_and_knows_whom_it_speaks_to() -> None:
    for name, cluster in clusters():
        if "pipe" in address(cluster):
            continue
        to = address(cluster)["socket_address"]
        if to["port_value"] == 80:
            # Metadata servers and agents: on the machine, and to be had in no other way.
            local = to["address"] == "metadata.google.internal" or ipaddress.ip_address(to["address"]).is_link_local
            assert local and "transport_socket" not in cluster, (name, to)
            continue
        assert to["port_value"] == 443, (name, to)
        tls = cluster["transport_socket"]["typed_config"]
        context = tls["common_tls_context"]["validation_context"]
        names = [(each["san_type"], each["matcher"]) for each in context["match_typed_subject_alt_names"]]
        assert (tls["sni"], names) == (to["address"], [("DNS", {"exact": to["address"]})]), (name, to)
        assert context["trusted_ca"]["filename"], name


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_part_brings_all_that_its_credentials_name(name: str) -> None:
    ((backend, changes),) = json.loads(part(name)["configuration"])["backends"].items()
    assert list(changes) == ["credentials"] and backend in ("bedrock-us-east-1", "vertex-us-central1")
    credentials = changes["credentials"]
    named = {*credentials.get("clusters", {}).values(), *filter(None, [credentials.get("cluster")])}
    brought = {each["name"] for each in part(name)["clusters"]}
    for other in part(name).get("also", []):
        brought |= {each["name"] for each in part(other.removesuffix(".yaml"))["clusters"]}
    assert named == brought
    vm = part(name)["vm_config"]
    assert vm["vm_id"] == "fairlead", "it would share its keys with others"
    keys = set(vm.get("environment_variables", {}).get("host_env_keys", []))
    own = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} if name == "on-prem-aws" else set()
    assert keys == ENVIRONMENT.get(name, {}).keys() | google_json(name).keys() | own


def test_the_files_that_the_platforms_mount_are_the_ones_that_are_served() -> None:
    (listener,) = part("token-files")["listeners"]
    script = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]
    listed = re.findall(r'\["(/.+)"\] = true', script["default_source_code"]["inline_string"])
    mounted = [value for each in ENVIRONMENT.values() for key, value in each.items() if key.endswith("_TOKEN_FILE")]
    assert sorted(listed) == sorted([*mounted, FEDERATION_TOKEN])
    assert address(part("token-files")["clusters"][0])["pipe"]["path"] == listener["address"]["pipe"]["path"]


def test_the_readme_has_each_part_in_its_table() -> None:
    readme = (gateway.ROOT / "README.md").read_text()
    ((table,),) = [re.findall(r"### Credentials, platform by platform\n(.*?)\n###? ", readme, re.DOTALL)]
    rows = re.findall(r"^\|.*?\(envoy/credentials/([\w-]+)\.yaml\)(.*)$", table, re.MULTILINE)
    assert sorted(name for name, _ in rows) == PLATFORMS
    for name, rest in rows:
        assert ("token-files.yaml" in rest) == ("also" in part(name)), name
