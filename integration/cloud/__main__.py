"""Starts the stand-in cloud: its ports on 127.0.0.1, one line on stdout when they listen."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import signal
import sys

from .anthropic import Anthropic
from .bedrock import Bedrock
from .container import Container
from .control import Control
from .google_sts import GoogleSts
from .http import Server
from .iam import Iam
from .imds import Imds
from .metadata import Metadata
from .oauth2 import Oauth2
from .openai import OpenAI
from .state import State
from .strict import Refused
from .sts import Sts
from .subject import Subject
from .vertex import Vertex

#: Role -> its distance from --port-base.
ROLES = {
    "bedrock": 0, "vertex": 1, "metadata": 2, "control": 3, "anthropic": 4, "openai": 5,
    "imds": 6, "container": 7, "sts": 8, "oauth2": 9, "google_sts": 10, "iam": 11, "subject": 12,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m integration.cloud", description=__doc__)
    parser.add_argument("--port-base", type=int, metavar="N", help=f"take ports N to N+{len(ROLES) - 1} (default: free ports)")
    for role, offset in ROLES.items():
        parser.add_argument(f"--{role}-port", type=int, metavar="N", help=f"default: port base + {offset}; 0: a free one")
    parser.add_argument(
        "--allow-header", action="append", default=[], metavar="NAME", help="let this header through (repeatable)"
    )
    options = parser.parse_args()
    ports = {}
    for role, offset in ROLES.items():
        own = getattr(options, f"{role}_port")
        ports[role] = own if own is not None else options.port_base + offset if options.port_base else 0
    try:
        asyncio.run(serve(ports, [name.lower() for name in options.allow_header]))
    except OSError as error:
        sys.exit(f"stand-in cloud: cannot listen: {error}")


async def serve(ports: dict[str, int], allow_headers: list[str]) -> None:
    """Run until SIGINT or SIGTERM."""
    state = State(allow_headers)
    handlers = {
        "bedrock": Bedrock(state),
        "vertex": Vertex(state),
        "metadata": Metadata(state),
        "control": Control(state),
        "anthropic": Anthropic(state),
        "openai": OpenAI(state),
        "imds": Imds(state),
        "container": Container(state),
        "sts": Sts(state),
        "oauth2": Oauth2(state),
        "google_sts": GoogleSts(state),
        "iam": Iam(state),
        "subject": Subject(state),
    }
    servers = []
    bound = {}
    for role, handler in handlers.items():
        server = Server(handler, functools.partial(_malformed, state, role))
        bound[role] = await server.start(ports[role])
        servers.append(server)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print("stand-in cloud ready", json.dumps(bound), flush=True)
    await stopped.wait()
    for server in servers:
        server.stop()


def _malformed(state: State, role: str, refused: Refused) -> None:
    """Record bytes that are not even HTTP."""
    state.refused(role, refused, None)


if __name__ == "__main__":
    main()
