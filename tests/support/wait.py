"""Waiting without fixed sleeps."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
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
