"""Every way to come by AWS's keys, through a real Envoy: whose keys they are, Bedrock itself tells."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from . import gateway
from .cloud import imds, keys, web_tokens
from .cloud.aws_settings import ContainerSettings, ImdsSettings, StsSettings
from .cloud.container import POD, TASK
from .cloud.driver import StandIn
from .cloud.sigv4 import BEARER
from .harness import CHAT, CLIENT_KEY, SESSION_ACCESS_KEY_ID, SESSION_SECRET, SESSION_TOKEN, Gate, say
from .platform import ENVIRONMENT, IRSA_TOKEN, POD_IDENTITY_TOKEN, Platform, platform
from .sources import Begun, ask, bedrock, begun, key_of, sources
from .test_teams import team
from .test_token_files import Local

ACCOUNT = f"arn:aws:iam::{keys.ACCOUNT}"
ROLE = f"{ACCOUNT}:role/fairlead-bedrock"
EXTERNAL = f"{ACCOUNT}:role/external"
EXTERNAL_ID = StsSettings().external_ids[EXTERNAL]
ECS_PATH = ContainerSettings().path

STATIC = {
    "source": "static", "access_key_id": SESSION_ACCESS_KEY_ID, "secret_access_key": SESSION_SECRET,
    "session_token": SESSION_TOKEN,
}  # fmt: skip
WEB_IDENTITY = {
    "source": "web_identity", "role_arn": ROLE, "token_path": IRSA_TOKEN, "session_name": "pod",
    "clusters": {"file": "token_files", "sts": "aws_sts"},
}  # fmt: skip
POD_IDENTITY = {
    "source": "container", "path": "/v1/credentials", "token_path": POD_IDENTITY_TOKEN,
    "clusters": {"container": "aws_container", "file": "token_files"},
}  # fmt: skip

#: Everything that gives keys by itself.
BASES: dict[str, dict[str, Any]] = {
    "static": STATIC,
    "environment": {"source": "environment"},
    "instance": {"source": "instance", "clusters": {"instance": "aws_imds"}},
    "ecs": {"source": "container", "path": ECS_PATH, "clusters": {"container": "aws_container"}},
    "eks": POD_IDENTITY,
    "web-identity": WEB_IDENTITY,
}  # fmt: skip

FILES = {IRSA_TOKEN: web_tokens.STS_TOKEN, POD_IDENTITY_TOKEN: web_tokens.POD_TOKEN}


def session(role: str, name: str) -> str:
    """The ARN of a session."""
    return f"arn:aws:sts::{keys.ACCOUNT}:assumed-role/{role}/{name}"


#: Whose keys each of them are.
CALLERS = {
    "static": ("static", f"{ACCOUNT}:user/two"),
    "environment": ("static", f"{ACCOUNT}:user/one"),
    "instance": ("imds", session(str(ImdsSettings().role), imds.INSTANCE)),
    "ecs": ("container", session("fairlead-task", TASK)),
    "eks": ("container", session("fairlead-task", POD)),
    "web-identity": ("sts", session("fairlead-bedrock", "pod")),
}


def assuming(base: str, **more: Any) -> dict[str, Any]:
    """A base's credentials with a role on top."""
    written = BASES[base]
    role = {"role_arn": EXTERNAL, "external_id": EXTERNAL_ID, "session_name": f"over-{base}", **more}
    return written | {"clusters": {**written.get("clusters", {}), "sts": "aws_sts"}, "assume_role": role}


RUNTIME, VPC = "bedrock-runtime", "vpce-0fe5b17a0707d6abc-29p5708s"
ROLE_IN_CHINA = f"arn:aws-cn:iam::{keys.ACCOUNT}:role/fairlead-bedrock"

TAGS = {"cost-centre": "4711", "stage": "Größe: 1/2 +x"}

BACKENDS = {name: bedrock(credentials) for name, credentials in BASES.items()} | {
    "named": bedrock(BASES["instance"] | {"role_name": "fairlead-instance"}),
    "api-key": bedrock({"source": "api_key", "api_key": {"env": "AWS_BEARER_TOKEN_BEDROCK"}}),
    # STS of FIPS as well.
    "fips": bedrock(assuming("environment", session_name="fips"), endpoint="fips"),
    "vpc": bedrock(BASES["environment"], host=f"{VPC}.{RUNTIME}.us-east-1.vpce.amazonaws.com"),
    "china": bedrock(assuming("environment", role_arn=ROLE_IN_CHINA, session_name="china"), region="cn-north-1"),
    "government": bedrock(BASES["environment"], region="us-gov-west-1", endpoint="fips"),
    **{f"over-{base}": bedrock(assuming(base, tags=TAGS)) for base in BASES},
    # A session for each team in the backend's own role.
    "shared": bedrock(
        assuming("instance", role_arn=ROLE, external_id="unasked", per_team=True, tags={"stage": "test"})
    ),
}  # fmt: skip

#: Backends whose hosts are not those of others, and in which region they sign.
HOSTS = {
    "fips": (f"{RUNTIME}-fips.us-east-1.amazonaws.com", "us-east-1"),
    "vpc": (BACKENDS["vpc"]["host"], "us-east-1"),
    "china": (f"{RUNTIME}.cn-north-1.amazonaws.com.cn", "cn-north-1"),
    "government": (f"{RUNTIME}-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
}

REGIONS = ["us-east-1", "cn-north-1", "us-gov-west-1"]

#: Ten teams that have no role of their own, and two that have one.
MANY = [f"team-{number}" for number in range(10)]
OWN = {
    "blue": {"role_arn": f"{ACCOUNT}:role/teams/blue"},
    "red": {"role_arn": EXTERNAL, "external_id": EXTERNAL_ID},
}

ENVIRONMENT_OF_ALL = {"AWS_BEARER_TOKEN_BEDROCK": BEARER}


TEAMS = {
    "everybody": team(["*"]),
    **{name: team(["*"], key=key_of(name)) for name in MANY},
    **{
        name: team(["*"], key=key_of(name)) | {"credentials": {"over-eks": own, "environment": own, "shared": own}}
        for name, own in OWN.items()
    },
}
BACKENDS["environment"] = bedrock({"source": "environment", "clusters": {"sts": "aws_sts"}})


@pytest.fixture(scope="module")
def identities() -> Iterator[StandIn]:
    """A cloud of its own: its keys are counted and revoked."""
    with StandIn() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def everything(version: str, identities: StandIn) -> Iterator[Begun]:
    """A gateway with every source."""
    identities.reset()
    identities.config(regions=REGIONS)
    with sources(
        version, identities, "aws", BACKENDS, teams=TEAMS, environment=ENVIRONMENT_OF_ALL, files=FILES, concurrency=4
    ) as on:
        yield begun(on.gate, "sts")


@pytest.fixture
def gate(everything: Begun) -> Iterator[Gate]:
    everything.gate.fresh()
    yield everything.gate
    everything.gate.verify()


def caller(gate: Gate, model: str, key: str = CLIENT_KEY) -> dict[str, Any]:
    """Whose keys a request has reached Bedrock with."""
    answer = ask(gate, model, key)
    assert answer.status == 200, answer.body
    return gate.requests("bedrock")[-1]["caller"]


@pytest.mark.parametrize("base", BASES)
def test_keys_of_every_source_reach_bedrock(gate: Gate, base: str) -> None:
    seen = caller(gate, base)
    assert (seen["source"], seen["arn"]) == CALLERS[base]
    assert dict(gate.sent("bedrock")["headers"])["host"] == "bedrock-runtime.us-east-1.amazonaws.com"


@pytest.mark.parametrize("base", BASES)
def test_a_role_is_assumed_with_the_keys_of_every_source(gate: Gate, base: str) -> None:
    seen = caller(gate, f"over-{base}")
    assert (seen["source"], seen["arn"]) == ("sts", session("external", f"over-{base}"))
    assert seen["tags"] == TAGS and seen["session_name"] == f"over-{base}"


def test_each_source_is_fetched_once_for_all_workers_and_all_backends(everything: Begun) -> None:
    calls = {name: count for name, count in everything.counters.items() if name.endswith("_calls")}
    assert calls == {
        # The role's name is written down for one of two.
        "imds.token_calls": 2, "imds.role_calls": 1, "imds.key_calls": 2, "container.ecs_calls": 1,
        "container.eks_calls": 1, "sts.assume_role_with_web_identity_calls": 1, "sts.assume_role_calls": len(BASES) + 2,
    }  # fmt: skip


@pytest.mark.parametrize("base", BASES)
def test_sts_is_asked_with_the_keys_of_the_source(everything: Begun, base: str) -> None:
    (asked,) = [one for one in everything.asked if one["parameters"].get("RoleSessionName") == f"over-{base}"]
    assert asked["caller"]["arn"] == CALLERS[base][1]
    assert asked["parameters"]["ExternalId"] == EXTERNAL_ID
    assert dict(asked["headers"])["host"] == "sts.us-east-1.amazonaws.com"


@pytest.mark.parametrize(("name", "host"), [
    ("fips", "sts-fips.us-east-1.amazonaws.com"), ("china", "sts.cn-north-1.amazonaws.com.cn"),
])  # fmt: skip
def test_sts_is_asked_in_the_region_and_by_fips_as_bedrock_is(everything: Begun, name: str, host: str) -> None:
    (asked,) = [one for one in everything.asked if one["parameters"].get("RoleSessionName") == name]
    assert dict(asked["headers"])["host"] == host


@pytest.mark.parametrize("name", HOSTS)
def test_other_hosts_and_partitions_sign_right(gate: Gate, name: str) -> None:
    gate.cloud.config(regions=REGIONS)
    caller(gate, name)
    headers = dict(gate.sent("bedrock")["headers"])
    host, region = HOSTS[name]
    assert headers["host"] == host
    assert f"/{region}/bedrock/aws4_request" in headers["authorization"]


def test_an_api_key_is_a_bearer_token(gate: Gate) -> None:
    assert caller(gate, "api-key")["source"] == "bearer"
    headers = dict(gate.sent("bedrock")["headers"])
    assert headers["authorization"] == f"Bearer {BEARER}"
    assert not any(name.startswith("x-amz-") for name in headers)


def test_a_role_that_is_named_is_not_asked_for(gate: Gate) -> None:
    assert caller(gate, "named")["arn"] == CALLERS["instance"][1]


def test_ten_teams_have_ten_sessions_and_cost_no_fetch_of_the_source(gate: Gate) -> None:
    for name in MANY:
        seen = caller(gate, "shared", key_of(name))
        assert (seen["arn"], seen["tags"]) == (session("fairlead-bedrock", name), {"stage": "test", "team": name})
    counters = gate.counters()
    assert counters["sts.assume_role_calls"] == len(MANY)
    assert "imds.key_calls" not in counters, "the instance's keys are there, and will do for all"
    for name in MANY:
        caller(gate, "shared", key_of(name))
    assert gate.counters()["sts.assume_role_calls"] == len(MANY)


def test_a_team_may_have_a_role_of_its_own(gate: Gate) -> None:
    assert caller(gate, "environment", key_of("blue"))["arn"] == session("blue", "blue")
    assert caller(gate, "environment", key_of("red"))["arn"] == session("external", "red")
    assert caller(gate, "environment", key_of("red"))["tags"] == {"team": "red"}
    # In place of the backend's role, not on top of it, with its tags.
    seen = caller(gate, "over-eks", key_of("blue"))
    assert (seen["arn"], seen["tags"]) == (session("blue", "blue"), TAGS | {"team": "blue"})
    assumed = [request for request in gate.requests("sts") if request["parameters"]["RoleArn"].endswith("/blue")]
    assert [request["caller"]["arn"] for request in assumed] == [CALLERS["environment"][1], CALLERS["eks"][1]]
    assert caller(gate, "shared", key_of("red"))["arn"] == session("external", "red")


def test_a_team_without_a_role_calls_as_everybody_does(gate: Gate) -> None:
    for name in ("environment", "over-eks"):
        first = caller(gate, name, key_of("team-1"))
        assert first == caller(gate, name) and "team" not in first["tags"]


def test_one_teams_keys_are_not_anothers(gate: Gate) -> None:
    seen = {name: caller(gate, "shared", key_of(name))["access_key_id"] for name in (*MANY, *OWN)}
    assert len(set(seen.values())) == len(seen)


# The examples, as they are shipped

#: What each platform puts into the pod, and whose keys the gateway then has.
EXAMPLES: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "ec2": ({}, {}, CALLERS["instance"][1]),
    "ecs": ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": ECS_PATH}, {}, CALLERS["ecs"][1]),
    "eks-irsa": ({}, {IRSA_TOKEN: web_tokens.STS_TOKEN}, session("fairlead-bedrock", "fairlead")),
    "eks-pod-identity": ({}, {POD_IDENTITY_TOKEN: web_tokens.POD_TOKEN}, CALLERS["eks"][1]),
    "on-prem-aws": ({}, {}, session("fairlead-bedrock", "fairlead")),
}


@pytest.mark.parametrize(("envoy", "name"), list(zip(itertools.cycle(["1.36.2", "1.40.0"]), EXAMPLES)))
def test_an_example_calls_bedrock(envoy: str, name: str, identities: StandIn) -> None:
    environment, files, arn = EXAMPLES[name]
    identities.reset()
    identities.config(sts={"external_ids": {ROLE: "fairlead-production"}} if name == "on-prem-aws" else {})
    with platform(name, envoy, identities, environment=environment, files=files) as on:
        assert caller(on.gate, "claude-sonnet")["arn"] == arn
        on.gate.verify()


# The default chain: what it is, Envoy's environment decides when the configuration is loaded.

DEFAULT = {
    "source": "default",
    "clusters": {"instance": "aws_imds", "container": "aws_container", "file": "token_files", "sts": "aws_sts"},
}

#: What is set besides, from the first to the last; each takes precedence over those behind it.
CHAIN: dict[str, tuple[dict[str, str], str | None]] = {
    "api-key": ({"AWS_BEARER_TOKEN_BEDROCK": BEARER}, None),
    "environment": (
        {"AWS_ACCESS_KEY_ID": gateway.AWS_ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": gateway.AWS_SECRET_ACCESS_KEY},
        CALLERS["environment"][1],
    ),
    "web-identity": (ENVIRONMENT["eks-irsa"], session("fairlead-bedrock", "fairlead")),
    "ecs": ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": ECS_PATH}, CALLERS["ecs"][1]),
    "eks": (ENVIRONMENT["eks-pod-identity"], CALLERS["eks"][1]),
    "instance": ({}, CALLERS["instance"][1]),
}


def forms(config: dict[str, Any]) -> None:
    """Adds a listener for each form, whose plugin has the variables of that form and of those behind it."""
    first = gateway.front(config)
    for index, form in enumerate(CHAIN):
        listener = copy.deepcopy(first)
        listener |= {"name": form, "address": {"pipe": {"path": f"/run/fairlead/{form}.sock"}}}
        (settings,) = gateway.wasm_settings(listener)
        variables: dict[str, str] = {}
        for more, _ in list(CHAIN.values())[index:]:
            variables |= more
        if form == "ecs":
            # ECS would be shown it, as AWS's own SDKs do, and nobody has both.
            del variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
        settings["vm_config"] |= {"vm_id": f"fairlead-{form}", "environment_variables": {"key_values": variables}}
        config["static_resources"]["listeners"].append(listener)


@pytest.fixture(scope="module")
def chain(version: str, identities: StandIn) -> Iterator[Platform]:
    """A gateway with a listener for each form."""
    identities.reset()
    with sources(version, identities, "default", {"default": bedrock(DEFAULT)}, edit=forms, files=FILES) as on:
        yield on


@pytest.mark.parametrize("form", CHAIN)
def test_the_default_chain_takes_the_first_that_is_there(chain: Platform, form: str) -> None:
    chain.gate.fresh()
    with Local(chain.file(f"/run/fairlead/{form}.sock")) as connection:
        connection.request("POST", CHAT, json.dumps({"model": "default", "messages": say()}))
        response = connection.getresponse()
        assert response.status == 200, response.read()
    assert chain.gate.sent("bedrock")["caller"]["arn"] == CHAIN[form][1]
    chain.gate.verify()
