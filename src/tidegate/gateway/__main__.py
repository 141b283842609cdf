"""The gateway's process: `python -m tidegate.gateway --data-dir D --id gateway-0 --port 8000 --control-url URL`.

Started and watched by the control plane, and outlives it.
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from tidegate.dataplane.serve import run_server
from tidegate.errors import TidegateError
from tidegate.gateway.process import GatewayOptions, build_gateway, open_sockets
from tidegate.gateway.shared.redis_link import connect
from tidegate.listening import required_key
from tidegate.settings import CONTROL_PORT, GATEWAY_PORT, Settings
from tidegate.system.ending import end
from tidegate.system.private_memory import keep_memory_private
from tidegate.telemetry import configure_logging


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal ends it; 1 when it cannot (port in use), 2 for wrong use."""
    given = _parse(argv)
    keep_memory_private()
    grpc_port = given.port + 1 if given.grpc_port is None else given.grpc_port
    options = GatewayOptions(given.id, given.host, given.port, grpc_port, given.control_url, given.reuse_port)
    try:
        settings = Settings.from_env(data_dir=given.data_dir)
        key = required_key(options.host, settings)
        configure_logging(options.id, settings.log_level)
        if settings.redis_url:
            connect(settings.redis_url)  # as far as it can be known without a word to Redis
        sockets = open_sockets(options, settings)
    except TidegateError as error:
        print(f"tidegate gateway: {error.message}", file=sys.stderr)  # noqa: T201 (the one line a person reads)
        return error.exit_code
    # What is there now stays: sparing the collector these objects keeps its pauses short.
    gc.freeze()
    run_server(
        lambda: build_gateway(options, settings, key, sockets),
        sockets.public,
        drain_s=settings.drain_s,
        grpc_sock=sockets.grpc,
    )
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tidegate gateway", description="The address that clients call.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--id", default="gateway-0", help="name of this process: gateway-N")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=GATEWAY_PORT)
    parser.add_argument("--grpc-port", type=int, help="port of gRPC (default: the HTTP port + 1)")
    parser.add_argument("--control-url", default=f"http://127.0.0.1:{CONTROL_PORT}")
    parser.add_argument("--reuse-port", action="store_true", help="share the port with other gateways of this platform")
    return parser.parse_args(argv)


if __name__ == "__main__":
    end(main())
