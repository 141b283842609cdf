"""Reaches the Unix socket that lies at a path, and no other: whoever owns the folder around it may put a link there.

Called by whoever connects to a socket of a replica or a gateway.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

LISTENS_TIMEOUT_S = 0.5


@contextlib.contextmanager
def past_no_link(path: str | Path) -> Iterator[str]:
    """Where to connect to for the socket at `path`, as long as this lasts.

    Raises `OSError` for a link or anything else that is no socket. What is looked at is what is connected to, where the
    system can hold a file that it does not open (Linux).
    """
    if not hasattr(os, "O_PATH"):
        _check(os.lstat(path), path)
        yield str(path)
        return
    held = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check(os.fstat(held), path)
        yield f"/proc/self/fd/{held}"
    finally:
        os.close(held)


def _check(found: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), str(path))


def listens(path: str | Path) -> bool:
    """Whether anybody listens on the socket at `path`. One that is too busy to say so does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(LISTENS_TIMEOUT_S)
        try:
            with past_no_link(path) as address:
                probe.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:  # busy, or not ours to ask: there is somebody
            return error.errno != errno.ENOTSOCK
    return True


def listens_on(host: str, port: int) -> bool:
    """Whether anybody listens on a TCP port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(LISTENS_TIMEOUT_S)
        return probe.connect_ex((host, port)) == 0
