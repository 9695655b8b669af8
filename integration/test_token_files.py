"""The listener of envoy/credentials/token-files.yaml: tokens as they are now, to Envoy itself and to nobody else."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from . import gateway
from .cloud.driver import StandIn
from .harness import PATIENCE, Answer, headers_of, until
from .platform import FEDERATION_TOKEN, IRSA_TOKEN, POD_IDENTITY_TOKEN, Platform, platform

TOKENS = (IRSA_TOKEN, POD_IDENTITY_TOKEN, FEDERATION_TOKEN)

SOCKET = "/run/fairlead/token-files.sock"

#: In every token of these tests; nowhere else may it be found.
CANARY = "token-canary-5d20"

#: The largest file that is served, as token-files.yaml has it.
MOST = 65536


class Local(http.client.HTTPConnection):
    """A connection to a socket that has a path."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def get(on: Platform, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
    """Asks the listener for a path as it is, with nothing made tidy."""
    with Local(on.file(SOCKET)) as connection:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return Answer(response.status, headers_of(response), response.read())


def served(on: Platform, path: str) -> tuple[int, str]:
    """What is served for a file of the platform."""
    answer = get(on, str(on.file(path)))
    return answer.status, answer.body.decode()


@pytest.fixture(scope="module")
def files(version: str, cloud: StandIn) -> Iterator[Platform]:
    """A gateway with the listener alone."""
    with platform("token-files", version, cloud, files={IRSA_TOKEN: f"{CANARY}.first"}) as on:
        on.gate.fresh()
        yield on
        on.gate.verify()
        assert CANARY not in on.gate.log()


def test_each_request_reads_the_file_as_it_is_now(files: Platform) -> None:
    for path in TOKENS:
        volume = files.projected(path)
        for number in range(50):
            volume.write(f"{CANARY}.{number}")
            assert served(files, path) == (200, f"{CANARY}.{number}"), "at once, and not a moment later"


def test_rotation_under_load_never_gives_anything_but_a_whole_token(files: Platform) -> None:
    volume = files.projected(IRSA_TOKEN)
    tokens = [f"{CANARY}.{number}.".ljust(2000, "x") for number in range(100)]
    volume.write(tokens[0])
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(served, files, IRSA_TOKEN) for _ in range(1000)]
        for token in tokens:
            volume.write(token)
        # A request that has opened the file reads that one to its end, also when it has been removed.
        assert {answer.result()[0] for answer in answers} == {200}
        assert {answer.result()[1] for answer in answers} <= set(tokens)
    assert served(files, IRSA_TOKEN) == (200, tokens[-1])


def test_it_does_not_matter_how_a_file_is_replaced(files: Platform) -> None:
    path = files.file(FEDERATION_TOKEN)
    files.projected(FEDERATION_TOKEN).write("first")
    path.write_text(f"{CANARY}.in-place")
    assert served(files, FEDERATION_TOKEN) == (200, f"{CANARY}.in-place")
    new = path.with_name("new")
    new.write_text(f"{CANARY}.renamed")
    new.rename(path)
    assert served(files, FEDERATION_TOKEN) == (200, f"{CANARY}.renamed")
    path.unlink()
    assert served(files, FEDERATION_TOKEN) == (404, "")
    path.write_text(f"{CANARY}.back")
    assert served(files, FEDERATION_TOKEN) == (200, f"{CANARY}.back")


def test_what_is_no_token_is_not_served(files: Platform) -> None:
    path = files.file(FEDERATION_TOKEN)
    path.unlink(missing_ok=True)
    for text, status in (("", 404), ("x" * MOST, 200), ("x" * (MOST + 1), 500), ("x" * 10_000_000, 500)):
        path.write_text(text)
        assert served(files, FEDERATION_TOKEN) == (status, text if status == 200 else "")
    path.unlink()
    path.mkdir()
    assert served(files, FEDERATION_TOKEN) == (404, "")
    path.rmdir()


#: What might lead to a file that is not listed, or to a listed one by another name.
ASTRAY: dict[str, Callable[[str], str]] = {
    "sibling": lambda path: str(Path(path).with_name("secret")),
    "folder": lambda path: str(Path(path).parent),
    "folder-with-slash": lambda path: f"{Path(path).parent}/",
    "slash-behind": lambda path: f"{path}/",
    "behind-the-link": lambda path: f"{Path(path).parent}/..data/token",
    "up-and-down": lambda path: f"{Path(path).parent}/../serviceaccount/token",
    "up-behind": lambda path: f"{path}/../../../../../../etc/hostname",
    "two-slashes": lambda path: f"/{path}",
    "dot": lambda path: f"{Path(path).parent}/./token",
    "encoded": lambda path: path.replace("token", "%74oken"),
    "encoded-slashes": lambda path: path.replace("/", "%2F"),
    "encoded-up": lambda path: f"{Path(path).parent}/..%2f..%2f..%2fetc/hostname",
    "query": lambda path: f"{path}?x=1",
    "fragment": lambda path: f"{path}#x",
    "upper-case": lambda path: path.upper(),
    "absolute": lambda path: f"http://localhost{path}?",
    "nothing": lambda _: "/",
    "elsewhere": lambda _: "/etc/hostname",
}


@pytest.mark.parametrize("name", list(ASTRAY))
def test_only_the_listed_paths_are_served(files: Platform, name: str) -> None:
    files.projected(IRSA_TOKEN).write(CANARY)
    path = files.file(IRSA_TOKEN)
    path.with_name("secret").write_text(CANARY)
    answer = get(files, ASTRAY[name](str(path)))
    assert answer.status in (400, 404) and answer.body in (b"", b"Bad Request"), answer


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"])
def test_only_get_is_answered(files: Platform, method: str) -> None:
    files.projected(IRSA_TOKEN).write(CANARY)
    answer = get(files, str(files.file(IRSA_TOKEN)), method, {"content-length": "0"})
    assert answer.status in (400, 405) and CANARY.encode() not in answer.body, answer
    assert get(files, "/elsewhere", method, {"content-length": "0"}).status in (400, 404)


def test_nobody_keeps_what_was_served(files: Platform) -> None:
    files.projected(IRSA_TOKEN).write(CANARY)
    answer = get(files, str(files.file(IRSA_TOKEN)), headers={"if-none-match": "*", "range": "bytes=1-"})
    assert (answer.status, answer.body) == (200, CANARY.encode())
    assert answer.headers["cache-control"] == "no-store"
    for page in ("/config_dump", "/stats", "/listeners", "/clusters"):
        assert CANARY not in files.gate.admin("GET", page)
    assert CANARY not in files.gate.envoy.log.read_text()


def test_nobody_but_envoys_own_user_gets_in(files: Platform) -> None:
    assert files.file(SOCKET).stat().st_mode & 0o777 == 0o600
    listeners = dict(line.split("::") for line in files.gate.admin("GET", "/listeners").splitlines())
    assert listeners == {"llm": f"127.0.0.1:{files.gate.envoy.port}", "token_files": str(files.file(SOCKET))}


def test_no_route_leads_from_a_client_to_the_files(files: Platform) -> None:
    files.projected(IRSA_TOKEN).write(CANARY)
    path = str(files.file(IRSA_TOKEN))
    for headers in ({}, {"x-fairlead-cluster": "token_files"}, {"x-fairlead-backend": "token_files"}):
        answer = files.gate.call("GET", path, headers=headers)
        assert answer.status == 404 and CANARY.encode() not in answer.body, answer


def test_clients_that_take_every_connection_do_not_keep_the_plugin_from_its_token(version: str, cloud: StandIn) -> None:
    def few(config: dict[str, Any]) -> None:
        (monitor,) = config["overload_manager"]["resource_monitors"]
        monitor["typed_config"]["max_active_downstream_connections"] = 2

    with platform("token-files", version, cloud, files={IRSA_TOKEN: CANARY}, edit=few) as on:
        gate = on.gate
        gate.fresh()
        clients = [gate.socket() for _ in range(4)]
        refused = f"listener.127.0.0.1_{gate.envoy.port}.downstream_global_cx_overflow"
        until("clients are turned away", lambda: gate.stats(refused))
        assert served(on, IRSA_TOKEN) == (200, CANARY)
        for client in clients:
            client.close()
        gate.verify()


def test_the_way_without_lua_sees_what_kubernetes_does(version: str, cloud: StandIn) -> None:
    """What token-files.yaml says of `direct_response`."""

    def without_lua(config: dict[str, Any]) -> None:
        (listener,) = (each for each in config["static_resources"]["listeners"] if each["name"] == "token_files")
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        script, router = manager["http_filters"]
        manager["http_filters"] = [router]
        source = script["typed_config"]["default_source_code"]["inline_string"]
        (path,) = re.findall(rf'"(.*{IRSA_TOKEN})"', source)
        body = {"filename": path, "watched_directory": {"path": str(Path(path).parent)}}
        one = {"match": {"path": path}, "direct_response": {"status": 200, "body": body}}
        manager["route_config"] |= {
            "max_direct_response_body_size_bytes": MOST,
            "virtual_hosts": [{"name": "token_files", "domains": ["*"], "routes": [one]}],
        }

    with platform("token-files", version, cloud, files={IRSA_TOKEN: "first"}, edit=without_lua) as on:
        volume = on.projected(IRSA_TOKEN)
        assert served(on, IRSA_TOKEN) == (200, "first")
        for number in range(20):
            volume.write(f"{number}")
            until("it is seen", lambda: served(on, IRSA_TOKEN) == (200, f"{number}"), seconds=2)
        on.file(IRSA_TOKEN).write_text("in place")
        time.sleep(0.5)
        assert served(on, IRSA_TOKEN) == (200, "19"), "it now sees what is written in place: tell it in token-files.yaml"
