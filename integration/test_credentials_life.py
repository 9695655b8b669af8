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

#: Within this many seconds a request has its answer: a source's call may take three of them.
IN_TIME = 6


def in_trouble(cloud: StandIn) -> None:
    """Lets every source of `TROUBLED` fail that does not by itself."""
    cloud.reset()
    cloud.config(
        container={"delay_s": 10, "only": "ecs"},
        sts={"body": "<html>no keys</html>", "only": "assume_role_with_web_identity", "external_ids": {EXTERNAL: "another"}},
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


def health(gate: Gate) -> Any:
    """What the gateway says of itself; it lives in any case."""
    answer = gate.call("GET", "/health")
    assert answer.status == 200
    return json.loads(answer.body)


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

#: Whoever has never asked has no session yet.
LATE = [f"late-{number}" for number in range(4)]
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


@pytest.fixture(scope="module", params=["whole", "gated"])
def lasting(
    version: str, request: pytest.FixtureRequest, identities: StandIn, key: dict[str, Any]
) -> Iterator[tuple[Platform, bool]]:
    """A gateway in either position, whose clock is an hour slow when it begins; whether a try can be repeated."""
    prepare(identities, LONG)
    identities.config(aws={"clock_offset_s": HOUR}, google={"clock_offset_s": HOUR})
    backends = {**ALL, "static": UNTROUBLED["static"], **NOWHERE}
    (closed,) = gateway.free_ports(1)
    gated = request.param == "gated"

    def edit(config: dict[str, Any]) -> None:
        config["static_resources"]["clusters"].append(cluster("nowhere"))

    with sources(
        version, identities, request.param, backends, teams={**TEAMS, **LATE_TEAMS}, environment=environment(key),
        files=FILES, gated=gated, pairs=PAIRS if gated else {}, clusters={"nowhere": closed}, edit=edit,
    ) as on:  # fmt: skip
        for name in ALL:
            until(f"{name} is there", lambda: health(on.gate).get("credentials", {}).get(name) is None)
        yield on, gated


@pytest.fixture
def held(lasting: tuple[Platform, bool]) -> Iterator[tuple[Platform, bool]]:
    on, gated = lasting
    offsets = on.gate.cloud.control("GET", "/config")
    on.gate.fresh()
    prepare(on.gate.cloud, LONG)
    on.gate.cloud.config(aws=offsets["aws"], google={"clock_offset_s": offsets["google"]["clock_offset_s"]})
    on.gate.expected_errors = [NOWHERE_FAILS]
    yield on, gated
    on.gate.verify()


def test_a_clock_that_is_an_hour_slow_is_corrected_by_those_who_hand_out_credentials(
    held: tuple[Platform, bool],
) -> None:
    on, _ = held
    for model, key in ASKS:
        answer = ask(on.gate, model, key)
        assert answer.status == 200, (model, answer.body)
    # Nothing has been refused since the gateway is ready: STS and the token endpoint have told the time before.
    assert on.gate.cloud.refusals() == []
