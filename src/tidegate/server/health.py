"""A container's health check: asks the replica that is this container's first process whether it is ready."""

from __future__ import annotations

import sys
from http.client import HTTPConnection
from pathlib import Path

TIMEOUT_S = 4.0
_FIRST_PROCESS = Path("/proc/1/cmdline")


def main() -> int:
    """0 when it is ready, else 1."""
    connection = HTTPConnection("127.0.0.1", port_of(_FIRST_PROCESS.read_text().split("\0")), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/v2/health/ready")
        return 0 if connection.getresponse().status == 200 else 1
    except OSError:
        return 1
    finally:
        connection.close()


def port_of(argv: list[str]) -> int:
    """The last `--port` of its arguments: whoever runs the image may have chosen another."""
    port = "8000"
    for before, argument in zip(["", *argv], argv, strict=False):
        if before == "--port":
            port = argument
        elif argument.startswith("--port="):
            port = argument.removeprefix("--port=")
    return int(port)


if __name__ == "__main__":
    sys.exit(main())
