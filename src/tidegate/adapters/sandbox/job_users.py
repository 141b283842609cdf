"""A user for each process of a job that runs a model's code, nobody else's meanwhile: all it left is ended by it.

Called as root alone. Ending the process's session is not enough, for a child may have made one of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

JOBS_FIRST, JOBS = 70_000, 1_000
REPLICAS_FIRST, REPLICAS = 71_000, 1_000
"""Above the users that systemd gives to services for a while (61184 to 65519), below those of containers (100000)."""
MODELS_GROUP = 72_000
"""May pass through the platform's folders to what such a user needs, where that cannot be shown in another way."""
_FILES_FIRST, _FILES = 1_000_000_000, 1_000_000_000
_TRIES, _ROUNDS, _TIMEOUT_S = 64, 20, 20.0
_END_ALL = f"""
import os, sys
uid = int(sys.argv[1])
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
if os.getresuid() != (uid, uid, uid) or not {JOBS_FIRST} <= uid < {JOBS_FIRST + JOBS}:
    sys.exit(2)
try:
    os.kill(-1, 9)
except ProcessLookupError:
    pass
"""
"""As that user, the kernel ends everything of its at once, also what is starting more, and can end nothing else."""


def group_of(path: Path) -> int:
    """The group of those who may read this file. Two files hardly ever have the same one."""
    return _FILES_FIRST + int.from_bytes(hashlib.sha256(os.fsencode(path)).digest()[:8], "big") % _FILES


def of_replica(name: str) -> int:
    """Two may be given the same: then they could meet, and no more."""
    return REPLICAS_FIRST + zlib.crc32(name.encode()) % REPLICAS


@contextlib.contextmanager
def of_job(name: str) -> Iterator[int]:
    """A user that no other job on this machine has until this ends, and then no process of its is left.

    Where none of many is free, one that others may have too, whose processes are not ended.
    """
    wanted = zlib.crc32(name.encode())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        for step in range(_TRIES):
            uid = JOBS_FIRST + (wanted + step) % JOBS
            with contextlib.suppress(OSError):
                held.bind(f"\0tidegate-job-{uid}")  # a name without a file, which the kernel frees with this process
                break
        else:
            yield uid
            return
        try:
            yield uid
        finally:
            end_all(uid)


def end_all(uid: int) -> None:
    """All processes of this user. Again, where one of them was quicker and ended what was to end them."""
    for _ in range(_ROUNDS):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            ended = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _END_ALL, str(uid)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
            if ended.returncode >= 0:
                return
