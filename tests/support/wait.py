"""Waiting without fixed sleeps."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T], timeout_s: float = 30.0, what: str = "it") -> T:
    """The first true value `look` gives; fails the test when there was none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen in {timeout_s:g} s; last seen: {seen!r}")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Free TCP ports on loopback, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
