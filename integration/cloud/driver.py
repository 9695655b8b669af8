"""Starts the stand-in as a process and talks to its control port; standard library only."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class StandIn:
    """A running stand-in cloud; a context manager that stops what it started."""

    def __init__(self, *flags: str, python: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            [python, "-m", "integration.cloud", *flags],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = self.process.stdout.readline()
        if not line.startswith("stand-in cloud ready "):
            self.stop()
            raise RuntimeError("the stand-in cloud did not start")
        self.ports: dict[str, int] = json.loads(line.removeprefix("stand-in cloud ready "))
        #: What only the file of a service account's key has.
        self._private_keys: list[str] = []

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control port: `path` is what follows `/control`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["control"], timeout=10)
        connection.request(method, "/control" + path, None if body is None else json.dumps(body))
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        connection.close()
        if reply.status != 200:
            raise RuntimeError(f"{method} {path}: {answer}")
        return answer

    def reset(self) -> None:
        self.control("POST", "/reset")

    def requests(self, cloud: str, limit: int = 50) -> list[dict[str, Any]]:
        """The last requests of one cloud, oldest first."""
        return self.control("GET", f"/requests?cloud={cloud}&limit={limit}")["requests"]

    def refusals(self) -> list[dict[str, Any]]:
        return self.control("GET", "/refusals")["refusals"]

    def counters(self) -> dict[str, int]:
        return self.control("GET", "/counters")

    def keys(self) -> list[dict[str, Any]]:
        """The AWS keys that were handed out, oldest first, secrets and all."""
        return self.control("GET", "/keys")["keys"]

    def issued(self) -> list[str]:
        """Every secret that was handed out, as it may be found anywhere: AWS's, Google's tokens, lines of private keys."""
        keys = [secret for key in self.keys() for secret in (key["secret_access_key"], key["session_token"])]
        tokens = [token["value"] for token in self.control("GET", "/tokens")["tokens"]]
        # The first and the last line are the same in every key.
        lines = [line for key in self._private_keys for line in key.splitlines()[2:-2]]
        return keys + tokens + lines

    def config(self, **changes: Any) -> dict[str, Any]:
        return self.control("PUT", "/config", changes)

    def script(self, script: str, cloud: str | None = None, times: int = 1) -> None:
        """Order a script for the next `times` requests, whatever their text says."""
        self.control("POST", "/script", {"cloud": cloud, "script": script, "times": times})

    def service_account(self, email: str | None = None) -> dict[str, Any]:
        """The file of a new key of a service account, as Google's console gives it."""
        key = self.control("POST", "/service_accounts", {"email": email} if email else {})
        self._private_keys.append(key["private_key"])
        return key
