"""Sends requests as fast as they are answered: by wrk, or by a small client of our own where there is none."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

#: Nothing here takes this many seconds; a request that does is a failure.
PATIENCE = 20

#: wrk's side: the same request again and again, and the result as one line of JSON.
SCRIPT = """
init = function(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method, wrk.body = "POST", file:read("*a")
  file:close()
  for line in io.lines(args[2]) do
    local name, value = line:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
end
done = function(summary, latency)
  local e = summary.errors
  print(string.format(
    'RESULT {"requests":%d,"seconds":%f,"p50":%f,"p99":%f,' ..
    '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
"""


@dataclass(frozen=True)
class Shot:
    """A request that is sent over and over."""

    url: str
    headers: dict[str, str]
    body: bytes
    connections: int


@dataclass(frozen=True)
class Result:
    """What came of it. Times are those the client saw, in microseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failures: dict[str, int]


def find_wrk() -> str | None:
    """The path of wrk, installed if that is allowed here; says on standard error what to type if it is not."""
    if found := shutil.which("wrk"):
        return found
    hint = "type: sudo apt-get update && sudo apt-get install wrk"
    if shutil.which("apt-get") and os.geteuid() == 0:
        print("fairlead: installing the Debian package wrk", file=sys.stderr)
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": sys.stderr, "timeout": 300}
        try:
            subprocess.run(["apt-get", "-q", "update"], check=False, **quiet)
            install = ["apt-get", "-q", "install", "-y", "--no-install-recommends", "wrk"]
            subprocess.run(install, check=True, **quiet)
        except (subprocess.SubprocessError, OSError) as error:
            hint = f"apt-get could not install it ({error})"
    found = shutil.which("wrk")
    if found is None:
        print(
            f"fairlead: missing: wrk; {hint}\n          A slower client in Python takes its place.", file=sys.stderr
        )
    return found


def fire(wrk: str | None, shot: Shot, seconds: float, folder: Path) -> Result:
    """Sends a request over and over for so long."""
    if wrk is None:
        return _by_ourselves(shot, seconds, None, folder)
    script, body, headers = folder / "post.lua", folder / "body", folder / "headers"
    script.write_text(SCRIPT)
    body.write_bytes(shot.body)
    headers.write_text("".join(f"{name}: {value}\n" for name, value in shot.headers.items()))
    whole = math.ceil(seconds)
    out = _run(
        [
            wrk,
            "--threads",
            "1",
            "--connections",
            str(shot.connections),
            "--duration",
            f"{whole}s",
            "--timeout",
            f"{PATIENCE}s",
            "--script",
            str(script),
            shot.url,
            "--",
            str(body),
            str(headers),
        ],
        whole + 2 * PATIENCE,
    )
    (line,) = [line for line in out.splitlines() if line.startswith("RESULT ")]
    return _result(json.loads(line.removeprefix("RESULT ")))


def volley(shot: Shot, each: int, folder: Path) -> Result:
    """Sends a request so many times over each connection, and waits for all answers."""
    return _by_ourselves(shot, None, each, folder)


def _by_ourselves(shot: Shot, seconds: float | None, each: int | None, folder: Path) -> Result:
    path = folder / "shot.json"
    told = {
        "url": shot.url,
        "headers": shot.headers,
        "connections": shot.connections,
        "seconds": seconds,
        "each": each,
    }
    path.write_text(json.dumps(told))
    (folder / "body").write_bytes(shot.body)
    command = [sys.executable, "-m", "integration.bench.load", str(path), str(folder / "body")]
    return _result(json.loads(_run(command, (seconds or 0) + (each or 0) * PATIENCE + 2 * PATIENCE)))


def _run(command: list[str], most: float) -> str:
    """The output of a command that is killed when it takes too long or we are interrupted."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=most, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(
            f"{Path(command[0]).name} ended with code {done.returncode}: {done.stderr.strip()[-2000:]}"
        )
    return done.stdout


def _result(told: dict[str, float]) -> Result:
    counts = {name: int(told.pop(name)) for name in ("connect", "read", "write", "status", "timeout")}
    failures = {name: count for name, count in counts.items() if count}
    return Result(int(told["requests"]), told["seconds"], told["p50"], told["p99"], failures)


async def _client(told: dict[str, object], body: bytes) -> dict[str, float]:
    """Our own client: keep-alive HTTP/1.1, a request at a time over each connection."""
    url = urlsplit(str(told["url"]))
    headers = {"host": url.netloc, **told["headers"], "content-length": str(len(body))}  # type: ignore[dict-item]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    wire = f"POST {url.path} HTTP/1.1\r\n{head}\r\n".encode() + body
    counts: Counter[str] = Counter(connect=0, read=0, write=0, status=0, timeout=0)
    times: list[float] = []
    begun = time.perf_counter()
    end = begun + float(told["seconds"] or math.inf)  # type: ignore[arg-type]

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        fields = dict(line.split(b": ", 1) for line in answer.split(b"\r\n")[1:-2])
        if b"content-length" in fields:
            await reader.readexactly(int(fields[b"content-length"]))
        else:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        counts["status"] += not answer.startswith(b"http/1.1 2")

    async def connection() -> None:
        left = int(told["each"] or sys.maxsize)  # type: ignore[call-overload]
        reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1 << 20)
        try:
            while left > 0 and (start := time.perf_counter()) < end:
                await asyncio.wait_for(one(reader, writer), PATIENCE)
                times.append(time.perf_counter() - start)
                left -= 1
        except TimeoutError:
            counts["timeout"] += 1
        except (OSError, asyncio.IncompleteReadError, ValueError):
            counts["read"] += 1
        finally:
            writer.close()

    await asyncio.gather(*(connection() for _ in range(int(told["connections"]))))  # type: ignore[call-overload]
    times.sort()
    at = lambda part: times[int(part * (len(times) - 1))] * 1e6 if times else 0  # noqa: E731
    seconds = time.perf_counter() - begun
    return {"requests": len(times), "seconds": seconds, "p50": at(0.5), "p99": at(0.99), **counts}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="our own client; fire and volley start it")
    parser.add_argument("shot", type=Path)
    parser.add_argument("body", type=Path)
    asked = parser.parse_args()
    print(json.dumps(asyncio.run(_client(json.loads(asked.shot.read_text()), asked.body.read_bytes()))))
