"""Starts the data plane's test server as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "dataplane" / "linear_server.py"
LIMITS = {
    "TIDEGATE_RECEIVE_TIMEOUT_S": "1",
    "TIDEGATE_JSON_BYTES_MAX": "100000",
    "TIDEGATE_REQUEST_BYTES_MAX": "300000",
}


@contextmanager
def running_server(**env: str) -> Iterator[int]:
    """The port of a server that runs until the block ends, which it must do with exit code 0."""
    with running_process(**env) as (port, _):
        yield port


@contextmanager
def running_process(**env: str) -> Iterator[tuple[int, int]]:
    """As `running_server`: the port, and the process's id."""
    environment = {**os.environ, **LIMITS, **env}
    with subprocess.Popen([sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the test server ended with {process.wait()} before it listened"
        try:
            yield int(line), process.pid
        finally:
            process.terminate()
            assert process.wait(15) == 0
