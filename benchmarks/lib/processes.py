"""Starts servers as processes of their own, waits for them, and ends exactly what was started, by pid.

Used by every benchmark; every wait has a deadline.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class BenchmarkFailed(Exception):
    """A benchmark could not be carried out; the message says why."""


def free_ports(count: int) -> list[int]:
    """Free TCP ports on loopback, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def pinned(argv: Sequence[str], core: int | None) -> list[str]:
    """`argv` held on one core where the system can do that (`taskset`, Linux)."""
    if core is None or shutil.which("taskset") is None:
        return list(argv)
    return ["taskset", "--cpu-list", str(core), *argv]


@dataclass(frozen=True)
class Server:
    """A server that was started here: its process leads a session of its own, so that its children end with it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_until(self, url: str, timeout_s: float = 60.0) -> float:
        """Seconds until `url` answered 200; raises `BenchmarkFailed` when it ended or took too long."""
        started = time.monotonic()
        while time.monotonic() - started < timeout_s:
            if self.process.poll() is not None:
                raise BenchmarkFailed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            if answers(url):
                return time.monotonic() - started
            time.sleep(0.05)
        raise BenchmarkFailed(f"{self.name} did not answer {url} in {timeout_s:.0f} s:\n{self.tail()}")

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask it to end, then end it and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(grace_s)


@contextlib.contextmanager
def running(
    name: str, argv: Sequence[str], log: Path, *, core: int | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server that runs for the length of the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            pinned(argv, core),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    server = Server(name, process, log)
    try:
        yield server
    finally:
        server.stop()


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Whether `url` answers 200 now."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:  # noqa: S310 — loopback addresses of our own
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def command(name: str) -> str:
    """A command of the environment this script runs in (`tidegate`), else of the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise BenchmarkFailed(f"'{name}' is not installed here: run this with the Python of the project's environment")
    return found


def run(argv: Sequence[str], *, timeout_s: float = 600.0, env: Mapping[str, str] | None = None) -> str:
    """Run to the end and return what it printed; raises `BenchmarkFailed` with its last words otherwise."""
    done = subprocess.run(
        list(argv), capture_output=True, text=True, timeout=timeout_s, check=False, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        words = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
        raise BenchmarkFailed(f"{' '.join(argv)} ended with {done.returncode}:\n{words}")
    return done.stdout
