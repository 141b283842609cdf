"""Waiting without fixed sleeps."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE_S_MIN, PAUSE_S_MAX = 0.003, 0.05
"""Most of what is waited for in one process has happened after a moment; a program that starts is asked seldom."""


def until(look: Callable[[], T], timeout_s: float = 30.0, what: str = "it") -> T:
    """The first true value `look` gives; fails the test when there was none in time."""
    deadline, pause_s = time.monotonic() + timeout_s, PAUSE_S_MIN
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen in {timeout_s:g} s; last seen: {seen!r}")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


FIRST_PORT, LAST_PORT = 10_000, 32_000
"""Below the range from which the kernel gives out ports by itself: no client's connection is in the way later."""


def free_ports(count: int) -> list[int]:
    """Free TCP ports on loopback, all different; the one after each is free too, for gRPC."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(FIRST_PORT, LAST_PORT, 2)
        if port not in found and _is_free(port) and _is_free(port + 1):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
