"""Starts the stand-in cloud and speaks to its control port."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import Any

from .gateway import ROOT, RUNS, stop


class Cloud:
    """A running stand-in for Bedrock, Vertex AI and Google's metadata server."""

    def __init__(self) -> None:
        RUNS.mkdir(parents=True, exist_ok=True)
        with (RUNS / "cloud.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "integration.cloud"],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if "{" not in line:
            self.stop()
            raise RuntimeError(f"the stand-in cloud did not start; see {RUNS / 'cloud.log'}")
        self.ports: dict[str, int] = json.loads(line[line.index("{"):])

    @property
    def clusters(self) -> dict[str, int]:
        """The port of each cluster of envoy/gateway.yaml."""
        return {
            "bedrock_us_east_1": self.ports["bedrock"],
            "vertex_us_central1": self.ports["vertex"],
            "gcp_metadata": self.ports["metadata"],
        }

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Calls the control port: /control/`path`."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['control']}/control/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> None:
        stop(self.process)

    def __enter__(self) -> "Cloud":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
