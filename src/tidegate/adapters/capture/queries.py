"""Runs SQL over captured rows in a process of its own, so that no query takes memory or time of the control plane.

Implements `core.captured.CaptureQueries`. The process is killed when its time is up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import orjson

from tidegate.capture.files import endpoints_of
from tidegate.capture.location import Location
from tidegate.errors import CaptureUnreadable, Overloaded, QueryTooLarge
from tidegate.errors.codes import by_code
from tidegate.system.child_env import inherited_env, storage_keys
from tidegate.wire.capture.capture import CaptureSelection

QUERIES_MAX = 2
TIMEOUT_S = 30.0
ERROR_BYTES_MAX = 100_000


class SqlProcesses:
    """Of the store of one data directory; at most `QUERIES_MAX` queries at a time."""

    def __init__(self, data_dir: Path, timeout_s: float = TIMEOUT_S, location: Location | None = None) -> None:
        self._location, self._journal = location or Location(data_dir / "capture"), data_dir / "journal"
        self._timeout_s = timeout_s
        self._room = threading.BoundedSemaphore(QUERIES_MAX)

    def endpoints(self) -> list[str]:
        """See the port."""
        return stored_endpoints(self._location)

    def run(self, selection: CaptureSelection) -> bytes:
        """See the port."""
        if not self._room.acquire(blocking=False):
            raise Overloaded(f"{QUERIES_MAX} queries run already: try again in a moment", retry_after_s=1.0)
        try:
            return self._run(selection)
        finally:
            self._room.release()

    def _run(self, selection: CaptureSelection) -> bytes:
        its = self._location
        argv = [sys.executable, "-m", "tidegate.capture.sql", str(its.folder), str(self._journal)]
        if its.url is not None:
            argv += [its.url, its.endpoint_url or ""]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=inherited_env() | ({} if its.url is None else storage_keys()),
            start_new_session=True,
        )
        try:
            out, err = process.communicate(msgspec.json.encode(selection), timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            raise QueryTooLarge(
                f"the query took longer than {self._timeout_s:g} s and was ended: narrow its time, or select less"
            ) from None
        finally:
            _end(process)
        if process.returncode != 0:
            raise _said(err[-ERROR_BYTES_MAX:], process.returncode)
        return out


def stored_endpoints(location: Location) -> list[str]:
    """Endpoints that have rows in a store. Raises `CaptureUnreadable`."""
    try:
        return endpoints_of(location.files())
    except OSError as error:
        raise CaptureUnreadable(f"what was captured cannot be read: {error.strerror or error}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _said(err: bytes, code: int) -> Exception:
    """What the process wrote as its last line; else it was killed, or could not even begin."""
    lines = err.decode("utf-8", "replace").strip().split("\n")  # and at no other character: a query may quote any
    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
        refusal = orjson.loads(lines[-1])
        return by_code(str(refusal["code"]))(str(refusal["error"]))
    if code == -signal.SIGKILL or "MemoryError" in lines[-1] or "bad_alloc" in lines[-1]:
        return QueryTooLarge("the query needs more memory than there is: narrow its time, or select less")
    return CaptureUnreadable(f"the query's process ended with {code}: {lines[-1][:500]}")
