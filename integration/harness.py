"""What the integration tests share: clients, what went to the clouds, and a look into Envoy's log after each test."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import openai

from . import gateway
from .cloud import accounts, web_tokens
from .cloud.aws_settings import StsSettings
from .cloud.driver import StandIn
from .cloud.openai import KEY as OPENAI_KEY
from .cloud.sigv4 import BEARER

CHAT = "/v1/chat/completions"

BEDROCK = "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0"
VERTEX = "vertex_ai/gemini-2.5-flash"

#: A model on each cloud, by the cloud's name at the stand-in.
MODELS = {"bedrock": BEDROCK, "vertex": VERTEX}
BACKENDS = {"bedrock": "bedrock-us-east-1", "vertex": "vertex-us-central1"}

#: Strings that are in every request and reply of these tests, and must never be in a log or on the wrong side.
PROMPT = "prompt-canary-4e1f"
ANSWER = "answer-canary-77b2"
CLIENT_KEY = "sk-client-canary-a90c"

SESSION_ACCESS_KEY_ID = "ASIDSTANDIN000000002"
SESSION_SECRET = "stand-in-secret-two/not+a+real=key"
SESSION_TOKEN = "stand-in-session-token/+=two"

#: How what clouds hand out begins: Google's access tokens, AWS's session tokens, sessions of its metadata service. What
#: has no such beginning the stand-in tells, `StandIn.issued`.
BEGINNINGS = ("ya29.", "IQoJb3JpZ2luX2Vj", "AQAEA")

SECRETS = (
    PROMPT, ANSWER, CLIENT_KEY, gateway.AWS_SECRET_ACCESS_KEY, SESSION_SECRET, SESSION_TOKEN, OPENAI_KEY, BEARER,
    accounts.CLIENT_SECRET, accounts.REFRESH_TOKEN, accounts.SUBJECT_TOKEN, web_tokens.STS_TOKEN, web_tokens.POD_TOKEN,
    *StsSettings().external_ids.values(), *BEGINNINGS,
)  # fmt: skip

#: What a fault of the plugin or of its use of the host looks like in Envoy's log.
FAULTS = re.compile(
    r"panick|Uncaught|unreachable executed|wasm trap|RuntimeError|\[critical\]|assert failure|Segmentation"
    r"|Function: proxy_\w+ failed|envoy bug|VM .*(fail|crash)",
    re.IGNORECASE,
)
WASM_ERROR = re.compile(r"\[error\]\[wasm\]")

#: What a secret that was handed out is, or is a part of.
LONG_WORD = re.compile(r"[A-Za-z0-9+/=_.~%-]{16,}")

#: Longest wait for anything; far above what a loaded machine of two cores needs.
PATIENCE = 15.0


def say(script: str = "", text: str = "") -> list[dict[str, Any]]:
    """A conversation of one message that asks the stand-in for a script, such as `say("text size=100")`."""
    marker = f" [[script:{script}]]" if script else ""
    return [{"role": "user", "content": f"{PROMPT} {text}{marker}"}]


def until(what: str, ready: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Polls until something is true, and gives it back; fails after a bounded time."""
    end = time.monotonic() + seconds
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)


@dataclass
class Answer:
    """One HTTP reply as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error in it; fails unless the reply is exactly of OpenAI's shape."""
        return error_of(self.status, self.headers, self.body)


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Takes an error reply apart; fails unless it is exactly of OpenAI's shape."""
    assert 400 <= status < 600, (status, body[:500])
    assert headers.get("content-type") == "application/json", (dict(headers), body[:500])
    whole = json.loads(body)
    assert list(whole) == ["error"], whole
    error = whole["error"]
    assert set(error) == {"message", "type", "param", "code"}, whole
    assert isinstance(error["message"], str) and error["message"], whole
    assert isinstance(error["type"], str) and error["type"], whole
    assert error["param"] is None or isinstance(error["param"], str), whole
    assert error["code"] is None or isinstance(error["code"], str), whole
    assert not any(secret in body.decode() for secret in SECRETS if secret != PROMPT), whole
    return error


def unavailable(answer: Answer) -> None:
    """Checks the one clean 503 for missing credentials."""
    error = answer.error
    assert (answer.status, error["code"], error["type"]) == (503, "credentials_unavailable", "server_error")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


@dataclass
class Gate:
    """A running Envoy with the plugin, the clouds behind it, and the clients before it."""

    envoy: gateway.Envoy
    cloud: StandIn
    #: Faults that the present test causes on purpose, as patterns of log lines.
    expected_errors: list[str] = field(default_factory=list)
    #: Requests that the stand-in is expected to refuse in the present test.
    refusals_expected: bool = False
    #: Secrets that a test has made up.
    more_secrets: list[str] = field(default_factory=list)
    _log_read: int = 0
    #: Heads and bodies of the replies of the present test.
    _told: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = openai.OpenAI(
            base_url=f"{self.envoy.url}/v1", api_key=CLIENT_KEY, max_retries=0, timeout=PATIENCE
        )

    @property
    def completions(self) -> Any:
        return self.client.chat.completions

    # What reached the clouds

    def requests(self, cloud: str) -> list[dict[str, Any]]:
        """What one cloud has received in this test, oldest first."""
        return self.cloud.requests(cloud, limit=600)

    def sent(self, cloud: str) -> dict[str, Any]:
        """The one request that a cloud has received in this test."""
        (request,) = self.requests(cloud)
        return request

    def body(self, cloud: str) -> dict[str, Any]:
        """The body of the one request that a cloud has received in this test."""
        return self.sent(cloud)["body"]

    def counters(self) -> dict[str, int]:
        return self.cloud.counters()

    def nothing_was_sent(self) -> None:
        """Fails when a cloud has heard of this test."""
        for cloud in MODELS:
            assert self.requests(cloud) == [], cloud

    def force(self, script: str, cloud: str | None = None, times: int = 1) -> None:
        """Orders a script for the next requests, whatever their text says."""
        self.cloud.script(script, cloud, times)

    def stats(self, name: str) -> int:
        """One of Envoy's counters or gauges; 0 when it does not exist yet."""
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.admin("GET", f"/stats?filter=^{name}$"), re.MULTILINE)
        return int(found[1]) if found else 0

    def admin(self, method: str, path: str) -> str:
        """Calls Envoy's admin port."""
        connection = http.client.HTTPConnection(self.envoy.admin.removeprefix("http://"), timeout=PATIENCE)
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    # Clients for what no SDK would send

    def post(self, body: Any, headers: Mapping[str, str] | None = None, path: str = CHAT) -> Answer:
        """Posts bytes, or a value as JSON."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        return self.call("POST", path, data, {"content-type": "application/json", **(headers or {})})

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Makes any call; an iterable body is sent chunked."""
        with self.open(method, path, body, headers) as response:
            answer = Answer(response.status, headers_of(response), response.read())
        self._told += [json.dumps(answer.headers).encode(), answer.body]
        return answer

    @contextmanager
    def open(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Makes a call and gives the reply to read as it comes; leaving closes the connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.envoy.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers or {}), encode_chunked=True)
            yield connection.getresponse()
        finally:
            connection.close()

    def socket(self) -> socket.socket:
        """A connection of one's own."""
        return socket.create_connection(("127.0.0.1", self.envoy.port), timeout=PATIENCE)

    # At the end

    def keeps_secrets(self) -> None:
        """No secret is on a page of Envoy's admin port that does not stand in the configuration as it was written."""
        written = (self.envoy.folder / "envoy.json").read_text()
        issued = [*self.more_secrets, *self.cloud.issued()]
        not_written = set(issued) - set(leaks(written, issued))
        known = [secret for secret in SECRETS if secret not in written]
        for page in ("/stats", "/config_dump?include_eds", "/clusters", "/listeners", "/server_info", "/certs"):
            text = self.admin("GET", page)
            assert not any(secret in text for secret in known), f"a secret is at {page}"
            assert leaks(text, not_written) == [], f"is at {page}"

    def has_kept_secrets(self) -> None:
        """Nor is one anywhere in the log, which Envoy has written to its end when it ended."""
        text = self.envoy.log.read_text(errors="replace")
        assert not any(secret in text for secret in SECRETS), "a secret is in Envoy's log"
        assert leaks(text, [*self.more_secrets, *self.cloud.issued()]) == [], "is in Envoy's log"

    # After each test

    def fresh(self) -> None:
        """Forgets what was before."""
        self.cloud.reset()
        self.expected_errors = []
        self.refusals_expected = False
        self._told.clear()
        self._log_read = self.envoy.log.stat().st_size

    def log(self) -> str:
        """What Envoy has logged since `fresh`."""
        with self.envoy.log.open("rb") as log:
            log.seek(self._log_read)
            return log.read().decode(errors="replace")

    def verify(self) -> None:
        """What holds after every test: no unexpected refusal, no fault, and no secret in the log."""
        assert self.envoy.process is not None and self.envoy.process.poll() is None, "Envoy has died"
        log = self.log()
        for line in log.splitlines():
            assert not FAULTS.search(line), f"a fault in Envoy's log: {line}"
            if WASM_ERROR.search(line):
                assert any(re.search(one, line) for one in self.expected_errors), f"an error in Envoy's log: {line}"
        for secret in SECRETS:
            assert secret not in log, f"{secret} is in Envoy's log"
        issued = [*self.more_secrets, *self.cloud.issued()]
        assert leaks(log, issued) == [], "is in Envoy's log"
        assert leaks(b"\n".join(self._told).decode(errors="replace"), issued) == [], "is in a reply"
        refusals = self.cloud.refusals()
        assert self.refusals_expected or not refusals, refusals


def leaks(text: str, secrets: Iterable[str]) -> list[str]:
    """Those of many secrets that a long text shows, as they are or percent-encoded."""
    # Each long word once: what a log repeats need not be searched for each secret again.
    words = "\n".join(set(LONG_WORD.findall(text)))
    return [secret for secret in secrets if secret in words or quote(secret, safe="") in words]


def headers_of(response: http.client.HTTPResponse) -> dict[str, str]:
    """Headers by lower-case name; one that comes twice is a fault."""
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        assert name.lower() not in headers, f"{name} came twice"
        headers[name.lower()] = value
    return headers


def events(text: str) -> list[Any]:
    """The JSON of each event of a stream, and `[DONE]`; fails on anything that is not `data: …\\n\\n`."""
    assert text.endswith("\n\n"), text[-200:]
    found: list[Any] = []
    for block in text[:-2].split("\n\n"):
        assert block.startswith("data: ") and "\n" not in block, block
        data = block.removeprefix("data: ")
        found.append(data if data == "[DONE]" else json.loads(data))
    return found
