"""The stand-ins of AWS's identity services serve AWS's and Google's own clients, and refuse what is a little wrong."""

from __future__ import annotations

import calendar
import email.utils
import http.client
import json
import time
import xml.etree.ElementTree as xml
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import boto3
import botocore.config
import google.auth.aws
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher, MetadataRetrievalError

from . import imds, keys, sts
from .aws_settings import ContainerSettings, StsSettings
from .driver import StandIn
from .web_tokens import POD_AUDIENCE, POD_TOKEN, STS_AUDIENCE, STS_TOKEN, projected

MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]

#: What only SDKs send.
SDK_HEADERS = ["user-agent", "accept-encoding", "amz-sdk-invocation-id", "amz-sdk-request"]

ROLE = f"arn:aws:iam::{keys.ACCOUNT}:role/teams/blue"
EXTERNAL = f"arn:aws:iam::{keys.ACCOUNT}:role/external"

ECS_PATH = ContainerSettings().path
EKS_PATH = "/v1/credentials"

VERSION = {"Version": sts.VERSION}
ASSUME = {"Action": "AssumeRole", **VERSION, "RoleArn": ROLE, "RoleSessionName": "fairlead"}
WEB = {"Action": "AssumeRoleWithWebIdentity", **VERSION, "RoleArn": ROLE, "RoleSessionName": "fairlead",
       "WebIdentityToken": STS_TOKEN}  # fmt: skip
WHO = {"Action": "GetCallerIdentity", **VERSION}

Reply = tuple[int, dict[str, str], bytes]


def ask(
    cloud: StandIn, role: str, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"",
    host: str = "127.0.0.1",
) -> Reply:  # fmt: skip
    """What a gateway would send, with nothing but the headers given."""
    connection = http.client.HTTPConnection("127.0.0.1", cloud.ports[role], timeout=5)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"host": host, **(headers or {}), **({"content-length": str(len(body))} if body else {})}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    reply = connection.getresponse()
    answer = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return answer


def own(number: int = 0) -> keys.Key:
    return keys.KEYS[number]


def key_of(credentials: dict[str, Any]) -> keys.Key:
    """The keys of an answer of STS, as boto3 has read them."""
    return keys.Key(credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])


def client(cloud: StandIn, service: str, role: str, key: keys.Key) -> Any:
    """A client of boto3, for which the headers that only SDKs send are let through."""
    cloud.config(allow_headers=SDK_HEADERS)
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{cloud.ports[role]}",
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
        config=botocore.config.Config(retries={"max_attempts": 0}, read_timeout=5),
    )


def sts_client(cloud: StandIn, key: keys.Key | None = None) -> Any:
    return client(cloud, "sts", "sts", key or own())


def converse(cloud: StandIn, key: keys.Key) -> dict[str, Any]:
    """Call Bedrock; returns who the stand-in thinks it was."""
    client(cloud, "bedrock-runtime", "bedrock", key).converse(modelId=MODEL, messages=HELLO)
    return cloud.requests("bedrock")[-1]["caller"]


def fails(call: Callable[[], Any]) -> tuple[int, str, str]:
    """Status, code and message of an error, as botocore has read them."""
    with pytest.raises(ClientError) as caught:
        call()
    told = caught.value.response
    return told["ResponseMetadata"]["HTTPStatusCode"], told["Error"]["Code"], told["Error"]["Message"]


def moment(text: str) -> int:
    """A time as AWS writes it, in seconds since 1970."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


# The instance metadata service


def session(cloud: StandIn, seconds: int = 60) -> dict[str, str]:
    status, headers, token = ask(cloud, "imds", "PUT", imds.TOKEN_PATH, {imds.LIFETIME: str(seconds)})
    assert (status, headers[imds.LIFETIME]) == (200, str(seconds))
    return {imds.SESSION: token.decode()}


def test_botocore_gets_the_instances_keys_and_bedrock_takes_them(cloud: StandIn) -> None:
    cloud.config(allow_headers=SDK_HEADERS)
    fetcher = InstanceMetadataFetcher(base_url=f"http://127.0.0.1:{cloud.ports['imds']}/")
    found = fetcher.retrieve_iam_role_credentials()
    assert found["role_name"] == "fairlead-instance"
    caller = converse(cloud, keys.Key(found["access_key"], found["secret_key"], found["token"]))
    assert caller["source"] == "imds" and caller["access_key_id"] == found["access_key"]
    assert caller["arn"] == f"arn:aws:sts::{keys.ACCOUNT}:assumed-role/fairlead-instance/{imds.INSTANCE}"
    counters = cloud.counters()
    assert [counters[f"imds.{call}_calls"] for call in ("token", "role", "key")] == [1, 1, 1]
    assert cloud.refusals() == []


def test_googles_client_gets_keys_and_a_region_from_it(cloud: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    cloud.config(imds={"zone": "eu-central-1b"})
    supplier = google.auth.aws._DefaultAwsSecurityCredentialsSupplier({
        "region_url": imds.ZONE_PATH, "url": imds.ROLES_PATH, "imdsv2_session_token_url": imds.TOKEN_PATH,
    })  # fmt: skip

    def request(url: str, method: str, headers: dict[str, str] | None = None) -> Any:
        answer = type("Response", (), {})()
        answer.status, _, data = ask(cloud, "imds", method, url, headers)
        answer.data = data.decode()
        return answer

    assert supplier.get_aws_region(None, request) == "eu-central-1"
    found = supplier.get_aws_security_credentials(None, request)
    assert cloud.keys()[-1]["access_key_id"] == found.access_key_id
    assert cloud.counters()["imds.zone_calls"] == 1 and cloud.refusals() == []


def test_the_instances_keys_are_written_as_the_real_service_writes_them(cloud: StandIn) -> None:
    held = session(cloud)
    status, headers, role = ask(cloud, "imds", "GET", imds.ROLES_PATH + "/", held)
    assert (status, headers["content-type"], role) == (200, "text/plain", b"fairlead-instance")
    _, headers, body = ask(cloud, "imds", "GET", f"{imds.ROLES_PATH}/fairlead-instance", held)
    assert headers["server"] == "EC2ws" and headers["content-type"] == "text/plain"
    told = json.loads(body)
    assert list(told) == ["Code", "LastUpdated", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"]
    assert body.decode().split("\n")[1] == '  "Code" : "Success",'
    assert told["Type"] == "AWS-HMAC" and told["AccessKeyId"].startswith("ASIA") and len(told["AccessKeyId"]) == 20
    assert 3590 < moment(told["Expiration"]) - time.time() <= 3600


IMDS_REFUSALS = {
    "no lifetime": ("PUT", imds.TOKEN_PATH, {}, 400),
    "no time at all": ("PUT", imds.TOKEN_PATH, {imds.LIFETIME: "0"}, 400),
    "more than six hours": ("PUT", imds.TOKEN_PATH, {imds.LIFETIME: "21601"}, 400),
    "no number": ("PUT", imds.TOKEN_PATH, {imds.LIFETIME: "1h"}, 400),
    "through a proxy": ("PUT", imds.TOKEN_PATH, {imds.LIFETIME: "60", "x-forwarded-for": "10.0.0.1"}, 403),
    "reading through a proxy": ("GET", imds.ZONE_PATH, {"session": "", "x-forwarded-for": "10.0.0.1"}, 403),
    "a client's key": ("GET", imds.ZONE_PATH, {"session": "", "authorization": "Bearer sk"}, 403),
    "a client's cookie": ("GET", imds.ZONE_PATH, {"session": "", "cookie": "a=b"}, 403),
    "a lifetime where a session belongs": ("GET", imds.ZONE_PATH, {"session": "", imds.LIFETIME: "60"}, 403),
    "no session": ("GET", imds.ROLES_PATH + "/", {}, 401),
    "another session": ("GET", imds.ROLES_PATH + "/", {imds.SESSION: "AQAEAnobody=="}, 401),
    "another role": ("GET", imds.ROLES_PATH + "/somebody", {"session": ""}, 404),
    "another path": ("GET", "/latest/meta-data/", {"session": ""}, 404),
    "a session by GET": ("GET", imds.TOKEN_PATH, {"session": ""}, 405),
    "POST": ("POST", imds.ROLES_PATH + "/", {"session": ""}, 405),
}


@pytest.mark.parametrize("name", IMDS_REFUSALS)
def test_the_instance_metadata_service_refuses(cloud: StandIn, name: str) -> None:
    method, path, headers, wanted = IMDS_REFUSALS[name]
    if "session" in headers:
        headers = {each: value for each, value in headers.items() if each != "session"} | session(cloud)
    status, told, body = ask(cloud, "imds", method, path, headers)
    assert status == wanted, body
    assert f"<title>{status} - ".encode() in body and told["content-type"] == "text/html"
    assert len(cloud.refusals()) == 1


def test_an_instance_metadata_session_ends(cloud: StandIn) -> None:
    held = session(cloud, 1)
    assert ask(cloud, "imds", "GET", imds.ZONE_PATH, held)[0] == 200
    time.sleep(1.05)
    assert ask(cloud, "imds", "GET", imds.ZONE_PATH, held)[0] == 401


def test_an_instance_may_have_no_role(cloud: StandIn) -> None:
    cloud.config(imds={"role": None})
    assert ask(cloud, "imds", "GET", imds.ROLES_PATH + "/", session(cloud))[0] == 404


def test_only_the_metadata_address_is_served(cloud: StandIn) -> None:
    for host, wanted in (("169.254.169.254", 200), ("169.254.169.254:80", 200), ("metadata.google.internal", 403)):
        assert ask(cloud, "imds", "PUT", imds.TOKEN_PATH, {imds.LIFETIME: "60"}, host=host)[0] == wanted


# The container endpoints


def fetch(cloud: StandIn, path: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """What botocore reads from a container endpoint."""
    cloud.config(allow_headers=SDK_HEADERS)
    fetcher = ContainerMetadataFetcher(sleep=lambda _: None)
    return fetcher.retrieve_full_uri(f"http://127.0.0.1:{cloud.ports['container']}{path}", headers)


def test_botocore_gets_a_tasks_keys_and_bedrock_takes_them(cloud: StandIn) -> None:
    found = fetch(cloud, ECS_PATH)
    assert set(found) == {"RoleArn", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    assert found["RoleArn"] == f"arn:aws:iam::{keys.ACCOUNT}:role/fairlead-task"
    caller = converse(cloud, keys.Key(found["AccessKeyId"], found["SecretAccessKey"], found["Token"]))
    assert caller["source"] == "container" and ":assumed-role/fairlead-task/" in caller["arn"]
    assert cloud.counters()["container.calls"] == 1 and cloud.refusals() == []


def test_botocore_gets_a_pods_keys_with_the_token_that_the_file_holds_now(cloud: StandIn) -> None:
    found = fetch(cloud, EKS_PATH, {"Authorization": POD_TOKEN})
    assert set(found) == {"AccountId", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    converse(cloud, keys.Key(found["AccessKeyId"], found["SecretAccessKey"], found["Token"]))
    rotated = projected(POD_AUDIENCE, time.time() + 3600)
    cloud.config(container={"tokens": [rotated]})
    assert cloud.refusals() == []
    with pytest.raises(MetadataRetrievalError, match="InvalidTokenException"):
        fetch(cloud, EKS_PATH, {"Authorization": POD_TOKEN})
    assert fetch(cloud, EKS_PATH, {"Authorization": rotated})["AccountId"] == keys.ACCOUNT
    assert cloud.counters()["container.eks_calls"] == 2


def test_a_pods_token_must_be_a_fresh_one_for_the_agent(cloud: StandIn) -> None:
    old, other = projected(POD_AUDIENCE, time.time() - 1), projected(STS_AUDIENCE, time.time() + 60)
    cloud.config(container={"tokens": [old, other, POD_TOKEN]})
    for sent, about in (
        ({}, "cannot be empty"), ({"authorization": "Bearer " + POD_TOKEN}, "cannot be parsed"),
        ({"authorization": "text"}, "cannot be parsed"), ({"authorization": old}, "token is expired"),
        ({"authorization": other}, "InvalidTokenException"),
    ):  # fmt: skip
        status, headers, body = ask(cloud, "container", "GET", EKS_PATH, sent)
        assert (status, headers["content-type"]) == (400, "text/plain; charset=utf-8")
        assert about in body.decode() and body.endswith(b"\n")
    assert {one["kind"] for one in cloud.refusals()} == {"token"}


def test_each_container_endpoint_is_at_its_own_address(cloud: StandIn) -> None:
    held = {"authorization": POD_TOKEN}
    assert ask(cloud, "container", "GET", ECS_PATH, host="169.254.170.2")[0] == 200
    assert ask(cloud, "container", "GET", ECS_PATH, host="169.254.170.23")[0] == 404
    for host in ("169.254.170.23", "169.254.170.23:80", "[fd00:ec2::23]"):
        assert ask(cloud, "container", "GET", EKS_PATH, held, host=host)[0] == 200
    status, _, body = ask(cloud, "container", "GET", EKS_PATH, held, host="169.254.170.2")
    assert status == 403 and b"Called agent through invalid address" in body


def test_a_task_asks_by_its_own_id_and_without_any_token(cloud: StandIn) -> None:
    for path, headers, status, code in (
        ("/v2/credentials/somebody", {}, 400, "InvalidIdInRequest"), ("/v2/credentials/", {}, 400, "NoIdInRequest"),
        (ECS_PATH, {"authorization": "token"}, 403, "AccessDenied"),
    ):  # fmt: skip
        got, _, body = ask(cloud, "container", "GET", path, headers)
        told = json.loads(body)
        assert (got, told["code"], told["HTTPErrorCode"]) == (status, code, status) and told["message"]
    assert ask(cloud, "container", "GET", "/v3/else")[0] == 404
    assert ask(cloud, "container", "POST", ECS_PATH)[0] == 400
    assert ask(cloud, "container", "GET", ECS_PATH, {"x-forwarded-for": "10.0.0.1"})[0] == 400
    cloud.config(container={"path": "/own", "authorization": "a token"})
    assert ask(cloud, "container", "GET", "/own", {"authorization": "a token"})[0] == 200
    assert ask(cloud, "container", "GET", "/own")[0] == 403


# STS


def test_an_assumed_role_calls_bedrock_with_its_tags(cloud: StandIn) -> None:
    answer = sts_client(cloud).assume_role(
        RoleArn=EXTERNAL, RoleSessionName="blue@bank", ExternalId=StsSettings().external_ids[EXTERNAL], DurationSeconds=900,
        Tags=[{"Key": "team", "Value": "Größe 1"}, {"Key": "cost", "Value": ""}], TransitiveTagKeys=["Team"],
    )  # fmt: skip
    user, credentials = answer["AssumedRoleUser"], answer["Credentials"]
    assert user["Arn"] == f"arn:aws:sts::{keys.ACCOUNT}:assumed-role/external/blue@bank"
    assert user["AssumedRoleId"].startswith("AROA") and user["AssumedRoleId"].endswith(":blue@bank")
    assert 890 < credentials["Expiration"].timestamp() - time.time() <= 900
    assert answer["PackedPolicySize"] == 2
    caller = converse(cloud, key_of(credentials))
    assert caller["source"] == "sts" and caller["session_name"] == "blue@bank" and caller["arn"] == user["Arn"]
    assert caller["tags"] == {"team": "Größe 1", "cost": ""} and caller["transitive"] == ["team"]
    (record,) = cloud.requests("sts")
    assert record["parameters"]["ExternalId"] == "stand-in-external-id" and record["caller"]["arn"].endswith("user/one")
    assert cloud.counters()["sts.assume_role_calls"] == 1 and cloud.refusals() == []


def test_a_role_assumes_a_role_and_hands_its_transitive_tags_down(cloud: StandIn) -> None:
    first = sts_client(cloud, own(1)).assume_role(
        RoleArn=ROLE, RoleSessionName="first", DurationSeconds=43200, TransitiveTagKeys=["team"],
        Tags=[{"Key": "team", "Value": "blue"}, {"Key": "cost", "Value": "1"}],
    )  # fmt: skip
    chained = sts_client(cloud, key_of(first["Credentials"]))
    asked = {"RoleArn": ROLE, "RoleSessionName": "second"}
    second = chained.assume_role(**asked, Tags=[{"Key": "more", "Value": "2"}])
    caller = converse(cloud, key_of(second["Credentials"]))
    assert caller["tags"] == {"team": "blue", "more": "2"} and caller["session_name"] == "second"
    assert cloud.refusals() == []
    assert "role chaining" in fails(lambda: chained.assume_role(**asked, DurationSeconds=3601))[2]
    again = fails(lambda: chained.assume_role(**asked, Tags=[{"Key": "Team", "Value": "red"}]))
    assert again[:2] == (400, "InvalidParameterValue") and "conflicts" in again[2]


def test_a_web_identity_becomes_a_role(cloud: StandIn) -> None:
    answer = sts_client(cloud).assume_role_with_web_identity(
        RoleArn=ROLE, RoleSessionName="irsa", WebIdentityToken=STS_TOKEN, DurationSeconds=3600
    )
    assert answer["SubjectFromWebIdentityToken"] == "system:serviceaccount:llm:fairlead"
    assert answer["Audience"] == "sts.amazonaws.com"
    caller = converse(cloud, key_of(answer["Credentials"]))
    # The path of a role does not show in its sessions.
    assert caller["arn"] == f"arn:aws:sts::{keys.ACCOUNT}:assumed-role/blue/irsa" and caller["tags"] == {}
    assert cloud.requests("sts")[-1]["caller"] is None
    assert cloud.counters()["sts.assume_role_with_web_identity_calls"] == 1 and cloud.refusals() == []


def test_a_web_identity_is_believed_only_while_it_is_good(cloud: StandIn) -> None:
    old, other = projected(STS_AUDIENCE, time.time() - 1), projected(POD_AUDIENCE, time.time() + 60)
    cloud.config(sts={"tokens": [old, other]})
    for token, code, about in (
        ("no JWT", "InvalidIdentityToken", "not a valid JWT"), (STS_TOKEN, "InvalidIdentityToken", "verification key"),
        (old, "ExpiredTokenException", "must be before the expiration date/time"),
        (other, "InvalidIdentityToken", "Incorrect token audience"),
    ):  # fmt: skip
        told = fails(lambda: sts_client(cloud).assume_role_with_web_identity(
            RoleArn=ROLE, RoleSessionName="irsa", WebIdentityToken=token
        ))  # fmt: skip
        assert told[:2] == (400, code) and about in told[2]


def test_the_caller_is_told_who_it_is(cloud: StandIn) -> None:
    told = sts_client(cloud).get_caller_identity()
    assert (told["Arn"], told["Account"]) == (f"arn:aws:iam::{keys.ACCOUNT}:user/one", keys.ACCOUNT)
    session = sts_client(cloud).assume_role(RoleArn=ROLE, RoleSessionName="blue")
    told = sts_client(cloud, key_of(session["Credentials"])).get_caller_identity()
    assert told["Arn"] == session["AssumedRoleUser"]["Arn"] and told["UserId"] == session["AssumedRoleUser"]["AssumedRoleId"]
    assert cloud.counters()["sts.get_caller_identity_calls"] == 2


def test_googles_form_of_the_question_who_the_caller_is(cloud: StandIn) -> None:
    host = "sts.us-east-1.amazonaws.com"
    found = google.auth.aws.AwsSecurityCredentials(own(1).access_key_id, own(1).secret_access_key, own(1).session_token)
    target = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/aws"
    signed = google.auth.aws.RequestSigner("us-east-1").get_request_options(
        found, f"https://{host}?Action=GetCallerIdentity&Version=2011-06-15", "POST", additional_headers={sts.TARGET: target}
    )
    path = "/?Action=GetCallerIdentity&Version=2011-06-15"
    headers = {name: value for name, value in signed["headers"].items() if name.lower() != "host"}
    status, _, body = ask(cloud, "sts", "POST", path, headers, host=host)
    assert status == 200 and b"user/two</Arn>" in body, body
    headers[sts.TARGET] = target + "2"
    assert ask(cloud, "sts", "POST", path, headers, host=host)[0] == 403
    assert ask(cloud, "sts", "POST", "/?" + urlencode(ASSUME), headers, host=host)[0] == 404


def signed(
    parameters: dict[str, str], host: str = "127.0.0.1", region: str = "us-east-1", service: str = "sts",
    key: keys.Key = own(), tamper: Callable[[dict[str, str]], Any] = lambda _: None,
) -> tuple[dict[str, str], bytes]:  # fmt: skip
    """Headers and body of a request to STS, signed by botocore; `tamper` may change the headers afterwards."""
    body = urlencode(parameters).encode()
    request = AWSRequest("POST", f"http://{host}/", data=body, headers={
        "Content-Type": "application/x-www-form-urlencoded", "Host": host,
    })  # fmt: skip
    signer = SigV4Auth(Credentials(key.access_key_id, key.secret_access_key, key.session_token), service, region)
    signer.add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    tamper(headers)
    return headers, body


def call_sts(cloud: StandIn, *arguments: Any, **more: Any) -> Reply:
    headers, body = signed(*arguments, **more)
    return ask(cloud, "sts", "POST", "/", headers, body)


def unsigned(cloud: StandIn, parameters: dict[str, str]) -> Reply:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return ask(cloud, "sts", "POST", "/", headers, urlencode(parameters).encode())


def error_of(reply: Reply) -> tuple[int, str, str]:
    """Status, code and message of an error of STS, whose form is the real one's to the last space."""
    status, headers, body = reply
    lines = body.decode().split("\n")
    assert lines[:3] == [f'<ErrorResponse xmlns="{sts.NAMESPACE}">', "  <Error>", "    <Type>Sender</Type>"]
    assert lines[-3:] == [f"  <RequestId>{headers['x-amzn-requestid']}</RequestId>", "</ErrorResponse>", ""]
    assert headers["content-type"] == "text/xml" and "date" in headers
    error = xml.fromstring(body)[0]
    return status, error[1].text or "", error[2].text or ""


def test_the_answer_of_sts_has_the_real_ones_form(cloud: StandIn) -> None:
    status, headers, body = call_sts(cloud, ASSUME)
    key = cloud.keys()[-1]
    assert (status, headers["content-type"]) == (200, "text/xml")
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(key["expires"]))
    assert body.decode() == f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::{keys.ACCOUNT}:assumed-role/blue/fairlead</Arn>
      <AssumedRoleId>{key['caller']['user_id']}</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <AccessKeyId>{key['access_key_id']}</AccessKeyId>
      <SecretAccessKey>{key['secret_access_key']}</SecretAccessKey>
      <SessionToken>{key['session_token']}</SessionToken>
      <Expiration>{expires}</Expiration>
    </Credentials>
  </AssumeRoleResult>
  <ResponseMetadata>
    <RequestId>{headers['x-amzn-requestid']}</RequestId>
  </ResponseMetadata>
</AssumeRoleResponse>
"""


PARAMETER_REFUSALS: dict[str, tuple[dict[str, str], str, str]] = {
    "too short a time": ({"DurationSeconds": "899"}, "ValidationError", "Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"),
    "too long a time": ({"DurationSeconds": "43201"}, "ValidationError", "less than or equal to 43200"),
    "a time in words": ({"DurationSeconds": "1h"}, "ValidationError", "whole number"),
    "a blank in the session name": ({"RoleSessionName": "a b"}, "ValidationError", "1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*"),
    "a session name of one letter": ({"RoleSessionName": "a"}, "ValidationError", "length greater than or equal to 2"),
    "a session name of 65 letters": ({"RoleSessionName": "a" * 65}, "ValidationError", "length less than or equal to 64"),
    "letters of another alphabet": ({"RoleSessionName": "größe"}, "ValidationError", "pattern"),
    "two faults": ({"RoleSessionName": "!"}, "ValidationError", "2 validation errors detected: "),
    "no role": ({"RoleArn": ""}, "ValidationError", "'roleArn'"),
    "a user": ({"RoleArn": f"arn:aws:iam::{keys.ACCOUNT}:user/one"}, "ValidationError", "Request ARN is invalid"),
    "an unknown parameter": ({"Name": "x"}, "ValidationError", "unknown parameter Name"),
    "a parameter of the other call": ({"WebIdentityToken": "token"}, "ValidationError", "unknown parameter WebIdentityToken"),
    "an external id of one letter": ({"ExternalId": "x"}, "ValidationError", "externalId"),
    "a tag without a value": ({"Tags.member.1.Key": "team"}, "ValidationError", "Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null"),
    "a tag with odd signs": ({"Tags.member.1.Key": "team", "Tags.member.1.Value": "a#b"}, "ValidationError", "tags.1.member.value"),
    "tags that begin at two": ({"Tags.member.2.Key": "team", "Tags.member.2.Value": "a"}, "ValidationError", "Tags is no list"),
    "tags without members": ({"Tags.1.Key": "team", "Tags.1.Value": "a"}, "ValidationError", "Tags is no list"),
    "a tag twice": ({"Tags.member.1.Key": "team", "Tags.member.1.Value": "a", "Tags.member.2.Key": "Team", "Tags.member.2.Value": "b"}, "InvalidParameterValue", "Duplicate tag keys found"),
    "a transitive tag that is none": ({"TransitiveTagKeys.member.1": "team"}, "InvalidParameterValue", "must be included"),
    "another version": ({"Version": "2011-06-16"}, "InvalidAction", "Could not find operation AssumeRole for version 2011-06-16"),
    "another action": ({"Action": "GetSessionToken"}, "InvalidAction", "Could not find operation GetSessionToken"),
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETER_REFUSALS)
def test_sts_refuses_a_parameter(cloud: StandIn, name: str) -> None:
    change, code, about = PARAMETER_REFUSALS[name]
    told = error_of(call_sts(cloud, ASSUME | change))
    assert told[:2] == (400, code) and about in told[2]
    assert len(cloud.refusals()) == 1 and cloud.counters()["sts.refused"] == 1


def test_sts_refuses_what_is_no_proper_form(cloud: StandIn) -> None:
    headers, _ = signed(WHO)
    for body in (b"Action", b"\xff=1", urlencode(WHO).encode() + b"&Version=2011-06-15"):
        assert error_of(ask(cloud, "sts", "POST", "/", headers, body))[:2] == (404, "MalformedQueryString")
    for method, path, change in (
        ("POST", "/sts", {}), ("PUT", "/", {}), ("POST", "/", {"content-type": "application/json"}),
        ("POST", "/", {"x-forwarded-for": "10.0.0.1"}), ("POST", "/", {sts.TARGET: "//iam"}),
    ):  # fmt: skip
        reply = ask(cloud, "sts", method, path, headers | change, urlencode(WHO).encode())
        assert error_of(reply)[0] == 400, (method, path, change)


SIGNATURE_REFUSALS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "none": ({"tamper": lambda h: h.pop("authorization")}, 403, "MissingAuthenticationToken", "Request is missing Authentication Token"),
    "a Bedrock API key": ({"tamper": lambda h: h.update(authorization="Bearer stand-in-bedrock-api-key")}, 400, "IncompleteSignature", ""),
    "nobody's key": ({"key": keys.Key("AKIANOBODY", "secret")}, 403, "InvalidClientTokenId", "The security token included in the request is invalid"),
    "another secret": ({"key": keys.Key(own().access_key_id, "secret")}, 403, "SignatureDoesNotMatch", "The request signature we calculated does not match"),
    "another session token": ({"key": keys.Key(own(1).access_key_id, own(1).secret_access_key, "x")}, 403, "InvalidClientTokenId", "invalid"),
    "for Bedrock": ({"service": "bedrock"}, 403, "SignatureDoesNotMatch", "correct service: 'sts'"),
    "for another region": ({"region": "mars-1"}, 403, "SignatureDoesNotMatch", "valid region"),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNATURE_REFUSALS)
def test_sts_refuses_a_signature(cloud: StandIn, name: str) -> None:
    change, status, code, about = SIGNATURE_REFUSALS[name]
    told = error_of(call_sts(cloud, ASSUME, **change))
    assert told[:2] == (status, code) and about in told[2]
    assert "sts.assume_role_calls" not in cloud.counters()


def test_a_role_may_demand_an_external_id_or_not_be_given_at_all(cloud: StandIn) -> None:
    denied = f"User: arn:aws:iam::{keys.ACCOUNT}:user/one is not authorized to perform: sts:AssumeRole on resource: {EXTERNAL}"
    for change in ({}, {"ExternalId": "another"}):
        assert error_of(call_sts(cloud, ASSUME | {"RoleArn": EXTERNAL} | change)) == (403, "AccessDenied", denied)
    cloud.config(sts={"roles": [EXTERNAL], "external_ids": {}})
    assert call_sts(cloud, ASSUME | {"RoleArn": EXTERNAL})[0] == 200
    assert error_of(call_sts(cloud, ASSUME))[:2] == (403, "AccessDenied")
    told = error_of(unsigned(cloud, WEB))
    assert told == (403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")


def test_a_web_identity_comes_without_a_signature(cloud: StandIn) -> None:
    assert unsigned(cloud, WEB)[0] == 200
    assert error_of(call_sts(cloud, WEB))[:2] == (400, "ValidationError")
    told = error_of(unsigned(cloud, {name: value for name, value in WEB.items() if name != "WebIdentityToken"}))
    assert told[2].endswith("Value null at 'webIdentityToken' failed to satisfy constraint: Member must not be null")
    # Longer than the model allows, and not repeated in the answer.
    told = error_of(unsigned(cloud, WEB | {"WebIdentityToken": "x" * 20001}))
    assert "'webIdentityToken'" in told[2] and "xxx" not in told[2]


def test_a_host_of_sts_wants_signatures_and_roles_of_its_own_region(cloud: StandIn) -> None:
    cloud.config(regions=["us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1"])
    for host, region, partition, wanted in (
        ("sts.eu-central-1.amazonaws.com", "eu-central-1", "aws", 200),
        ("sts-fips.us-east-1.amazonaws.com", "us-east-1", "aws", 200),
        ("sts.amazonaws.com", "us-east-1", "aws", 200),
        ("sts.us-gov-west-1.amazonaws.com", "us-gov-west-1", "aws-us-gov", 200),
        ("sts.cn-north-1.amazonaws.com.cn", "cn-north-1", "aws-cn", 200),
        ("sts.cn-north-1.amazonaws.com.cn", "cn-north-1", "aws", 400),
        ("sts.eu-central-1.amazonaws.com", "us-east-1", "aws", 403),
        ("sts.amazonaws.com", "eu-central-1", "aws", 403),
        ("sts.cn-north-1.amazonaws.com", "cn-north-1", "aws-cn", 400),
        ("sts.googleapis.com", "us-east-1", "aws", 400),
    ):  # fmt: skip
        role = {"RoleArn": ROLE.replace("arn:aws:", f"arn:{partition}:")}
        status, _, body = call_sts(cloud, ASSUME | role, host=host, region=region)
        assert status == wanted, (host, body)
        assert status != 200 or f"<Arn>arn:{partition}:sts::".encode() in body


# Keys, clocks and troubles


def test_keys_expire_for_bedrock_and_for_sts(cloud: StandIn) -> None:
    cloud.config(sts={"lifetime_s": 3})
    key = key_of(sts_client(cloud).assume_role(RoleArn=ROLE, RoleSessionName="short")["Credentials"])
    ends = cloud.keys()[-1]["expires"]
    converse(cloud, key)
    time.sleep(max(0, ends - time.time()) + 0.05)
    expired = "The security token included in the request is expired"
    assert fails(lambda: converse(cloud, key)) == (403, "ExpiredTokenException", expired)
    assert fails(lambda: sts_client(cloud, key).get_caller_identity()) == (403, "ExpiredToken", expired)
    wrong = keys.Key(key.access_key_id, key.secret_access_key, "another")
    assert fails(lambda: converse(cloud, wrong))[1] == "UnrecognizedClientException"
    assert cloud.keys()[-1]["valid"] is False


def test_keys_can_be_revoked_one_by_one_or_all_at_once(cloud: StandIn) -> None:
    found = [fetch(cloud, ECS_PATH) for _ in range(3)]
    each = [keys.Key(one["AccessKeyId"], one["SecretAccessKey"], one["Token"]) for one in found]
    assert cloud.control("POST", "/keys/revoke", {"access_key_id": each[0].access_key_id}) == {"revoked": 1}
    assert fails(lambda: converse(cloud, each[0]))[1] == "ExpiredTokenException"
    converse(cloud, each[1])
    assert cloud.control("POST", "/keys/revoke")["revoked"] >= 2
    assert fails(lambda: converse(cloud, each[2]))[1] == "ExpiredTokenException"
    # What accounts have of their own cannot be revoked, and outlives a reset like the rest.
    converse(cloud, own())


def test_keys_outlive_a_reset(cloud: StandIn) -> None:
    found = fetch(cloud, ECS_PATH)
    cloud.reset()
    converse(cloud, keys.Key(found["AccessKeyId"], found["SecretAccessKey"], found["Token"]))


def test_the_same_keys_are_handed_out_until_they_are_rotated(cloud: StandIn) -> None:
    cloud.config(container={"rotate_s": 0.6})
    first = fetch(cloud, ECS_PATH)["AccessKeyId"]
    assert fetch(cloud, ECS_PATH)["AccessKeyId"] == first
    cloud.config(container={"role_arn": ROLE})
    second = fetch(cloud, ECS_PATH)["AccessKeyId"]
    assert second != first
    cloud.control("POST", "/keys/revoke", {"access_key_id": second})
    third = fetch(cloud, ECS_PATH)["AccessKeyId"]
    assert third != second
    time.sleep(0.65)
    assert fetch(cloud, ECS_PATH)["AccessKeyId"] != third


@pytest.mark.parametrize("offset", [600, -600])
def test_a_clock_that_is_off_is_told_by_aws(cloud: StandIn, offset: int) -> None:
    cloud.config(aws={"clock_offset_s": offset})
    words = "Signature expired: {} is now earlier than {} ({} - 5 min.)" if offset > 0 else \
            "Signature not yet current: {} is still later than {} ({} + 5 min.)"  # fmt: skip
    status, headers, body = call_sts(cloud, WHO)
    code, message = error_of((status, headers, body))[1:]
    assert (status, code) == (403, "SignatureDoesNotMatch")
    stamps = [word.strip("()") for word in message.split() if word.strip("()").startswith("20")]
    assert message == words.format(*stamps)
    theirs = email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    assert abs(theirs - time.time() - offset) < 5
    sent, limit, now = (calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) for stamp in stamps)
    assert abs(theirs - now) <= 1 and limit == now - (300 if offset > 0 else -300) and abs(sent - time.time()) < 5
    told = fails(lambda: converse(cloud, own()))
    assert told[:2] == (403, "InvalidSignatureException") and told[2].startswith(words[:17])


def test_a_clock_within_five_minutes_is_good_enough(cloud: StandIn) -> None:
    for offset in (290, -290):
        cloud.config(aws={"clock_offset_s": offset})
        converse(cloud, own())
        assert call_sts(cloud, WHO)[0] == 200


def test_keys_expire_by_the_clock_of_aws(cloud: StandIn) -> None:
    cloud.config(aws={"clock_offset_s": 100})
    held = session(cloud)
    path = f"{imds.ROLES_PATH}/fairlead-instance"
    _, headers, body = ask(cloud, "imds", "GET", path, held)
    assert 3690 < moment(json.loads(body)["Expiration"]) - time.time() <= 3700
    assert abs(email.utils.parsedate_to_datetime(headers["date"]).timestamp() - time.time() - 100) < 5


def test_every_call_can_fail_alone(cloud: StandIn) -> None:
    cloud.config(imds={"status": 503, "body": "later", "content_type": "text/html", "only": "key"})
    held = session(cloud)
    assert ask(cloud, "imds", "GET", imds.ROLES_PATH + "/", held)[0] == 200
    status, headers, body = ask(cloud, "imds", "GET", f"{imds.ROLES_PATH}/fairlead-instance", held)
    assert (status, headers["content-type"], body) == (503, "text/html", b"later")
    cloud.config(sts={"body": "<garbage", "only": "assume_role"}, container={"status": 500, "delay_s": 0.2})
    status, headers, body = call_sts(cloud, ASSUME)
    assert (status, headers["content-type"], body) == (200, "text/xml", b"<garbage")
    assert call_sts(cloud, WHO)[2] != b"<garbage"
    began = time.monotonic()
    assert ask(cloud, "container", "GET", ECS_PATH)[::2] == (500, b"") and time.monotonic() - began >= 0.2
    counters = cloud.counters()
    assert [counters[f"{call}_calls"] for call in ("imds.key", "sts.assume_role", "container.ecs")] == [1, 1, 1]
    assert cloud.refusals() == []


def test_a_setting_that_does_not_exist_is_a_loud_mistake(cloud: StandIn) -> None:
    for change in ({"imds": {"roll": "x"}}, {"sts": {"delay": 1}}, {"awz": {}}):
        with pytest.raises(RuntimeError, match="unknown"):
            cloud.config(**change)


# Bedrock API keys


def test_boto3_calls_bedrock_with_an_api_key(cloud: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask_bedrock(token: str) -> dict[str, Any]:
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", token)
        bedrock = boto3.client("bedrock-runtime", region_name="us-east-1")
        # botocore sends such a key over TLS only, so what it would send is turned to the stand-in at the last moment.
        bedrock.meta.events.register("before-send.bedrock-runtime", to_stand_in)
        bedrock.converse(modelId=MODEL, messages=HELLO)
        return cloud.requests("bedrock")[-1]["caller"]

    def to_stand_in(request: Any, **_: Any) -> None:
        request.url = request.url.replace(
            "https://bedrock-runtime.us-east-1.amazonaws.com", f"http://127.0.0.1:{cloud.ports['bedrock']}"
        )

    cloud.config(bearer_tokens=["ABSKstandin=="], allow_headers=SDK_HEADERS)
    assert ask_bedrock("ABSKstandin==")["source"] == "bearer"
    told = fails(lambda: ask_bedrock("bedrock-api-key-another"))
    assert told == (403, "AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.")
