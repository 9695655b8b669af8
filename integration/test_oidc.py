"""envoy/oidc.yaml as it stands, with an identity provider of our own: whose token is whose team."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .cloud.driver import StandIn
from .conftest import running
from .harness import BEDROCK, CHAT, Gate, say, until

#: What the example says of its provider.
ISSUER, AUDIENCE = "https://company.okta.com/oauth2/default", "llm-gateway"

JOB_KEY = "key-of-the-nightly-job"

#: A model that the team `support` of the example may not use.
NOVA = "bedrock/us.amazon.nova-lite-v1:0"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Provider:
    """An OpenID Connect provider: a key, the page where it stands, and tokens."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        n = base64url(numbers.n.to_bytes(256, "big"))
        page = json.dumps({"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k", "e": "AQAB", "n": n}]})

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/oauth2/default/v1/keys" else 404)
                self.send_header("content-length", str(len(page)))
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, **claims: Any) -> str:
        """A token with these claims, else good."""
        whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "exp": int(time.time()) + 600, **claims}
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT", "kid": "k"}, whole)]
        text = ".".join(map(base64url, parts))
        return f"{text}.{base64url(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.server.shutdown()


@pytest.fixture
def oidc(version: str, cloud: StandIn, provider: Provider) -> Iterator[Gate]:
    def plugin(config: dict[str, Any]) -> None:
        config["teams"]["batch-jobs"]["keys"][0]["sha256"] = hashlib.sha256(JOB_KEY.encode()).hexdigest()

    clusters = {"identity_provider": provider.server.server_address[1]}
    with running(version, cloud, "oidc", file="oidc.yaml", plugin=plugin, clusters=clusters) as gate:
        gate.fresh()
        yield gate
        gate.verify()


def ask(gate: Gate, path: str = CHAT, model: str = BEDROCK, **headers: str) -> Any:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return gate.post({"model": model, "max_tokens": 10, "messages": say()}, more, path)


def test_a_token_that_envoy_has_verified_tells_the_team(oidc: Gate, provider: Provider) -> None:
    status = lambda model=BEDROCK, **claims: ask(  # noqa: E731
        oidc, model=model, authorization=f"Bearer {provider.token(**claims)}"
    ).status
    assert status(team="research") == 200
    assert status(team="research", model=NOVA) == 200
    assert status(team="support-apac") == 200
    assert status(team="support-apac", model=NOVA) == 403
    # Nobody's team, no team, a team that has keys only, and one that lists other identities than its own name.
    assert [status(team="sales"), status(), status(team=["research"]), status(team="support")] == [401] * 4
    logged = lambda: [json.loads(line)["team"] for line in oidc.log().splitlines() if line.startswith("{")]  # noqa: E731
    known = until("eight requests in the access log", lambda: len(logged()) == 8 and logged())
    assert known == ["research", "research", "support", "support", *[None] * 4]


def test_anthropics_clients_send_their_token_where_their_keys_are(oidc: Gate, provider: Provider) -> None:
    answer = ask(oidc, "/v1/messages", x_api_key=provider.token(team="research"))
    assert (answer.status, answer.headers["x-ratelimit-limit-tokens"]) == (200, "200000")
    refused = ask(oidc, "/v1/messages", x_api_key=provider.token(team="sales"))
    assert (refused.status, json.loads(refused.body)["error"]["type"]) == (401, "authentication_error")


@pytest.mark.parametrize("claims", [{"exp": 1}, {"iss": "https://evil.example"}, {"aud": "something-else"}])
def test_a_token_that_is_not_good_is_no_token(oidc: Gate, provider: Provider, claims: dict[str, Any]) -> None:
    answer = ask(oidc, authorization=f"Bearer {provider.token(team='research', **claims)}")
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


def test_what_a_client_says_of_itself_is_no_identity(oidc: Gate, provider: Provider) -> None:
    stranger = Provider().token(team="research")
    unsigned = ".".join([base64url(b'{"alg":"none"}'), provider.token(team="research").split(".")[1], ""])
    for headers in [
        {"authorization": f"Bearer {stranger}"},
        {"authorization": f"Bearer {unsigned}"},
        {"team": "research", "x_team": "research", "x_fairlead_team": "research", "jwt_payload": "research"},
        {"x_jwt_payload": base64url(b'{"team":"research"}'), "x_envoy_peer_metadata": "research"},
        {},
    ]:
        assert ask(oidc, **headers).status == 401, headers
    # Nor may a team of keys be entered by its name.
    assert ask(oidc, authorization="Bearer batch-jobs").status == 401
    oidc.nothing_was_sent()


def test_a_job_without_a_token_has_a_key(oidc: Gate, provider: Provider) -> None:
    for header in ({"authorization": f"Bearer {JOB_KEY}"}, {"x_api_key": JOB_KEY}):
        assert ask(oidc, model=NOVA, **header).status == 200
    # To Envoy that is a good token and a bad one; of two, both would have to be good.
    both = {"authorization": f"Bearer {provider.token(team='research')}", "x_api_key": JOB_KEY}
    assert ask(oidc, model=NOVA, **both).status == 401
