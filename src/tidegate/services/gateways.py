"""Tells gateways of new routing snapshots and remembers which one each has applied. In memory only."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass

from tidegate.clock import Clock
from tidegate.store.engine import Store
from tidegate.store.fleet import load_snapshot

GATEWAYS_MAX = 1000


@dataclass(frozen=True)
class GatewaySeen:
    """What a gateway last said: the snapshot it routes by, and when (seconds since the epoch)."""

    revision: int
    at: float


class GatewayRevisions:
    """Which snapshot each gateway has applied, by its id. Written by API threads, read by the reconcile loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, GatewaySeen] = {}

    def record(self, gateway: str, revision: int) -> None:
        """A gateway polled with this revision. Past the bound, the one unheard of for longest is forgotten."""
        with self._lock:
            self._seen.pop(gateway, None)
            self._seen[gateway] = GatewaySeen(revision, self._clock())
            if len(self._seen) > GATEWAYS_MAX:
                self._seen.pop(next(iter(self._seen)))

    def applied(self) -> dict[str, GatewaySeen]:
        """A copy of all that is known."""
        with self._lock:
            return dict(self._seen)


class Broadcast:
    """Wakes asynchronous waiters from any thread. `count` grows with each notification."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        self.count = 0
        self.closed = False

    def notify(self) -> None:
        """Wake everyone who waits now."""
        with self._lock:
            self.count += 1
            waiters, self._waiters = self._waiters, {}
        for waiter, loop in waiters.items():
            with contextlib.suppress(RuntimeError):  # the waiter's loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(_wake, waiter)

    def close(self) -> None:
        """Wake everyone and let nobody wait again."""
        self.closed = True
        self.notify()

    async def wait(self, seen: int, timeout_s: float) -> None:
        """Return when `count` is not `seen` (any more), or after `timeout_s`."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self.count != seen or self.closed:
                return
            self._waiters[waiter] = loop
        try:
            await asyncio.wait([waiter], timeout=timeout_s)
        finally:
            with self._lock:
                self._waiters.pop(waiter, None)


@dataclass(frozen=True)
class Snapshots:
    """Reads the newest routing snapshot."""

    store: Store

    def newer(self, after: int) -> str | None:
        """The newest snapshot's JSON if its revision is above `after`."""
        with self.store.reading() as tx:
            revision, body = load_snapshot(tx)
        return body if revision > after else None


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
