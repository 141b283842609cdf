"""Locks on open files, between threads and processes that share a folder. The kernel drops one when its holder dies.

A lock belongs to the descriptor (`flock`): closing it lets go, and a child that inherited it holds it too.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from time import sleep

from tidegate.clock import monotonic

POLL_S = 0.02


def open_lock(path: Path) -> int:
    """The descriptor of a lock's file, made where there is none. Closing it is the caller's."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(descriptor: int, wait_s: float | None = 0.0, *, shared: bool = False) -> bool:
    """Whether it is ours now, after at most `wait_s`; None waits for as long as others hold it."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if wait_s is None:
        fcntl.flock(descriptor, kind)
        return True
    deadline = monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= deadline:
                return False
            sleep(POLL_S)
        else:
            return True


def let_go(descriptor: int) -> None:
    """Release the lock, and keep the file's descriptor open for the next time."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
