"""The life of credentials through a real Envoy: short lives under load, failing sources, revocations, wrong clocks."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from . import gateway
from .cloud import accounts, keys, web_tokens
from .cloud.driver import StandIn
from .conftest import cluster
from .harness import CLIENT_KEY, Answer, Gate, unavailable, until
from .platform import FEDERATION_TOKEN, IRSA_TOKEN, POD_IDENTITY_TOKEN, Platform
from .sources import ask, bedrock, health, key_of, sources, vertex
from .test_credentials_aws import BASES as AWS_BASES
from .test_credentials_aws import EXTERNAL, ROLE, assuming
from .test_credentials_google import BASES as GOOGLE_BASES
from .test_credentials_google import BLUE, EVERYBODY, FILES_OF_GOOGLE, MIDDLE, TARGET, being
from .test_fallback import Door, metric
from .test_teams import team
from .test_tokens import IN_TIME

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
    IRSA_TOKEN: web_tokens.STS_TOKEN,
    POD_IDENTITY_TOKEN: web_tokens.POD_TOKEN,
    FEDERATION_TOKEN: accounts.SUBJECT_TOKEN,
}

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

#: What a team calls as that calls as itself.
OWN = {
    "over-instance": {"role_arn": f"arn:aws:iam::{keys.ACCOUNT}:role/blue"},
    "being-key": {"service_account": BLUE},
}
TEAMS = {
    "everybody": team(["*"]),
    "blue": team(["*"], key=key_of("blue")) | {"credentials": OWN},
    "green": team(["*"], key=key_of("green")),
}

#: Who asks which backend: everybody each, and the teams those that know them.
ASKS = [(model, CLIENT_KEY) for model in ALL] + [
    ("over-instance", key_of("blue")),
    ("being-key", key_of("blue")),
    ("shared", key_of("blue")),
    ("shared", key_of("green")),
]


# Two minutes

SECONDS, LIFETIME = 120.0, 5


def fetches(cloud: StandIn) -> dict[tuple[str, ...], list[float]]:
    """When each source was fetched, by what was fetched."""
    found: dict[tuple[str, ...], list[float]] = {}
    for role in ("imds", "container", "sts", "metadata", "oauth2", "google_sts", "iam"):
        for request in cloud.requests(role, 1024):
            what: list[Any] = [role, request["path"], request["principal"]]
            if role == "sts":
                parameters = request["parameters"]
                by = request["caller"] and request["caller"]["arn"]
                what = [role, parameters["RoleArn"], parameters["RoleSessionName"], by]
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
        subjects = {each[FEDERATION_TOKEN]: accounts.SUBJECT for each in (old, new)} | {OTHER_TOKEN: OTHER}
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


# Sources that fail

#: Credentials that cannot be had while `in_trouble`, and how `fairlead_credential_fetches_total` calls it.
TROUBLED: dict[str, tuple[dict[str, Any], str]] = {
    "down": (bedrock(AWS_BASES["instance"]), "unreachable"),
    "slow": (bedrock(AWS_BASES["ecs"]), "unreachable"),
    "no-file": (bedrock(AWS_BASES["eks"]), "refused"),
    "garbage": (bedrock(AWS_BASES["web-identity"]), "garbled"),
    "denied": (bedrock(assuming("static")), "refused"),
    "busy": (vertex(GOOGLE_BASES["key"]), "failed"),
    "unknown": (vertex(GOOGLE_BASES["file"]), "refused"),
    "not-let-in": (vertex(being("machine")), "refused"),
}
UNTROUBLED = {"static": bedrock(AWS_BASES["static"]), "machine": vertex(GOOGLE_BASES["machine"])}


def in_trouble(cloud: StandIn) -> None:
    """Lets every source of `TROUBLED` fail that does not by itself."""
    cloud.reset()
    cloud.config(
        container={"delay_s": 10, "only": "ecs"},
        sts={"body": "<html>", "only": "assume_role_with_web_identity", "external_ids": {EXTERNAL: "another"}},
        oauth2={"status": 503, "body": "later"},
        google_sts={"subject_tokens": {}},
    )


def test_a_source_that_fails_costs_clean_503s_until_it_recovers(
    version: str, identities: StandIn, key: dict[str, Any]
) -> None:
    door = Door(identities.ports["imds"])
    in_trouble(identities)
    backends = {**{name: backend for name, (backend, _) in TROUBLED.items()}, **UNTROUBLED}
    files = {IRSA_TOKEN: web_tokens.STS_TOKEN, FEDERATION_TOKEN: accounts.SUBJECT_TOKEN}
    try:
        with sources(
            version, identities, "trouble", backends, environment=environment(key), files=files,
            clusters={"aws_imds": door.port},
        ) as on:  # fmt: skip
            fails(on.gate)
            # All is well again.
            prepare(identities)
            door.open()
            on.projected(POD_IDENTITY_TOKEN).write(web_tokens.POD_TOKEN)
            for name in TROUBLED:
                until(f"{name} recovers", lambda: ask(on.gate, name).status == 200, 2 * IN_TIME)
            assert health(on.gate) == {"status": "ok"}
            on.gate.verify()
    finally:
        door.stop()


def fetched(gate: Gate, backend: str, **labels: str) -> int:
    """Fetches of a backend's credentials, as Prometheus reads them."""
    return metric(gate, "fairlead_credential_fetches_total", backend=backend, **labels)


def fails(gate: Gate) -> None:
    """Asks every model, and looks where an operator looks."""
    gate.expected_errors = [rf"credentials of backend {name} \(" for name in TROUBLED]
    gate.refusals_expected = True
    for name in TROUBLED:
        until(f"{name} has failed", lambda: fetched(gate, name))
    assert health(gate) == {"status": "degraded", "credentials": {name: "failing" for name in sorted(TROUBLED)}}

    def timed(model: str) -> tuple[Answer, float]:
        begin = time.monotonic()
        return ask(gate, model), time.monotonic() - begin

    with ThreadPoolExecutor(16) as pool:
        answers = dict(zip([*TROUBLED, *UNTROUBLED], pool.map(timed, [*TROUBLED, *UNTROUBLED])))
    for name, (_, outcome) in TROUBLED.items():
        answer, took = answers[name]
        unavailable(answer)
        assert took < IN_TIME, (name, took)
        assert fetched(gate, name, outcome=outcome) == fetched(gate, name) >= 1, name
        assert f"credentials of backend {name} (" in gate.log()
    for name in UNTROUBLED:
        answer, took = answers[name]
        assert answer.status == 200 and took < 2, f"{name} has noticed: {took:.1f} s"
    # It is at once that nobody is kept waiting for what has failed just now.
    assert min(took for name, (_, took) in answers.items() if name in TROUBLED) < 0.5
    assert {request["caller"]["source"] for request in gate.requests("bedrock")} == {"static"}
    assert {request["principal"] for request in gate.requests("vertex")} == {accounts.MACHINE}


# What is revoked, and clocks that are wrong

#: So long that a clock that is an hour off ends nothing.
LONG = 40_000.0
HOUR = 3600

#: What time it is one worker was told, and the others look once a second.
KNOWN_TO_ALL = 1.2

#: Whoever has never asked has no session yet.
LATE = ["late-1", "late-2"]
LATE_TEAMS = {name: team(["*"], key=key_of(name)) for name in LATE}

#: Two backends that have no credentials, each before one that has.
PAIRS = {"rescued": ["nowhere", "machine"], "rescued-by-bedrock": ["nowhere-either", "instance"]}
NOWHERE = {
    "nowhere": bedrock({"source": "instance", "clusters": {"instance": "nowhere"}}),
    "nowhere-either": vertex({"source": "metadata_server", "clusters": {"metadata": "nowhere"}}),
}
#: What Envoy's log says of them all the time.
NOWHERE_FAILS = r"credentials of backend nowhere(-either)? \("

#: A credential is old enough to be doubted when it is a little older than five seconds.
OLD_ENOUGH = 5.3


@dataclass
class Lasting:
    """A gateway in one of the positions that has all its credentials."""

    on: Platform
    #: A try can be repeated.
    gated: bool
    #: Since when it has them.
    since: float


@pytest.fixture(scope="module", params=["whole", "gated"])
def lasting(
    version: str, request: pytest.FixtureRequest, identities: StandIn, key: dict[str, Any]
) -> Iterator[Lasting]:
    """A gateway in either position, whose clock is an hour slow when it begins."""
    prepare(identities, LONG)
    set_clock(identities, HOUR)
    (closed,) = gateway.free_ports(1)
    gated = request.param == "gated"

    def edit(config: dict[str, Any]) -> None:
        config["static_resources"]["clusters"].append(cluster("nowhere"))

    with sources(
        version, identities, request.param, {**ALL, "static": UNTROUBLED["static"], **NOWHERE},
        teams={**TEAMS, **LATE_TEAMS}, environment=environment(key), files=FILES, gated=gated,
        pairs=PAIRS if gated else {}, clusters={"nowhere": closed}, edit=edit,
    ) as on:  # fmt: skip
        until("all are there", lambda: health(on.gate).get("credentials", {}).keys() == NOWHERE.keys())
        # STS and the token endpoint have told the time, and nothing is refused any more when all workers know it.
        time.sleep(KNOWN_TO_ALL)
        before = identities.refusals()
        for model, key_of_team in ASKS:
            answer = ask(on.gate, model, key_of_team)
            assert answer.status == 200, (model, answer.body)
        assert identities.refusals() == before
        yield Lasting(on, gated, time.monotonic())


def set_clock(cloud: StandIn, ahead_s: float) -> None:
    """Sets both clouds' clocks ahead of this machine's."""
    cloud.config(aws={"clock_offset_s": ahead_s}, google={"clock_offset_s": ahead_s})


@pytest.fixture
def held(lasting: Lasting) -> Iterator[Lasting]:
    """The gateway as it is, looked after."""
    gate, cloud = lasting.on.gate, lasting.on.gate.cloud
    ahead = cloud.control("GET", "/config")["aws"]["clock_offset_s"]
    gate.fresh()
    prepare(cloud, LONG)
    set_clock(cloud, ahead)
    gate.expected_errors = [NOWHERE_FAILS]
    gate.refusals_expected = True
    yield lasting
    gate.verify()


#: Requests of each kind that are on their way at once when something is refused.
AT_ONCE = 4


def are_served(held: Lasting, asks: list[tuple[str, str]]) -> None:
    """Asks for what is refused: the same requests are tried again, or else clients are told to come again, and can."""
    gate = held.on.gate
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda each: (each, ask(gate, *each)), [each for each in asks for _ in range(AT_ONCE)]))
    if held.gated:
        assert {answer.status for _, answer in answers} == {200}, told(answers)
        repeated = {each for each, answer in answers if answer.headers["x-fairlead-attempts"] == "2"}
        assert repeated == set(asks), set(asks) - repeated
        return
    for _, answer in answers:
        assert answer.status in (200, 503), told(answers)
        if answer.status == 503:
            unavailable(answer)
    assert {each for each, answer in answers if answer.status == 503} == set(asks)
    for each in asks:
        until(f"{each} is served", lambda: ask(gate, *each).status == 200, 3)


def told(answers: list[tuple[tuple[str, str], Answer]]) -> Counter[str]:
    """What clients heard who were not served."""
    refused = [(model, answer) for (model, _), answer in answers if answer.status != 200]
    return Counter(f"{model}: {answer.status} {answer.body[:200]!r}" for model, answer in refused)


def test_a_clock_that_is_wrong_is_corrected_by_the_cloud_that_refuses(held: Lasting) -> None:
    gate, cloud = held.on.gate, held.on.gate.cloud
    for ahead in (0, HOUR):
        set_clock(cloud, ahead)
        # Keys that are written down, and so were never fetched from anybody who could have told the time.
        are_served(held, [("static", CLIENT_KEY)])
        time.sleep(KNOWN_TO_ALL)
        before = cloud.refusals()
        for each in ASKS:
            assert ask(gate, *each).status == 200, each
        assert cloud.refusals() == before


def test_sts_tells_a_wrong_clock_too(held: Lasting) -> None:
    cloud = held.on.gate.cloud
    for number, (name, ahead) in enumerate(zip(LATE, (0, HOUR)), 1):
        set_clock(cloud, ahead)
        answer = ask(held.on.gate, "shared", key_of(name))
        assert answer.status == 200 and answer.headers["x-fairlead-attempts"] == "1", answer.body
        assert [one["cloud"] for one in cloud.refusals()] == ["sts"] * number
        time.sleep(KNOWN_TO_ALL)


def test_other_backends_serve_while_a_source_fails(held: Lasting) -> None:
    gate = held.on.gate
    for name in NOWHERE:
        begin = time.monotonic()
        unavailable(ask(gate, name))
        assert time.monotonic() - begin < IN_TIME
    for pair, (_, second) in PAIRS.items() if held.gated else ():
        for _ in range(3):
            answer = ask(gate, pair)
            assert (answer.status, answer.headers["x-fairlead-backend"]) == (200, second), answer.body


def test_what_is_revoked_is_fetched_anew_by_the_token_that_is_in_the_file_now(held: Lasting) -> None:
    """The last of these tests: by now all credentials are old enough to be doubted."""
    gate, cloud = held.on.gate, held.on.gate.cloud
    new = {
        IRSA_TOKEN: web_tokens.projected(web_tokens.STS_AUDIENCE, web_tokens.FAR + 1),
        POD_IDENTITY_TOKEN: web_tokens.projected(web_tokens.POD_AUDIENCE, web_tokens.FAR + 1),
        FEDERATION_TOKEN: "stand-in.subject-token.rotated",
    }
    gate.more_secrets += new.values()
    for path, text in new.items():
        held.on.projected(path).write(text)
    # Nothing but what is in the files now.
    cloud.config(
        sts={"tokens": [new[IRSA_TOKEN]]}, container={"tokens": [new[POD_IDENTITY_TOKEN]]},
        google_sts={"subject_tokens": {new[FEDERATION_TOKEN]: accounts.SUBJECT, OTHER_TOKEN: OTHER}},
    )  # fmt: skip
    time.sleep(max(0.0, held.since + OLD_ENOUGH - time.monotonic()))
    assert cloud.control("POST", "/keys/revoke", {})["revoked"] >= len(AWS)
    assert cloud.control("POST", "/tokens/revoke", {})["revoked"] >= len(GOOGLE)
    are_served(held, ASKS)
