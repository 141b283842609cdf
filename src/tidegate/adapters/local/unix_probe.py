"""Bounded questions over a Unix socket. Called by the backends and the gateway supervisor.

No answer is one too. They raise `OutOfResources` where this process could not even ask, which says nothing of others.
"""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from tidegate.system.exhaustion import exhausted
from tidegate.system.unix_sockets import past_no_link


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection whose address is a file."""

    def __init__(self, socket_path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._socket_path = socket_path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with past_no_link(self._socket_path) as address:
            self.sock.connect(address)


def get_status(socket_path: Path, path: str, timeout_s: float) -> int | None:
    """The status of `GET path`; None when nothing answers in time."""
    connection = _UnixConnection(socket_path, timeout_s)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        if (here := exhausted(error)) is not None:
            raise here from error
        return None
    finally:
        connection.close()


def speaks(socket_path: Path, timeout_s: float) -> bool:
    """Whether a server that speaks first (a gateway's private socket) sends anything in time."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            with past_no_link(socket_path) as address:
                connection.connect(address)
            return bool(connection.recv(1))
    except OSError as error:
        if (here := exhausted(error)) is not None:
            raise here from error
        return False
