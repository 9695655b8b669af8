"""`make run`: a real Envoy with the plugin against the stand-in cloud, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import threading

from . import gateway
from .cloud.driver import StandIn

CHAT = """curl {flags}http://127.0.0.1:{port}/v1/chat/completions -H 'content-type: application/json' \\
  -d '{{"model":"{model}",{stream}"messages":[{{"role":"user","content":"Good morning, who are you?"}}]}}'"""

MODELS = {
    "Amazon Bedrock": "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0",
    "Google Vertex AI": "vertex_ai/gemini-2.5-flash",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m integration.run", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="where Envoy listens on 127.0.0.1 (default: 8080)")
    port = parser.parse_args().port

    # A shell that starts jobs in the background has Ctrl-C ignored; we never do.
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())

    if taken(port):
        sys.exit(f"port {port} on 127.0.0.1 is taken; choose another: make run PORT={port + 1}")
    if not gateway.WASM.exists():
        sys.exit("dist/fairlead.wasm is missing; type: make build")
    print("starting the stand-in cloud and Envoy ...", flush=True)
    try:
        with StandIn() as cloud:
            (admin_port,) = gateway.free_ports(1)
            config = gateway.localise(
                gateway.load("gateway.yaml"), cloud.ports, port=port, admin_port=admin_port
            )
            with gateway.Envoy(gateway.envoys()["1.40.0"], config, "run") as envoy:
                greet(port, envoy)
                while not stopped.wait(0.5):
                    for name, process in (("Envoy", envoy.process), ("the stand-in cloud", cloud.process)):
                        if process is not None and process.poll() is not None:
                            sys.exit(f"{name} stopped with code {process.returncode}; see {envoy.log}")
    except RuntimeError as error:
        sys.exit(str(error))
    print("\nstopped", flush=True)


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def greet(port: int, envoy: gateway.Envoy) -> None:
    print(f"\nEnvoy is ready on {envoy.url} (its log: {envoy.log.relative_to(gateway.ROOT)}).")
    print("The cloud behind it is a stand-in on this machine: no account, no cost. Paste one of these:\n")
    for cloud, model in MODELS.items():
        print(f"# {cloud}\n{CHAT.format(flags='', port=port, model=model, stream='')}\n")
        print(f"# {cloud}, streaming\n{CHAT.format(flags='-N ', port=port, model=model, stream=chr(34) + 'stream' + chr(34) + ':true,')}\n")
    print("Ctrl-C stops everything.", flush=True)


if __name__ == "__main__":
    main()
