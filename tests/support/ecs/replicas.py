"""A task's container as a real replica process, at an address of its own in 127.31.0.0/16."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tidegate.system.child_env import inherited_env

PORT = 8000
PROBE_TIMEOUT_S = 2.0
_taken: set[str] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class Image:
    """What a registry has under a name: the model's manifest, or a program that is run in the replica's place.

    The program is told its address; it may answer health checks, and never a prediction.
    """

    manifest: Path | None = None
    program: tuple[str, ...] = ()
    architecture: str = "X86_64"


def new_address() -> str:
    """One that nobody listens on, in this process or another."""
    while True:
        found = f"127.31.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        with _lock:
            if found in _taken or not _is_free(found):
                continue
            _taken.add(found)
            return found


def _is_free(ip: str) -> bool:
    with socket.socket() as one:
        try:
            one.bind((ip, PORT))
        except OSError:
            return False
    return True


class Process:
    """One container that runs. Its output is in a file, as a log driver would have it."""

    def __init__(self, image: Image, container: Mapping[str, Any], env: Mapping[str, str], ip: str, log: Path) -> None:
        command = [str(part) for part in container.get("command", ())]
        program = [*image.program] or [sys.executable, "-m", "tidegate.server", "--manifest", str(image.manifest)]
        arguments = [ip] if image.program else ["--host", "0.0.0.0", *command, "--host", ip]
        self.ip, self._log = ip, log
        whole = {**inherited_env(), "PYTHONUNBUFFERED": "1", **env}
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*program, *arguments], stdout=out, stderr=subprocess.STDOUT, env=whole, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """As a container runtime says it; None while it runs."""
        found = self._process.poll()
        return None if found is None else (128 - found if found < 0 else found)

    def is_ready(self) -> bool:
        """What the image's health check asks."""
        connection = HTTPConnection(self.ip, PORT, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def signal(self, signum: signal.Signals) -> None:
        """To it and all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signum)

    def end(self) -> None:
        """At once, and gone afterwards."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        with _lock:
            _taken.discard(self.ip)

    def lines(self) -> list[str]:
        """All it wrote."""
        return self._log.read_text(errors="replace").splitlines()
