"""The life of credentials through a real Envoy: short lives under load, sources that fail, what is revoked, wrong clocks."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from . import gateway
from .cloud import accounts, keys, web_tokens
from .cloud.driver import StandIn
from .harness import CLIENT_KEY, Answer, Gate, until
from .platform import FEDERATION_TOKEN, IRSA_TOKEN, POD_IDENTITY_TOKEN, Platform
from .sources import Backends, ask, bedrock, sources, unavailable, vertex
from .test_credentials_aws import BASES as AWS_BASES
from .test_credentials_aws import EXTERNAL, ROLE, assuming, key_of, session
from .test_credentials_google import BASES as GOOGLE_BASES
from .test_credentials_google import BLUE, EVERYBODY, FILES_OF_GOOGLE, MIDDLE, TARGET, being
from .test_fallback import Door, metric
from .test_teams import team

#: Who has shown another token than the one in the file.
OTHER, OTHER_TOKEN = "stand-in-other", "stand-in.other-token.not-real"
OTHER_WORKLOAD = accounts.principal(accounts.OIDC, OTHER)


@pytest.fixture(scope="module")
def identities() -> Iterator[StandIn]:
    """A cloud of its own: its keys and tokens are counted, revoked, and short."""
    with StandIn() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def key(identities: StandIn) -> dict[str, Any]:
    """The file of a service account's key."""
    return identities.service_account()


def prepare(cloud: StandIn, lifetime_s: float | None = None) -> None:
    """Forgets what was before; says who may be whom, and how long everything lives that is handed out from now on."""
    cloud.reset()
    cloud.config(
        iam={"may_impersonate": {account: [*EVERYBODY, OTHER_WORKLOAD, MIDDLE] for account in (TARGET, MIDDLE, BLUE)}},
        google_sts={"subject_tokens": {accounts.SUBJECT_TOKEN: accounts.SUBJECT, OTHER_TOKEN: OTHER}},
        subject={"token": OTHER_TOKEN},
    )
    if lifetime_s is not None:
        cloud.config(**{
            role: {"lifetime_s": lifetime_s}
            for role in ("imds", "container", "sts", "metadata", "oauth2", "google_sts", "iam")
        })  # fmt: skip


def environment(key: dict[str, Any]) -> dict[str, str]:
    """The variables that Google's sources take their files from."""
    return {name: json.dumps(value) for name, value in FILES_OF_GOOGLE.items()} | {
        "KEY_JSON": json.dumps(key), "AWS_REGION": "us-west-2",
    }  # fmt: skip


FILES = {
    IRSA_TOKEN: web_tokens.STS_TOKEN, POD_IDENTITY_TOKEN: web_tokens.POD_TOKEN, FEDERATION_TOKEN: accounts.SUBJECT_TOKEN,
}  # fmt: skip

#: Backends that fetch, each by another way.
AWS = {name: bedrock(AWS_BASES[name]) for name in ("instance", "ecs", "eks", "web-identity")} | {
    "over-static": bedrock(assuming("static")),
    "over-instance": bedrock(assuming("instance")),
    "over-web-identity": bedrock(assuming("web-identity", role_arn=ROLE)),
    "shared": bedrock(assuming("ecs", role_arn=ROLE, per_team=True)),
}
GOOGLE = {name: vertex(GOOGLE_BASES[name]) for name in ("machine", "key", "user", "file", "url", "aws")} | {
    "being-machine": vertex(being("machine")),
    "being-key": vertex(being("key")),
    "being-file": vertex(being("file", delegates=[MIDDLE])),
}
ALL = {**AWS, **GOOGLE}

TEAMS: dict[str, Any] = {"everybody": team(["*"])} | {
    name: team(["*"], key=key_of(name))
    | {"credentials": {"over-instance": {"role_arn": f"arn:aws:iam::{keys.ACCOUNT}:role/{name}"}, "being-key": {"service_account": BLUE}}}
    for name in ("blue",)
} | {"green": team(["*"], key=key_of("green"))}  # fmt: skip

#: Who asks which backend: everybody each, and the teams those that know them.
ASKS = [(model, CLIENT_KEY) for model in ALL] + [
    ("over-instance", key_of("blue")), ("being-key", key_of("blue")), ("shared", key_of("blue")), ("shared", key_of("green")),
]  # fmt: skip


# Two minutes

SECONDS, LIFETIME = 30.0, 5


def fetches(cloud: StandIn) -> dict[tuple[str, ...], list[float]]:
    """When each source was fetched, by what was fetched."""
    found: dict[tuple[str, ...], list[float]] = {}
    for role in ("imds", "container", "sts", "metadata", "oauth2", "google_sts", "iam"):
        for request in cloud.requests(role, 1024):
            what: list[Any] = [role, request["path"], request["principal"]]
            if role == "sts":
                parameters = request["parameters"]
                what = [role, parameters["RoleArn"], parameters["RoleSessionName"], (request["caller"] or {}).get("arn")]
            elif role == "imds" and not request["path"].endswith("fairlead-instance"):
                continue
            found.setdefault(tuple(str(each) for each in what), []).append(request["at"])
    return found


@contextmanager
def rotating(on: Platform, every: float) -> Iterator[Counter[str]]:
    """Replaces each token file every few seconds; what was there is believed for one more turn, as tokens overlap."""
    turns: Counter[str] = Counter()
    cloud, end = on.gate.cloud, threading.Event()

    def turn(number: int) -> None:
        far = web_tokens.FAR + number
        new = {
            IRSA_TOKEN: web_tokens.projected(web_tokens.STS_AUDIENCE, far),
            POD_IDENTITY_TOKEN: web_tokens.projected(web_tokens.POD_AUDIENCE, far),
            FEDERATION_TOKEN: f"stand-in.subject-token.{number}",
        }
        subjects = {old[FEDERATION_TOKEN]: accounts.SUBJECT, new[FEDERATION_TOKEN]: accounts.SUBJECT, OTHER_TOKEN: OTHER}
        cloud.config(
            sts={"tokens": [old[IRSA_TOKEN], new[IRSA_TOKEN]]},
            container={"tokens": [old[POD_IDENTITY_TOKEN], new[POD_IDENTITY_TOKEN]]},
            google_sts={"subject_tokens": subjects},
        )
        for path, text in new.items():
            on.projected(path).write(text)
            on.gate.more_secrets.append(text)
            turns[path] += 1
        old.update(new)

    def work() -> None:
        for number in itertools.count(1):
            if end.wait(every):
                return
            turn(number)

    old = dict(FILES)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield turns
    finally:
        end.set()
        thread.join(10)


def test_two_minutes_with_lives_of_five_seconds_and_no_request_fails(identities: StandIn, key: dict[str, Any]) -> None:
    prepare(identities, LIFETIME)
    with sources(
        "1.40.0", identities, "two-minutes", ALL, teams=TEAMS, environment=environment(key), files=FILES, concurrency=4
    ) as on, rotating(on, 7) as turns:
        begun = time.time()
        end = time.monotonic() + SECONDS

        def load(first: int) -> Counter[tuple[str, int]]:
            statuses: Counter[tuple[str, int]] = Counter()
            for model, key in itertools.islice(itertools.cycle(ASKS), first, None):
                if time.monotonic() > end:
                    return statuses
                statuses[model, ask(on.gate, model, key).status] += 1
                time.sleep(0.02)
            raise AssertionError("there is no end")

        clients = 8
        with ThreadPoolExecutor(clients) as pool:
            seen = sum(pool.map(load, range(0, len(ASKS), -(-len(ASKS) // clients))), Counter())
        elapsed = time.time() - begun
        assert {status for _, status in seen} == {200}, {what: count for what, count in seen.items() if what[1] != 200}
        assert {model for model, _ in seen} == ALL.keys() and min(seen.values()) > SECONDS
        # No credential that had ended was ever sent, to a cloud or to another source.
        assert identities.refusals() == []
        made = fetches(identities)
        # One for each backend; in the shared role one for each of three teams; a team's own role, and its own account.
        assert len(made) == len(ALL) + 2 + 2, sorted(made)
        for what, moments in made.items():
            moments = [moment for moment in moments if moment >= begun - 1]
            gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
            # A credential is replaced after half of so short a life, a fifth of that earlier by chance, and AWS counts
            # in whole seconds. Two workers that fetched the same would do so at once.
            assert min(gaps) > 0.4 * (LIFETIME - 1) - 0.1, (what, sorted(gaps)[:5])
            assert max(gaps) < LIFETIME, (what, sorted(gaps)[-5:])
            assert elapsed / LIFETIME <= len(moments) <= elapsed / (0.4 * (LIFETIME - 1)) + 2, (what, len(moments))
        assert min(turns.values()) > SECONDS / 7 - 3
        on.gate.verify()
