"""Every way to come by Google's access tokens, through a real Envoy: whose they are, Vertex AI itself tells."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from . import gateway
from .cloud import accounts, imds, keys
from .cloud.aws_settings import ImdsSettings
from .cloud.driver import StandIn
from .cloud.google_settings import Subject
from .harness import CHAT, CLIENT_KEY, Gate, say
from .platform import FEDERATION_TOKEN, platform
from .sources import Begun, ask, begun, key_of, sources, vertex
from .test_teams import team
from .test_token_files import Local

DOMAIN = "my-project.iam.gserviceaccount.com"
TARGET, MIDDLE = f"stand-in-target@{DOMAIN}", f"stand-in-middle@{DOMAIN}"
BLUE, RED = f"stand-in-blue@{DOMAIN}", f"stand-in-red@{DOMAIN}"

#: Who are let in to be whom, by whatever source they come.
WORKLOAD = accounts.principal(accounts.OIDC, accounts.SUBJECT)
WORKFORCE = accounts.principal(accounts.WORKFORCE, accounts.SUBJECT)
ON_AWS = accounts.principal(accounts.AWS, f"arn:aws:iam::{keys.ACCOUNT}:user/one")
ON_EC2 = accounts.principal(
    accounts.AWS, f"arn:aws:sts::{keys.ACCOUNT}:assumed-role/{ImdsSettings().role}/{imds.INSTANCE}"
)
EVERYBODY = [accounts.MACHINE, accounts.KEYED, accounts.USER, WORKLOAD, WORKFORCE, ON_AWS]
#: Each may be the target, and the account in the middle and each team's as well.
MAY = {TARGET: [*EVERYBODY, MIDDLE], MIDDLE: EVERYBODY, BLUE: EVERYBODY, RED: EVERYBODY}

PAYERS = ["paying-project", "project-of-json"]

USER = {
    "type": "authorized_user", "client_id": accounts.CLIENT_ID, "client_secret": accounts.CLIENT_SECRET,
    "refresh_token": accounts.REFRESH_TOKEN,
}  # fmt: skip

JWT = "urn:ietf:params:oauth:token-type:jwt"
AWS_REQUEST = "urn:ietf:params:aws:token-type:aws4_request"


def account(audience: str, kind: str, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What gcloud's create-cred-config prints: google.aip.dev/auth/4117."""
    return {
        "universe_domain": "googleapis.com", "type": "external_account", "audience": audience,
        "subject_token_type": kind, "token_url": "https://sts.googleapis.com/v1/token", "credential_source": source,
    } | more  # fmt: skip


def impersonation_url(email: str) -> str:
    return f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken"


FILE = {"file": FEDERATION_TOKEN, "format": {"type": "text"}}
URL = {
    "url": f"http://169.254.169.254{Subject().target}", "headers": {"Metadata": "True"},
    "format": {"type": "json", "subject_token_field_name": "access_token"},
}  # fmt: skip
AWS = {
    "environment_id": "aws1",
    "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
    "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials",
    "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
    "imdsv2_session_token_url": "http://169.254.169.254/latest/api/token",
}

#: Files of credentials, by the variable that has them.
FILES_OF_GOOGLE = {
    "USER_JSON": USER,
    "PAYING_USER_JSON": USER | {"quota_project_id": "project-of-json"},
    "FILE_JSON": account(accounts.OIDC, JWT, FILE),
    "URL_JSON": account(accounts.OIDC, JWT, URL),
    "AWS_JSON": account(accounts.AWS, AWS_REQUEST, AWS),
    "WORKFORCE_JSON": account(accounts.WORKFORCE, JWT, FILE, workforce_pool_user_project="paying-project"),
    "TAKING_ON_JSON": account(accounts.OIDC, JWT, FILE, service_account_impersonation_url=impersonation_url(TARGET)),
}


def source(kind: str, variable: str, **clusters: str) -> dict[str, Any]:
    """A source with a file."""
    return {"source": kind, "json": {"env": variable}, "clusters": clusters}


BASES: dict[str, dict[str, Any]] = {
    "machine": {"source": "metadata_server", "clusters": {"metadata": "gcp_metadata"}},
    "key": source("service_account", "KEY_JSON", token="google_oauth2"),
    "user": source("authorized_user", "USER_JSON", token="google_oauth2"),
    "file": source("external_account", "FILE_JSON", sts="google_sts", file="token_files"),
    "url": source("external_account", "URL_JSON", sts="google_sts", subject="subject"),
    "aws": source("external_account", "AWS_JSON", sts="google_sts", instance="aws_imds"),
    "workforce": source("external_account", "WORKFORCE_JSON", sts="google_sts", file="token_files"),
}

PRINCIPALS = {
    "machine": accounts.MACHINE, "key": accounts.KEYED, "user": accounts.USER, "file": WORKLOAD, "url": WORKLOAD,
    "aws": ON_AWS, "workforce": WORKFORCE,
}  # fmt: skip


def being(base: str, **more: Any) -> dict[str, Any]:
    """A base's credentials with a service account on top."""
    written = BASES[base]
    clusters = {**written["clusters"], "iam": "google_iam"}
    return written | {"clusters": clusters, "impersonate": {"service_account": TARGET, **more}}


BACKENDS = {name: vertex(credentials) for name, credentials in BASES.items()} | {
    **{f"being-{base}": vertex(being(base)) for base in BASES},
    "delegated": vertex(being("key", delegates=[MIDDLE], lifetime_seconds=900)),
    "taking-on": vertex(
        source("external_account", "TAKING_ON_JSON", sts="google_sts", file="token_files", iam="google_iam")
    ),
    "paid": vertex(BASES["key"] | {"quota_project": "paying-project"}),
    "paid-by-json": vertex(source("authorized_user", "PAYING_USER_JSON", token="google_oauth2")),
    "teams": vertex(BASES["key"] | {"clusters": {"token": "google_oauth2", "iam": "google_iam"}}),
}

OWN = {"blue": {"service_account": BLUE}, "red": {"service_account": RED}}
MANY = [f"team-{number}" for number in range(10)]


def address(name: str) -> str:
    """A team's own account."""
    return f"stand-in-{name}@{DOMAIN}"


TEAMS = {
    "everybody": team(["*"]),
    "green": team(["*"], key=key_of("green")),
    **{
        name: team(["*"], key=key_of(name)) | {"credentials": {"teams": own, "being-machine": own}}
        for name, own in OWN.items()
    },
    **{
        name: team(["*"], key=key_of(name)) | {"credentials": {"teams": {"service_account": address(name)}}}
        for name in MANY
    },
}
MAY |= {address(name): EVERYBODY for name in MANY}


@pytest.fixture(scope="module")
def identities() -> Iterator[StandIn]:
    """A cloud of its own: its tokens are counted and revoked."""
    with StandIn() as cloud:
        yield cloud


def allow(cloud: StandIn) -> None:
    """Forgets what was before, but not who may be whom."""
    cloud.reset()
    cloud.config(iam={"may_impersonate": MAY}, google={"quota_projects": PAYERS})


@pytest.fixture(scope="module")
def key(identities: StandIn) -> dict[str, Any]:
    """The file of a service account's key."""
    return identities.service_account()


@pytest.fixture(scope="module")
def everything(version: str, identities: StandIn, key: dict[str, Any]) -> Iterator[Begun]:
    """A gateway with every source."""
    allow(identities)
    environment = {name: json.dumps(value) for name, value in FILES_OF_GOOGLE.items()}
    environment |= {"KEY_JSON": json.dumps(key), "AWS_REGION": "us-west-2"}
    files = {FEDERATION_TOKEN: accounts.SUBJECT_TOKEN}
    with sources(
        version, identities, "google", BACKENDS, teams=TEAMS, environment=environment, files=files, concurrency=4
    ) as on:
        yield begun(on.gate, "iam")


@pytest.fixture
def gate(everything: Begun) -> Iterator[Gate]:
    everything.gate.fresh()
    allow(everything.gate.cloud)
    yield everything.gate
    everything.gate.verify()


def seen(gate: Gate, model: str, key: str = CLIENT_KEY) -> tuple[str, str | None]:
    """Whose token a request has reached Vertex AI with, and who pays."""
    answer = ask(gate, model, key)
    assert answer.status == 200, answer.body
    record = gate.requests("vertex")[-1]
    return record["principal"], record.get("quota_project")


def payer(base: str) -> str | None:
    """Whom a base's tokens charge by themselves."""
    return "paying-project" if base == "workforce" else None


@pytest.mark.parametrize("base", BASES)
def test_tokens_of_every_source_reach_vertex(gate: Gate, base: str) -> None:
    assert seen(gate, base) == (PRINCIPALS[base], payer(base))
    assert {name.lower() for name, _ in gate.sent("vertex")["headers"]} == {
        "host", "content-type", "content-length", "authorization",
    }  # fmt: skip


@pytest.mark.parametrize("base", BASES)
def test_a_service_account_is_taken_on_with_the_tokens_of_every_source(gate: Gate, base: str) -> None:
    assert seen(gate, f"being-{base}") == (TARGET, None)


def test_each_source_is_fetched_once_for_all_workers_and_all_backends(everything: Begun) -> None:
    calls = {name: count for name, count in everything.counters.items() if name.endswith("_calls")}
    assert calls == {
        "metadata.token_calls": 1,
        # The key, the user, the user that says who pays.
        "oauth2.token_calls": 3,
        # File, URL, AWS, workforce, and the file that names an account.
        "google_sts.token_calls": 5, "subject.subject_calls": 1,
        # Over each base, by a delegate, by the file.
        "iam.token_calls": len(BASES) + 2,
    }  # fmt: skip


def test_accounts_in_between_are_asked_for_by_name(everything: Begun, gate: Gate) -> None:
    (asked,) = [one for one in everything.asked if "delegates" in one["body"]]
    assert asked["body"]["delegates"] == [f"projects/-/serviceAccounts/{MIDDLE}"]
    assert asked["body"]["lifetime"] == "900s" and asked["principal"] == accounts.KEYED
    assert seen(gate, "delegated") == (TARGET, None)


def test_a_file_may_name_the_account_itself(gate: Gate) -> None:
    assert seen(gate, "taking-on") == (TARGET, None)


def test_another_project_may_pay(gate: Gate) -> None:
    assert seen(gate, "paid") == (accounts.KEYED, "paying-project")
    assert dict(gate.requests("vertex")[-1]["headers"])["x-goog-user-project"] == "paying-project"
    assert seen(gate, "paid-by-json") == (accounts.USER, "project-of-json")
    gate.refusals_expected = True
    gate.cloud.config(google={"quota_projects": []})
    answer = ask(gate, "paid")
    assert (answer.status, answer.error["code"]) == (403, "upstream_denied")


def test_a_team_may_have_an_account_of_its_own(gate: Gate) -> None:
    assert seen(gate, "teams", key_of("blue")) == (BLUE, None)
    assert seen(gate, "teams", key_of("red")) == (RED, None)
    assert seen(gate, "teams", key_of("green")) == seen(gate, "teams") == (accounts.KEYED, None)
    # In place of the backend's, not on top of it.
    assert seen(gate, "being-machine", key_of("blue")) == (BLUE, None)
    assert seen(gate, "being-machine", key_of("green")) == (TARGET, None)
    assert [one["principal"] for one in gate.requests("iam")] == [accounts.KEYED, accounts.KEYED, accounts.MACHINE]


def test_ten_teams_have_ten_accounts_and_cost_no_fetch_of_the_source(gate: Gate) -> None:
    for _ in range(2):
        for name in MANY:
            assert seen(gate, "teams", key_of(name)) == (address(name), None)
    counters = gate.counters()
    assert counters["iam.token_calls"] == len(MANY) and "oauth2.token_calls" not in counters


# On EC2, where Envoy's environment has no keys of AWS


def bare(config: dict[str, Any]) -> None:
    """Adds a listener whose plugin sees nothing of Envoy's environment but the file."""
    listener = copy.deepcopy(gateway.front(config))
    listener |= {"name": "bare", "address": {"pipe": {"path": "/run/fairlead/bare.sock"}}}
    (settings,) = gateway.wasm_settings(listener)
    settings["vm_config"] |= {"vm_id": "fairlead-bare", "environment_variables": {"host_env_keys": ["AWS_JSON"]}}
    config["static_resources"]["listeners"].append(listener)


def test_the_role_of_an_instance_is_shown_to_google(version: str, identities: StandIn) -> None:
    allow(identities)
    backends = {"aws": vertex(BASES["aws"])}
    environment = {"AWS_JSON": json.dumps(FILES_OF_GOOGLE["AWS_JSON"]), "AWS_REGION": "us-west-2"}
    with sources(version, identities, "google-ec2", backends, environment=environment, edit=bare) as on:
        with Local(on.file("/run/fairlead/bare.sock")) as connection:
            connection.request("POST", CHAT, json.dumps({"model": "aws", "messages": say()}))
            response = connection.getresponse()
            assert response.status == 200, response.read()
        assert on.gate.sent("vertex")["principal"] == ON_EC2
        on.gate.verify()


# The examples, as they are shipped


@pytest.mark.parametrize(("envoy", "name"), [("1.36.2", "federation"), ("1.40.0", "gcp-key"), ("1.40.0", "gke")])
def test_an_example_calls_vertex(envoy: str, name: str, identities: StandIn, key: dict[str, Any]) -> None:
    allow(identities)
    whole = FILES_OF_GOOGLE["TAKING_ON_JSON"] if name == "federation" else key
    files = {FEDERATION_TOKEN: accounts.SUBJECT_TOKEN} if name == "federation" else {}
    environment = {} if name == "gke" else {"GOOGLE_CREDENTIALS_JSON": json.dumps(whole)}
    with platform(name, envoy, identities, environment=environment, files=files) as on:
        principal = {"federation": TARGET, "gcp-key": accounts.KEYED, "gke": accounts.MACHINE}[name]
        assert seen(on.gate, "gemini-flash") == (principal, None)
        on.gate.verify()
