"""Google's identity stand-ins give google-auth what it asks for, and refuse everything that is a little wrong."""

from __future__ import annotations

import base64
import datetime
import http.client
import json
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Callable
from urllib.parse import quote, unquote, urlencode, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as AwsKeys
from google.auth import aws, crypt, exceptions, identity_pool, impersonated_credentials, jwt, transport
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials as UserCredentials

from . import accounts, keys
from .driver import StandIn

PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
IAM_SCOPE = "https://www.googleapis.com/auth/iam"

ROLES = {
    "oauth2.googleapis.com": "oauth2",
    "sts.googleapis.com": "google_sts",
    "iamcredentials.googleapis.com": "iam",
    "pipelines.actions.githubusercontent.com": "subject",
    "metadata.google.internal": "metadata",
    "us-central1-aiplatform.googleapis.com": "vertex",
}

TARGET = "stand-in-target@my-project.iam.gserviceaccount.com"
MIDDLE = "stand-in-middle@my-project.iam.gserviceaccount.com"
SUBJECT_URL = "https://pipelines.actions.githubusercontent.com"

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "audience": accounts.OIDC,
    "scope": PLATFORM,
    "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "subject_token": accounts.SUBJECT_TOKEN,
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}
REFRESH = {
    "grant_type": "refresh_token",
    "client_id": accounts.CLIENT_ID,
    "client_secret": accounts.CLIENT_SECRET,
    "refresh_token": accounts.REFRESH_TOKEN,
}

Reply = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def key(cloud: StandIn) -> dict[str, Any]:
    return cloud.service_account()


@pytest.fixture(autouse=True)
def fresh(cloud: StandIn) -> None:
    cloud.reset()
    # What google-auth tells of itself.
    cloud.config(allow_headers=["x-goog-api-client"])


def call(
    cloud: StandIn, host: str, path: str, body: bytes | None = None, method: str = "", headers: Any = None
) -> Reply:
    """One request to whoever plays the host."""
    connection = http.client.HTTPConnection("127.0.0.1", cloud.ports[ROLES[host]], timeout=5)
    connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"host": host, **(headers or {})}.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    reply = connection.getresponse()
    answer = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return answer


class Answer(transport.Response):
    """google-auth's view of a reply."""

    def __init__(self, reply: Reply) -> None:
        self._status, self._headers, self._data = reply

    status = property(lambda self: self._status)
    headers = property(lambda self: self._headers)
    data = property(lambda self: self._data)


class Loopback(transport.Request):
    """Sends what goes to https://HOST to the port that plays the host."""

    def __init__(self, cloud: StandIn) -> None:
        self._cloud = cloud

    def __call__(
        self, url: str, method: str = "GET", body: Any = None, headers: Any = None, timeout: Any = None, **_: Any
    ) -> Answer:
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return Answer(call(self._cloud, parts.netloc, path, body, method, headers))


def token(cloud: StandIn, credentials: Any) -> str:
    """The token that google-auth gets."""
    credentials.refresh(Loopback(cloud))
    return credentials.token


def left(credentials: Any) -> float:
    """How long google-auth thinks that the token is good, in seconds."""
    return credentials.expiry.replace(tzinfo=datetime.timezone.utc).timestamp() - time.time()


def ask(cloud: StandIn, bearer: str | None, **headers: str) -> Reply:
    """A question to Vertex AI."""
    path = "/v1/projects/my-project/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent"
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "x"}]}]}).encode()
    sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if bearer is not None:
        sent["authorization"] = f"Bearer {bearer}"
    return call(cloud, "us-central1-aiplatform.googleapis.com", path, body, headers=sent)


def opens_vertex(cloud: StandIn, bearer: str, whose: str) -> None:
    """Checks that a token opens Vertex AI, whose record tells whose it is."""
    assert ask(cloud, bearer)[0] == 200
    assert cloud.requests("vertex")[-1]["principal"] == whose
    assert cloud.refusals() == []


def post(cloud: StandIn, host: str, path: str, form: Any, /, **headers: str) -> Reply:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return call(cloud, host, path, body, headers=kind | headers)


def oauth2(cloud: StandIn, form: Any, /, **headers: str) -> Reply:
    return post(cloud, "oauth2.googleapis.com", "/token", form, **headers)


def exchange(cloud: StandIn, form: Any, /, **headers: str) -> Reply:
    return post(cloud, "sts.googleapis.com", "/v1/token", form, **headers)


def denied(cloud: StandIn, reply: Reply, error: str, kind: str, about: str = "", status: int = 400) -> None:
    """Checks an answer of RFC 6749, and that the refusal is recorded."""
    assert reply[0] == status, reply
    told = json.loads(reply[2])
    assert list(told) == ["error", "error_description"] and told["error"] == error and about in told["error_description"]
    assert [one["kind"] for one in cloud.refusals()] == [kind]
    assert not any(name.endswith("token_calls") for name in cloud.counters())


def refused(cloud: StandIn, reply: Reply, status: int, name: str, about: str = "", reason: str | None = None) -> None:
    """Checks an answer of google.rpc.Status."""
    assert reply[0] == status, reply
    error = json.loads(reply[2])["error"]
    assert (error["code"], error["status"]) == (status, name) and about in error["message"]
    reasons = [one["reason"] for one in error.get("details", []) if one["@type"].endswith("ErrorInfo")]
    assert reasons == ([reason] if reason else [])
    assert len(cloud.refusals()) == 1


# What google-auth asks for


def keyed(key: dict[str, Any], scopes: Any = (PLATFORM,)) -> service_account.Credentials:
    return service_account.Credentials.from_service_account_info(key, scopes=list(scopes))


def test_a_service_account_signs_for_its_token(cloud: StandIn, key: dict[str, Any]) -> None:
    cloud.config(oauth2={"lifetime_s": 5})
    credentials = keyed(key)
    bearer = token(cloud, credentials)
    assert bearer.startswith("ya29.")
    assert 3 < left(credentials) <= 6
    opens_vertex(cloud, bearer, key["client_email"])
    assert cloud.counters()["oauth2.token_calls"] == 1
    assert cloud.requests("oauth2")[0]["principal"] == key["client_email"] == accounts.KEYED


def user(**changes: str) -> UserCredentials:
    info = {name: value for name, value in REFRESH.items() if name != "grant_type"} | {"type": "authorized_user"}
    return UserCredentials.from_authorized_user_info(info | changes)


def test_a_user_who_has_logged_in_gets_a_token(cloud: StandIn) -> None:
    credentials = user()
    bearer = token(cloud, credentials)
    opens_vertex(cloud, bearer, accounts.USER)
    assert credentials.refresh_token == accounts.REFRESH_TOKEN
    assert token(cloud, user().with_quota_project("x")) != bearer
    cloud.config(oauth2={"refresh_tokens": {}})
    with pytest.raises(exceptions.RefreshError, match="invalid_grant: Token has been expired or revoked."):
        credentials.refresh(Loopback(cloud))


def test_replies_of_the_token_endpoint_have_the_documented_fields(cloud: StandIn, key: dict[str, Any]) -> None:
    status, headers, body = oauth2(cloud, {"grant_type": JWT_GRANT, "assertion": assertion(key)})
    assert (status, headers["content-type"]) == (200, "application/json; charset=UTF-8")
    assert list(json.loads(body)) == ["access_token", "expires_in", "token_type"]
    answer = json.loads(oauth2(cloud, REFRESH | {"scope": PLATFORM})[2])
    assert answer | {"access_token": ""} == {
        "access_token": "", "expires_in": 3599, "scope": PLATFORM, "token_type": "Bearer",
    }  # fmt: skip


def pool(source: dict[str, Any], **more: Any) -> identity_pool.Credentials:
    info = {
        "type": "external_account",
        "audience": accounts.OIDC,
        "subject_token_type": EXCHANGE["subject_token_type"],
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": source,
    }
    return identity_pool.Credentials.from_info(info | more, scopes=[PLATFORM])


def test_a_token_in_a_file_is_exchanged(cloud: StandIn, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(accounts.SUBJECT_TOKEN)
    member = accounts.principal(accounts.OIDC, accounts.SUBJECT)
    assert member == (
        "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/stand-in-pool"
        "/subject/stand-in-subject"
    )
    opens_vertex(cloud, token(cloud, pool({"file": str(tmp_path / "token")})), member)
    assert cloud.counters()["google_sts.token_calls"] == 1
    assert cloud.requests("google_sts")[0]["principal"] == member
    # The file is rotated before the stand-in knows of it.
    (tmp_path / "token").write_text("the-next-token")
    with pytest.raises(exceptions.OAuthError, match="invalid_grant"):
        token(cloud, pool({"file": str(tmp_path / "token")}))
    cloud.config(google_sts={"subject_tokens": {"the-next-token": "somebody"}})
    token(cloud, pool({"file": str(tmp_path / "token")}))
    assert cloud.requests("google_sts")[-1]["principal"].endswith("/subject/somebody")


def test_a_token_behind_a_url_is_exchanged(cloud: StandIn) -> None:
    azure = {
        "url": SUBJECT_URL + "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fstand-in",
        "headers": {"Metadata": "True"},
        "format": {"type": "json", "subject_token_field_name": "access_token"},
    }
    opens_vertex(cloud, token(cloud, pool(azure)), accounts.principal(accounts.OIDC, accounts.SUBJECT))
    asked = {"authorization": "Bearer of-the-job", "accept": "application/json"}
    cloud.config(subject={"target": "/idtoken?audience=x", "headers": asked, "json_field": "value"})
    github = {
        "url": SUBJECT_URL + "/idtoken?audience=x",
        "headers": {"Authorization": "Bearer of-the-job", "Accept": "application/json"},
        "format": {"type": "json", "subject_token_field_name": "value"},
    }
    token(cloud, pool(github))
    cloud.config(subject={"target": "/token", "headers": {}, "json_field": None})
    token(cloud, pool({"url": SUBJECT_URL + "/token"}))
    assert cloud.counters()["subject.subject_calls"] == cloud.counters()["google_sts.token_calls"] == 3
    assert cloud.refusals() == []


def test_a_member_of_a_workforce_pool_names_who_pays(cloud: StandIn, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(accounts.SUBJECT_TOKEN)
    workforce = {"audience": accounts.WORKFORCE, "workforce_pool_user_project": "123456789012"}
    bearer = token(cloud, pool({"file": str(tmp_path / "token")}, **workforce))
    refused(cloud, ask(cloud, bearer), 403, "PERMISSION_DENIED", "project 123456789012.", "USER_PROJECT_DENIED")
    cloud.reset()
    cloud.config(google={"quota_projects": ["123456789012"]})
    opens_vertex(cloud, bearer, accounts.principal(accounts.WORKFORCE, accounts.SUBJECT))
    assert cloud.requests("vertex")[-1]["quota_project"] == "123456789012"


def federated(**more: Any) -> aws.Credentials:
    info = {
        "type": "external_account",
        "audience": accounts.AWS,
        "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {
            "environment_id": "aws1",
            "regional_cred_verification_url":
                "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        },
    }  # fmt: skip
    return aws.Credentials.from_info(info | more, scopes=[PLATFORM])


@pytest.fixture(params=keys.KEYS, ids=["permanent", "session"])
def aws_key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> keys.Key:
    """The environment of a process that has AWS's keys."""
    key = request.param
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret_access_key)
    if key.session_token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", key.session_token)
    else:
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    return key


def test_keys_of_aws_are_exchanged(cloud: StandIn, aws_key: keys.Key, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(exceptions.OAuthError, match="x-goog-cloud-target-resource is not signed"):
        token(cloud, federated())
    cloud.reset()
    cloud.config(allow_headers=["x-goog-api-client"], google_sts={"signed_target": False})
    opens_vertex(cloud, token(cloud, federated()), accounts.principal(accounts.AWS, aws_key.caller.arn))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(exceptions.OAuthError, match="invalid_grant.*InvalidSignatureException"):
        token(cloud, federated())


def test_a_service_account_may_be_another(cloud: StandIn, key: dict[str, Any]) -> None:
    cloud.config(iam={"may_impersonate": {TARGET: [accounts.KEYED]}})
    credentials = impersonated_credentials.Credentials(keyed(key), TARGET, [PLATFORM], lifetime=600)
    opens_vertex(cloud, token(cloud, credentials), TARGET)
    assert 595 < left(credentials) <= 600
    assert cloud.requests("iam")[0]["principal"] == accounts.KEYED
    assert cloud.counters()["iam.token_calls"] == 1


def test_delegates_lead_to_an_account_one_by_one(cloud: StandIn, key: dict[str, Any]) -> None:
    def chain(delegates: list[str] | None) -> impersonated_credentials.Credentials:
        return impersonated_credentials.Credentials(keyed(key), TARGET, [PLATFORM], delegates)

    cloud.config(iam={"may_impersonate": {MIDDLE: [accounts.KEYED], TARGET: [MIDDLE]}})
    with pytest.raises(exceptions.RefreshError, match="iam.serviceAccounts.getAccessToken"):
        token(cloud, chain(None))
    cloud.control("POST", "/reset")
    cloud.config(
        allow_headers=["x-goog-api-client"], iam={"may_impersonate": {MIDDLE: [accounts.KEYED], TARGET: [MIDDLE]}}
    )
    opens_vertex(cloud, token(cloud, chain([f"projects/-/serviceAccounts/{MIDDLE}"])), TARGET)


def test_a_member_of_a_pool_may_be_an_account(cloud: StandIn, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(accounts.SUBJECT_TOKEN)
    member = accounts.principal(accounts.OIDC, accounts.SUBJECT)
    cloud.config(iam={"may_impersonate": {TARGET: [member]}, "lifetime_s": 5})
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    credentials = pool({"file": str(tmp_path / "token")}, service_account_impersonation_url=url)
    opens_vertex(cloud, token(cloud, credentials), TARGET)
    assert left(credentials) <= 5


def test_the_machine_is_given_tokens_of_its_account(cloud: StandIn) -> None:
    status, headers, body = call(
        cloud, "metadata.google.internal", "/computeMetadata/v1/instance/service-accounts/default/token",
        headers={"Metadata-Flavor": "Google"},
    )  # fmt: skip
    assert status == 200 and json.loads(body)["expires_in"] == 3599
    opens_vertex(cloud, json.loads(body)["access_token"], accounts.MACHINE)
    assert cloud.requests("metadata")[0]["principal"] == accounts.MACHINE


# What the token endpoint refuses


def encode(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def assertion(key: dict[str, Any], header: Any = None, drop: str = "", **changes: Any) -> str:
    """A good assertion with changes."""
    now = int(time.time())
    claims = {
        "iss": key["client_email"], "scope": PLATFORM, "aud": "https://oauth2.googleapis.com/token",
        "iat": now, "exp": now + 3600,
    } | changes  # fmt: skip
    claims.pop(drop, None)
    first = {"alg": "RS256", "typ": "JWT", "kid": key["private_key_id"]} | (header or {})
    text = f"{encode(first)}.{encode(claims)}"
    signer = crypt.RSASigner.from_service_account_info(key)
    return f"{text}.{encode(signer.sign(text))}"


TIMEFRAME = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."

JWT_CASES: dict[str, tuple[Callable[[dict[str, Any]], str], str, str, str]] = {
    "too long": (lambda key: assertion(key, exp=int(time.time()) + 3601), "invalid_grant", "rule", TIMEFRAME),
    "expired": (
        lambda key: assertion(key, iat=int(time.time()) - 3601, exp=int(time.time()) - 1), "invalid_grant", "rule", TIMEFRAME
    ),
    "of the future": (
        lambda key: assertion(key, iat=int(time.time()) + 90, exp=int(time.time()) + 900), "invalid_grant", "rule", TIMEFRAME
    ),
    "backwards": (lambda key: assertion(key, iat=int(time.time()) + 30, exp=int(time.time()) + 20), "invalid_grant", "rule", TIMEFRAME),
    "fractions": (lambda key: assertion(key, iat=time.time() - 1), "invalid_grant", "rule", "whole numbers"),
    "another audience": (lambda key: assertion(key, aud="https://www.googleapis.com/oauth2/v4/token"), "invalid_grant", "rule", "audience"),
    "another scope": (lambda key: assertion(key, scope="https://www.googleapis.com/auth/drive"), "invalid_scope", "rule", "scope"),
    "two spaces": (lambda key: assertion(key, scope=f"{PLATFORM}  {IAM_SCOPE}"), "invalid_scope", "rule", "scope"),
    "no scope": (lambda key: assertion(key, scope=""), "invalid_scope", "rule", "scope"),
    "nobody": (lambda key: assertion(key, iss="nobody-at-all@my-project.iam.gserviceaccount.com"), "invalid_grant", "rule", "account not found"),
    "a claim too many": (lambda key: assertion(key, jti="1"), "invalid_grant", "rule", "claims"),
    "a claim too few": (lambda key: assertion(key, drop="iat"), "invalid_grant", "rule", "claims"),
    "another algorithm": (lambda key: assertion(key, {"alg": "none"}), "invalid_grant", "rule", "alg"),
    "another type": (lambda key: assertion(key, {"typ": "jwt"}), "invalid_grant", "rule", "typ"),
    "a header too many": (lambda key: assertion(key, {"jku": "x"}), "invalid_grant", "rule", "header"),
    "another key": (lambda key: assertion(key, {"kid": "0" * 40}), "invalid_grant", "signature", "Invalid JWT Signature."),
    "another signature": (lambda key: assertion(key)[:-6] + "AAAAAA", "invalid_grant", "signature", "Invalid JWT Signature."),
    "no signature": (lambda key: assertion(key).rpartition(".")[0] + ".", "invalid_grant", "signature", "Signature"),
    "padded": (lambda key: assertion(key) + "==", "invalid_grant", "shape", "base64url"),
    "two parts": (lambda key: assertion(key).rpartition(".")[0], "invalid_grant", "shape", "three parts"),
    "not JSON": (lambda key: "e30.eA.AA", "invalid_request", "json", "JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", JWT_CASES)
def test_an_assertion_that_is_a_little_wrong_is_refused(cloud: StandIn, key: dict[str, Any], case: str) -> None:
    make, error, kind, about = JWT_CASES[case]
    denied(cloud, oauth2(cloud, {"grant_type": JWT_GRANT, "assertion": make(key)}), error, kind, about)


def test_an_assertion_for_somebody_else_is_refused(cloud: StandIn, key: dict[str, Any]) -> None:
    form = {"grant_type": JWT_GRANT, "assertion": assertion(key, sub="user@example.com")}
    denied(cloud, oauth2(cloud, form), "unauthorized_client", "rule", status=401)


def test_each_account_signs_with_its_own_keys_as_long_as_they_are_there(cloud: StandIn, key: dict[str, Any]) -> None:
    other = cloud.service_account(TARGET)
    assert other["client_email"] == TARGET and other["private_key_id"] != key["private_key_id"]
    form = {"grant_type": JWT_GRANT, "assertion": assertion(other)}
    assert oauth2(cloud, form)[0] == 200
    mixed = {"grant_type": JWT_GRANT, "assertion": assertion(other, iss=key["client_email"])}
    assert json.loads(oauth2(cloud, mixed)[2])["error_description"] == "Invalid JWT Signature."
    cloud.control("POST", "/service_accounts/delete", {"private_key_id": other["private_key_id"]})
    with pytest.raises(exceptions.RefreshError, match="Invalid JWT Signature."):
        token(cloud, keyed(other))
    with pytest.raises(RuntimeError):
        cloud.service_account("no-address")


def test_the_clock_of_google_is_what_counts_and_it_tells_it(cloud: StandIn, key: dict[str, Any]) -> None:
    cloud.config(google={"clock_offset_s": 4000})
    status, headers, body = oauth2(cloud, {"grant_type": JWT_GRANT, "assertion": assertion(key)})
    assert status == 400 and TIMEFRAME in json.loads(body)["error_description"]
    ahead = parsedate_to_datetime(headers["date"]).timestamp() - time.time()
    assert 3990 < ahead < 4001
    corrected = int(time.time() + ahead)
    form = {"grant_type": JWT_GRANT, "assertion": assertion(key, iat=corrected, exp=corrected + 3600)}
    assert oauth2(cloud, form)[0] == 200
    cloud.config(google={"clock_offset_s": -4000})
    assert TIMEFRAME in json.loads(oauth2(cloud, form)[2])["error_description"]


FORM_CASES: dict[str, tuple[Any, str, str, str, int]] = {
    "no grant": ({"assertion": "x"}, "invalid_request", "form", "grant_type", 400),
    "another grant": ({"grant_type": "password"}, "unsupported_grant_type", "form", "password", 400),
    "no assertion": ({"grant_type": JWT_GRANT}, "invalid_request", "form", "assertion", 400),
    "a parameter too many": (REFRESH | {"audience": "x"}, "invalid_request", "form", "audience", 400),
    "a parameter too few": ({**REFRESH, "client_secret": ""}, "invalid_request", "form", "client_secret", 400),
    "twice": (urlencode([*REFRESH.items(), ("client_id", "x")]).encode(), "invalid_request", "form", "twice", 400),
    "not encoded": (b"grant_type=a b", "invalid_request", "form", "grant_type", 400),
    "half encoded": (b"grant_type=%2", "invalid_request", "form", "grant_type", 400),
    "not UTF-8": (b"grant_type=%ff", "invalid_request", "form", "UTF-8", 400),
    "JSON": (b'{"grant_type": "refresh_token"}', "invalid_request", "form", "", 400),
    "nothing": (b"", "invalid_request", "form", "", 400),
    "another client": (REFRESH | {"client_id": "x"}, "invalid_client", "token", "not found", 401),
    "another secret": (REFRESH | {"client_secret": "x"}, "invalid_client", "token", "secret", 401),
    "another refresh token": (REFRESH | {"refresh_token": "x"}, "invalid_grant", "token", "expired or revoked", 400),
    "more than granted": (REFRESH | {"scope": IAM_SCOPE}, "invalid_scope", "rule", "", 400),
}


@pytest.mark.parametrize("case", FORM_CASES)
def test_a_form_that_is_a_little_wrong_is_refused(cloud: StandIn, case: str) -> None:
    form, error, kind, about, status = FORM_CASES[case]
    denied(cloud, oauth2(cloud, form), error, kind, about, status)


@pytest.mark.parametrize(
    ("name", "value"),
    [("content-type", "application/json"), ("authorization", "Bearer x"), ("x-forwarded-for", "10.0.0.1"),
     ("cookie", "a=b"), ("x-request-id", "1"), ("host", "accounts.google.com"), ("user-agent", "curl/8")],
)  # fmt: skip
@pytest.mark.parametrize("to", [oauth2, exchange])
def test_a_header_that_must_not_reach_a_token_endpoint_is_named(
    cloud: StandIn, to: Callable[..., Reply], name: str, value: str
) -> None:
    form = REFRESH if to is oauth2 else EXCHANGE
    denied(cloud, to(cloud, form, **{name: value}), "invalid_request", "headers", name)
    assert to(cloud, form, **{"x-envoy-internal": "true", "x-envoy-expected-rq-timeout-ms": "3000"})[0] == 200


@pytest.mark.parametrize(("host", "path"), [
    ("oauth2.googleapis.com", "/token?x=1"), ("oauth2.googleapis.com", "/o/oauth2/token"),
    ("sts.googleapis.com", "/v1beta/token"), ("sts.googleapis.com", "/token"),
])  # fmt: skip
def test_another_path_is_a_page_of_404(cloud: StandIn, host: str, path: str) -> None:
    status, headers, _ = post(cloud, host, path, REFRESH)
    assert status == 404 and headers["content-type"].startswith("text/html")
    assert [one["kind"] for one in cloud.refusals()] == ["path"]


# What the exchange refuses

EXCHANGE_CASES: dict[str, tuple[dict[str, str], str, str, str]] = {
    "another grant": ({"grant_type": JWT_GRANT}, "unsupported_grant_type", "form", "jwt-bearer"),
    "another type wanted": ({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request", "form", "requested"),
    "no audience": ({"audience": ""}, "invalid_request", "form", "audience"),
    "an audience with https": ({"audience": "https:" + accounts.OIDC}, "invalid_request", "rule", 'Invalid value for "audience"'),
    "another provider": ({"audience": accounts.POOL + "/providers/other"}, "invalid_target", "rule", "disabled or deleted"),
    "a provider of another kind": ({"audience": accounts.AWS}, "invalid_request", "rule", "does not vouch"),
    "another type given": ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request", "rule", "saml2"),
    "another token": ({"subject_token": "x"}, "invalid_grant", "token", "not one"),
    "another scope": ({"scope": "email"}, "invalid_scope", "rule", "scope"),
    "a parameter too many": ({"resource": "x"}, "invalid_request", "form", "resource"),
    "options of another pool": ({"options": '{"userProject":"my-project"}'}, "invalid_request", "rule", "workforce"),
    "no options": ({"audience": accounts.WORKFORCE}, "invalid_request", "rule", "userProject"),
    "other options": ({"audience": accounts.WORKFORCE, "options": '{"x":"y"}'}, "invalid_request", "rule", "userProject"),
    "options that are none": ({"audience": accounts.WORKFORCE, "options": "x"}, "invalid_request", "json", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", EXCHANGE_CASES)
def test_an_exchange_that_is_a_little_wrong_is_refused(cloud: StandIn, case: str) -> None:
    changes, error, kind, about = EXCHANGE_CASES[case]
    denied(cloud, exchange(cloud, EXCHANGE | changes), error, kind, about)


def test_replies_of_the_exchange_have_the_documented_fields(cloud: StandIn) -> None:
    cloud.config(google_sts={"lifetime_s": 5})
    id_token = {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}
    answer = json.loads(exchange(cloud, EXCHANGE | id_token)[2])
    assert answer | {"access_token": ""} == {
        "access_token": "", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer", "expires_in": 5,
    }  # fmt: skip
    plain = {"audience": accounts.WORKFORCE, "options": '{"userProject":"my-project"}'}
    assert exchange(cloud, EXCHANGE | plain)[0] == 200


def signed(change: Callable[[dict[str, Any]], None] = lambda _: None, signs: bool = True, key: keys.Key = keys.KEYS[1]) -> str:
    """AWS's signed request with `x-goog-cloud-target-resource` in the signature, changed, encoded."""
    url = "https://sts.eu-central-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("POST", url, {"x-goog-cloud-target-resource": accounts.AWS} if signs else {})
    SigV4Auth(AwsKeys(key.access_key_id, key.secret_access_key, key.session_token), "sts", "eu-central-1").add_auth(request)
    headers = {"host": "sts.eu-central-1.amazonaws.com", "x-goog-cloud-target-resource": accounts.AWS}
    headers |= {name: value for name, value in request.headers.items() if name != "x-goog-cloud-target-resource"}
    value = {"url": url, "method": "POST", "headers": [{"key": name, "value": headers[name]} for name in headers]}
    change(value)
    return quote(json.dumps(value), safe="")


def header(name: str, to: str | None) -> Callable[[dict[str, Any]], None]:
    """Changes a header of the signed request, or takes it away."""

    def change(value: dict[str, Any]) -> None:
        one = next(one for one in value["headers"] if one["key"].lower() == name)
        one["value"] = to
        if to is None:
            value["headers"].remove(one)

    return change


def put(name: str, to: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value.update({name: to})


AWS_CASES: dict[str, tuple[Callable[[], str], str, str]] = {
    "not encoded": (lambda: unquote(signed()), "token", "percent-encoded"),
    "encoded twice": (lambda: quote(signed(), safe=""), "json", "JSON"),
    "another method": (lambda: signed(put("method", "GET")), "token", "POST"),
    "a body": (lambda: signed(put("data", "")), "token", "url, method POST and headers"),
    "another action": (
        lambda: signed(put("url", "https://sts.eu-central-1.amazonaws.com?Action=AssumeRole&Version=2011-06-15")), "token", "url"
    ),
    "another host": (
        lambda: signed(put("url", "https://sts.us-east-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15")), "token", "host"
    ),
    "no TLS": (
        lambda: signed(put("url", "http://sts.eu-central-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15")), "token", "url"
    ),
    "another target": (lambda: signed(header("x-goog-cloud-target-resource", accounts.OIDC)), "token", "is not the audience"),
    "no target": (lambda: signed(header("x-goog-cloud-target-resource", None)), "token", "headers"),
    "an unsigned target": (lambda: signed(signs=False), "token", "is not signed"),
    "no date": (lambda: signed(header("x-amz-date", None)), "token", "headers"),
    "another date": (lambda: signed(header("x-amz-date", "20200101T000000Z")), "signature", "InvalidSignatureException"),
    "another session": (lambda: signed(header("x-amz-security-token", "x")), "signature", "UnrecognizedClientException"),
    "no session": (lambda: signed(header("x-amz-security-token", None)), "signature", "UnrecognizedClientException"),
    "an unknown key": (lambda: signed(key=keys.Key("AKIDNOBODY", "x")), "signature", "UnrecognizedClientException"),
    "another secret": (
        lambda: signed(key=keys.Key(keys.KEYS[0].access_key_id, "x")), "signature", "InvalidSignatureException"
    ),
    "a header too many": (
        lambda: signed(lambda value: value["headers"].append({"key": "x", "value": "y"})), "token", "headers"
    ),
    "a header twice": (
        lambda: signed(lambda value: value["headers"].append({"key": "Host", "value": "y"})), "token", "twice"
    ),
    "headers as an object": (lambda: signed(put("headers", {"host": "x"})), "token", "headers"),
}  # fmt: skip

FROM_AWS = EXCHANGE | {"audience": accounts.AWS, "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request"}


def test_a_signature_of_aws_that_covers_the_target_is_exchanged(cloud: StandIn) -> None:
    for key in keys.KEYS:
        status, _, body = exchange(cloud, FROM_AWS | {"subject_token": signed(key=key)})
        assert status == 200, body
        opens_vertex(cloud, json.loads(body)["access_token"], accounts.principal(accounts.AWS, key.caller.arn))


@pytest.mark.parametrize("case", AWS_CASES)
def test_a_request_of_aws_that_is_a_little_wrong_is_refused(cloud: StandIn, case: str) -> None:
    make, kind, about = AWS_CASES[case]
    error = "invalid_request" if kind == "json" else "invalid_grant"
    denied(cloud, exchange(cloud, FROM_AWS | {"subject_token": make()}), error, kind, about)


# What impersonation refuses

GOOD = {"scope": [PLATFORM], "lifetime": "600s"}


def impersonate(cloud: StandIn, body: Any, bearer: str | None, account: str = TARGET, path: str = "", **more: str) -> Reply:
    sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in more.items()}
    if bearer is not None:
        sent["authorization"] = f"Bearer {bearer}"
    path = path or f"/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    return call(cloud, "iamcredentials.googleapis.com", path, json.dumps(body).encode(), headers=sent)


def issued(cloud: StandIn) -> str:
    """A token of the machine, who may be the target."""
    cloud.config(iam={"may_impersonate": {TARGET: [accounts.MACHINE], MIDDLE: []}})
    return cloud.control("POST", "/tokens/issue")["access_token"]


def test_replies_of_impersonation_have_the_documented_fields(cloud: StandIn) -> None:
    status, headers, body = impersonate(cloud, GOOD, issued(cloud))
    assert status == 200 and headers["content-type"] == "application/json; charset=UTF-8"
    assert list(json.loads(body)) == ["accessToken", "expireTime"]
    assert impersonate(cloud, {"scope": [PLATFORM]}, issued(cloud))[0] == 200


BODY_CASES: dict[str, tuple[Any, str]] = {
    "no scope": ({"lifetime": "600s"}, "scope"),
    "a scope as text": (GOOD | {"scope": PLATFORM}, "scope"),
    "no scopes": (GOOD | {"scope": []}, "scope"),
    "another scope": (GOOD | {"scope": ["email"]}, "scope"),
    "seconds as a number": (GOOD | {"lifetime": 600}, "lifetime"),
    "seconds without a unit": (GOOD | {"lifetime": "600"}, "lifetime"),
    "too long": (GOOD | {"lifetime": "3601s"}, "lifetime"),
    "no time": (GOOD | {"lifetime": "0s"}, "lifetime"),
    "delegates by address": (GOOD | {"delegates": [MIDDLE]}, "delegates"),
    "delegates of a project": (GOOD | {"delegates": [f"projects/my-project/serviceAccounts/{MIDDLE}"]}, "delegates"),
    "no delegates": (GOOD | {"delegates": []}, "delegates"),
    "a field too many": (GOOD | {"scopes": [PLATFORM]}, 'Unknown name "scopes"'),
    "a list": ([GOOD], "object"),
}


@pytest.mark.parametrize("case", BODY_CASES)
def test_a_body_that_is_a_little_wrong_is_refused(cloud: StandIn, case: str) -> None:
    body, about = BODY_CASES[case]
    refused(cloud, impersonate(cloud, body, issued(cloud)), 400, "INVALID_ARGUMENT", about)


def test_who_may_not_be_an_account_is_told_so(cloud: StandIn, key: dict[str, Any]) -> None:
    machine = issued(cloud)
    denied_permission = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
    reply = impersonate(cloud, GOOD, machine, MIDDLE)
    refused(cloud, reply, 403, "PERMISSION_DENIED", denied_permission, "IAM_PERMISSION_DENIED")
    cloud.reset()
    issued(cloud)
    chain = GOOD | {"delegates": [f"projects/-/serviceAccounts/{MIDDLE}"]}
    reply = impersonate(cloud, chain, machine)
    refused(cloud, reply, 403, "PERMISSION_DENIED", denied_permission, "IAM_PERMISSION_DENIED")
    cloud.reset()
    refused(cloud, impersonate(cloud, GOOD, machine), 404, "NOT_FOUND", "not found")
    assert "iam.token_calls" not in cloud.counters()


@pytest.mark.parametrize("to", [ask, lambda cloud, bearer: impersonate(cloud, GOOD, bearer)], ids=["vertex", "iam"])
def test_only_a_valid_token_opens_anything(cloud: StandIn, to: Callable[[StandIn, str | None], Reply]) -> None:
    good = issued(cloud)
    reply = to(cloud, None)
    refused(cloud, reply, 401, "UNAUTHENTICATED", "is missing required", "CREDENTIALS_MISSING")
    assert reply[1]["www-authenticate"] == 'Bearer realm="https://accounts.google.com/"'
    cloud.reset()
    reply = to(cloud, "ya29.never-issued")
    refused(cloud, reply, 401, "UNAUTHENTICATED", "invalid authentication credentials")
    assert reply[1]["www-authenticate"] == 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
    cloud.reset()
    cloud.control("POST", "/tokens/revoke", {"token": good})
    refused(cloud, to(cloud, good), 401, "UNAUTHENTICATED", "invalid authentication credentials")
    cloud.reset()
    cloud.config(metadata={"lifetime_s": 0.2})
    short = issued(cloud)
    assert to(cloud, short)[0] == 200
    time.sleep(0.25)
    refused(cloud, to(cloud, short), 401, "UNAUTHENTICATED", "invalid authentication", "ACCESS_TOKEN_EXPIRED")
    assert [one["valid"] for one in cloud.control("GET", "/tokens")["tokens"] if one["value"] in (good, short)] == [False] * 2


def test_tokens_are_revoked_by_whose_they_are(cloud: StandIn, key: dict[str, Any]) -> None:
    machine, other = issued(cloud), token(cloud, keyed(key))
    assert cloud.control("POST", "/tokens/revoke", {"principal": accounts.KEYED})["revoked"] >= 1
    assert ask(cloud, machine)[0] == 200 and ask(cloud, other)[0] == 401
    with pytest.raises(RuntimeError):
        cloud.control("POST", "/tokens/revoke", {"email": accounts.KEYED})


def test_the_scope_of_iam_opens_iam_alone(cloud: StandIn, key: dict[str, Any]) -> None:
    narrow = token(cloud, keyed(key, [IAM_SCOPE]))
    cloud.config(iam={"may_impersonate": {TARGET: [accounts.KEYED]}})
    assert impersonate(cloud, GOOD, narrow)[0] == 200
    refused(cloud, ask(cloud, narrow), 403, "PERMISSION_DENIED", "scopes", "ACCESS_TOKEN_SCOPE_INSUFFICIENT")


@pytest.mark.parametrize("to", [ask, lambda cloud, bearer, **more: impersonate(cloud, GOOD, bearer, **more)], ids=["vertex", "iam"])
def test_a_project_pays_where_it_may_be_charged(cloud: StandIn, to: Callable[..., Reply]) -> None:
    bearer = issued(cloud)
    reply = to(cloud, bearer, x_goog_user_project="who-pays")
    about = "Caller does not have required permission to use project who-pays."
    refused(cloud, reply, 403, "PERMISSION_DENIED", about, "USER_PROJECT_DENIED")
    links, _ = json.loads(reply[2])["error"]["details"]
    assert links["links"][0]["url"].endswith("?project=who-pays")
    cloud.config(google={"quota_projects": ["who-pays"]})
    assert to(cloud, bearer, x_goog_user_project="who-pays")[0] == 200
    role = "vertex" if to is ask else "iam"
    assert [one["quota_project"] for one in cloud.requests(role)] == ["who-pays"] * 2
    assert to(cloud, bearer, x_goog_user_project="Who Pays")[0] == 400


@pytest.mark.parametrize("name", ["x-forwarded-for", "cookie", "x-request-id", "x-api-key"])
def test_a_header_that_must_not_reach_impersonation_is_named(cloud: StandIn, name: str) -> None:
    refused(cloud, impersonate(cloud, GOOD, issued(cloud), **{name: "x"}), 400, "INVALID_ARGUMENT", name)


@pytest.mark.parametrize("path", [
    f"/v1/projects/my-project/serviceAccounts/{TARGET}:generateAccessToken",
    f"/v1/projects/-/serviceAccounts/{TARGET.replace('@', '%40')}:generateAccessToken",
    f"/v1/projects/-/serviceAccounts/{TARGET}:generateIdToken",
    f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken?alt=json",
    "/v1/projects/-/serviceAccounts/user@example.com:generateAccessToken",
])  # fmt: skip
def test_another_path_of_impersonation_is_a_page_of_404(cloud: StandIn, path: str) -> None:
    status, headers, _ = impersonate(cloud, GOOD, issued(cloud), path=path)
    assert status == 404 and headers["content-type"].startswith("text/html")


# What the URL of the subject token refuses, and how all of them fail


def subject(cloud: StandIn, path: str = "", **headers: str) -> Reply:
    path = path or cloud.control("GET", "/config")["subject"]["target"]
    return call(cloud, "pipelines.actions.githubusercontent.com", path, headers=headers)


def test_the_url_of_the_subject_token_wants_its_headers_and_no_others(cloud: StandIn) -> None:
    assert subject(cloud)[0] == 400
    assert subject(cloud, Metadata="true")[0] == 400
    assert subject(cloud, Metadata="True", Authorization="Bearer x")[0] == 400
    assert subject(cloud, Metadata="True", Cookie="a=b")[0] == 400
    assert subject(cloud, Metadata="True", Content_Type="application/json")[0] == 400
    assert subject(cloud, "/metadata/identity/oauth2/token", Metadata="True")[0] == 404
    assert "subject.subject_calls" not in cloud.counters()
    assert subject(cloud, Metadata="True")[0] == 200
    assert [one["status"] for one in cloud.requests("subject")] == [400] * 5 + [404, 200]


CALLS: dict[str, Callable[[StandIn], Reply]] = {
    "oauth2": lambda cloud: oauth2(cloud, REFRESH),
    "google_sts": lambda cloud: exchange(cloud, EXCHANGE),
    "iam": lambda cloud: impersonate(cloud, GOOD, issued(cloud)),
    "subject": lambda cloud: subject(cloud, Metadata="True"),
}


@pytest.mark.parametrize("role", CALLS)
def test_each_of_them_fails_as_it_is_told(cloud: StandIn, role: str) -> None:
    ask_it = CALLS[role]
    cloud.config(**{role: {"status": 503, "body": "busy", "content_type": "text/plain"}})
    status, headers, body = ask_it(cloud)
    assert (status, headers["content-type"], body) == (503, "text/plain", b"busy")
    cloud.config(**{role: {"status": 200, "body": "<html>", "delay_s": 0.3}})
    begin = time.monotonic()
    assert ask_it(cloud)[::2] == (200, b"<html>")
    assert time.monotonic() - begin >= 0.3
    with pytest.raises(RuntimeError):
        cloud.config(**{role: {"no_such_setting": 1}})
    with pytest.raises(RuntimeError):
        cloud.config(**{role: 1})
    cloud.reset()
    assert ask_it(cloud)[0] == 200
    assert len(cloud.requests(role)) == 1


def test_the_key_file_is_what_google_auth_takes_for_one(cloud: StandIn, key: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(json.dumps(key))
    credentials = service_account.Credentials.from_service_account_file(str(tmp_path / "key.json"), scopes=[PLATFORM])
    assert credentials.project_id == "my-project"
    opens_vertex(cloud, token(cloud, credentials), accounts.KEYED)
    assert jwt.decode_header(assertion(key))["kid"] == key["private_key_id"]
