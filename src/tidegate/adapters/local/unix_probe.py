"""Bounded questions over Unix sockets. Called by the backends and the gateway supervisor.

No answer is one too. `OutOfResources` means that this process could not even ask, which says nothing of others.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tidegate.clock import monotonic
from tidegate.errors import TidegateError
from tidegate.system.exhaustion import exhausted
from tidegate.system.unix_sockets import past_no_link

AT_ONCE_MAX = 64
"""Sockets that are asked at a time, at most: each takes a descriptor."""
STATUS_LINE_BYTES_MAX = 256

Asked = int | TidegateError | None
"""The status that was answered; None: nothing answered in time; an error: this process could not ask."""


def get_status(socket_path: Path, path: str, timeout_s: float) -> int | None:
    """The status of `GET path`; None when nothing answers in time. Raises `OutOfResources`."""
    (answer,) = get_statuses([socket_path], path, timeout_s)
    if isinstance(answer, TidegateError):
        raise answer
    return answer


def get_statuses(socket_paths: Sequence[Path], path: str, timeout_s: float) -> list[Asked]:
    """The same of many sockets at once, in this one thread; each has `timeout_s` from when it is asked.

    Hundreds of replicas are asked every second: a thread and a parsed message for each would cost more than the answer.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    try:
        with selectors.DefaultSelector() as selector:
            return _Round(selector, request, timeout_s).ask(socket_paths)
    except OSError as error:
        if (here := exhausted(error)) is None:
            raise
        return [here] * len(socket_paths)


@dataclass
class _Question:
    place: int
    connection: socket.socket
    until: float
    head: bytes = b""


class _Round:
    """Asks many sockets once each, `AT_ONCE_MAX` at a time."""

    def __init__(self, selector: selectors.BaseSelector, request: bytes, timeout_s: float) -> None:
        self._selector, self._request, self._timeout_s = selector, request, timeout_s
        self._open: dict[int, _Question] = {}  # by place; the one that ends first comes first
        self._answers: dict[int, Asked] = {}

    def ask(self, socket_paths: Sequence[Path]) -> list[Asked]:
        """Ask several sockets at once; their answers in the same order."""
        left = enumerate(socket_paths)
        try:
            self._begin_some(left)
            while self._open:
                oldest = next(iter(self._open.values()))
                for key, _events in self._selector.select(max(0.0, oldest.until - monotonic())):
                    self._read(key.data)
                present = monotonic()
                for question in [one for one in self._open.values() if one.until <= present]:
                    self._end(question, None)
                self._begin_some(left)
        finally:
            for question in self._open.values():
                question.connection.close()
        return [self._answers[place] for place in range(len(socket_paths))]

    def _begin_some(self, left: Iterator[tuple[int, Path]]) -> None:
        """As many more as there is room for."""
        for place, socket_path in islice(left, AT_ONCE_MAX - len(self._open)):
            try:
                self._begin(place, socket_path)
            except OSError as error:
                self._answers[place] = exhausted(error)

    def _begin(self, place: int, socket_path: Path) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            with past_no_link(socket_path) as address:
                connection.connect(address)  # a socket of this machine takes the connection now, or is too busy to
            connection.sendall(self._request)
            question = _Question(place, connection, monotonic() + self._timeout_s)
            self._selector.register(connection, selectors.EVENT_READ, question)
        except BaseException:
            connection.close()
            raise
        self._open[place] = question

    def _read(self, question: _Question) -> None:
        """Read as far as the end of the status line."""
        try:
            more = question.connection.recv(STATUS_LINE_BYTES_MAX)
        except OSError:
            more = b""
        question.head += more
        if not more or b"\r\n" in question.head or len(question.head) >= STATUS_LINE_BYTES_MAX:
            self._end(question, _status(question.head))

    def _end(self, question: _Question, answer: Asked) -> None:
        self._answers[question.place] = answer
        del self._open[question.place]
        self._selector.unregister(question.connection)
        question.connection.close()


def _status(head: bytes) -> int | None:
    """The number in `HTTP/1.1 200 OK`."""
    version, _, rest = head.partition(b" ")
    code = rest[:3]
    return int(code) if version.startswith(b"HTTP/1.") and len(code) == 3 and code.isdigit() else None


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
