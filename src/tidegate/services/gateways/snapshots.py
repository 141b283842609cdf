"""Routing snapshots for the gateways that poll, and which revision each has applied when. In memory only.

When a gateway counts as dead is for those who ask (`listed`, `core.reconcile.leaving`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from msgspec.structs import replace

from tidegate.clock import Clock
from tidegate.core.reconcile.fleet import GatewayFacts
from tidegate.store.database.engine import Store
from tidegate.store.fleet.fleet import load_snapshot, snapshot_host, snapshot_revision
from tidegate.wire.gateways.snapshot import SOCKET, RoutedEndpoint, Target, decode_snapshot, encode_snapshot

GATEWAYS_MAX, IN_USE_MAX = 1000, 1000
ENDED_S = 30.0
"""For so long nothing is heard of a gateway that was ended: no other of its name is started as soon."""


@dataclass(frozen=True)
class GatewaySeen:
    """What a gateway last said, and when (on the clock of `GatewayRevisions`): the snapshot it routes by, and
    the replicas that this does not list, but whose answers it waits for.
    """

    revision: int
    at: float
    in_use: frozenset[str] = frozenset()


class GatewayRevisions:
    """Which snapshot each gateway has applied, by its id. Written by API threads, read by the reconcile loop.

    The clock is monotonic: were it set back, a gateway that died would seem to route for as long.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, GatewaySeen] = {}
        self._ended: dict[str, float] = {}  # those that were ended on purpose a moment ago, and when

    def record(self, gateway: str, revision: int, in_use: Iterable[str] = ()) -> None:
        """A gateway polled with this revision. Past the bound, the one unheard of for longest is forgotten."""
        used = frozenset(islice(in_use, IN_USE_MAX))
        with self._lock:
            self._seen.pop(gateway, None)
            if self._clock() - self._ended.get(gateway, -math.inf) < ENDED_S:
                return
            self._seen[gateway] = GatewaySeen(revision, self._clock(), used)
            if len(self._seen) > GATEWAYS_MAX:
                self._seen.pop(next(iter(self._seen)))

    def forget(self, gateway: str) -> None:
        """It was ended on purpose: nothing waits for it, and nobody misses it.

        A poll that it had sent before may still be read here, where the API was busy, or did not serve yet.
        """
        with self._lock:
            self._seen.pop(gateway, None)
            self._ended = {name: at for name, at in self._ended.items() if self._clock() - at < ENDED_S}
            self._ended[gateway] = self._clock()

    def applied(self) -> dict[str, GatewaySeen]:
        """A copy of all that is known."""
        with self._lock:
            return dict(self._seen)

    def facts(self, own: Mapping[str, float | None]) -> tuple[GatewayFacts, ...]:
        """What those that may be routing said last. `own` are the gateways that this control plane keeps running, with
        when the process that runs now was started; None: none does, and what one said before it ended counts no more.
        """
        now, seen = self._clock(), self.applied()
        others = [_of(name, one, now) for name, one in seen.items() if name not in own]
        mine = [_of_own(name, since, seen.get(name), now) for name, since in own.items() if since is not None]
        return (*others, *mine)

    def heard_within(self, seconds: float) -> set[str]:
        """The gateways that have polled within the last so many seconds."""
        oldest_s = self._clock() - seconds
        return {name for name, seen in self.applied().items() if seen.at >= oldest_s}


def _of_own(name: str, since: float, seen: GatewaySeen | None, now: float) -> GatewayFacts:
    if seen is None or seen.at < since:
        return GatewayFacts(name, None, now - since)
    return _of(name, seen, now)


def _of(name: str, seen: GatewaySeen, now: float) -> GatewayFacts:
    return GatewayFacts(name, seen.revision, now - seen.at, seen.in_use)


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
    """Reads the newest routing snapshot for the gateways of `host`, with the targets that they can reach.

    While `holding`, gateways keep what they have when another host leads: replicas here serve on for a while.
    """

    store: Store
    host: str = ""
    holding: threading.Event = field(default_factory=threading.Event)

    def newer(self, after: int) -> str | None:
        """The newest snapshot's JSON if its revision is above `after`."""
        with self.store.reading() as tx:
            (revision, body), host = load_snapshot(tx), snapshot_host(tx)
        if revision <= after:
            return None
        if host in ("", self.host):
            return body
        return None if self.holding.is_set() else _reachable(body, host, self.host)

    def newest(self) -> int:
        """The revision of the newest one; 0 before the first. Raises `StoreUnavailable`."""
        with self.store.reading() as tx:
            return snapshot_revision(tx)

    def known(self) -> bool:
        """Whether a leader wrote one."""
        with self.store.reading() as tx:
            return snapshot_host(tx) != ""

    def served_elsewhere(self) -> bool:
        """Whether another host's replicas serve all that has traffic."""
        with self.store.reading() as tx:
            (_, body), host = load_snapshot(tx), snapshot_host(tx)
        if not body or host in ("", self.host):
            return False
        endpoints = decode_snapshot(body.encode()).endpoints
        return all(one.variants for one in endpoints) and all(
            variant.targets for one in endpoints for variant in one.variants if variant.weight > 0
        )


def _reachable(body: str, writer: str, here: str) -> str:
    """The snapshot that `writer` wrote, with the targets that are reached from here: sockets elsewhere lead nowhere."""
    snapshot = decode_snapshot(body.encode())
    endpoints = tuple(_reachable_endpoint(one, writer, here) for one in snapshot.endpoints)
    return body if endpoints == snapshot.endpoints else encode_snapshot(replace(snapshot, endpoints=endpoints)).decode()


def _reachable_endpoint(endpoint: RoutedEndpoint, writer: str, here: str) -> RoutedEndpoint:
    """An endpoint whose replicas are all elsewhere is known here, and gateways answer 503."""
    variants = tuple(
        replace(variant, targets=tuple(one for one in variant.targets if _host(one, writer) in ("", here)))
        for variant in endpoint.variants
    )
    lost = any(
        one.weight > 0 and one.targets and not left.targets
        for one, left in zip(endpoint.variants, variants, strict=True)
    )
    reason = f"its replicas are on {writer}, whose control plane leads" if lost else endpoint.reason
    woken = tuple(replace(one, wakes=one.wakes and not lost) for one in variants)
    return replace(endpoint, variants=woken, reason=reason)


def _host(target: Target, writer: str) -> str:
    """The only host that reaches it. Snapshots of earlier releases do not say: their targets are the writer's."""
    return target.host or (writer if target.address.startswith(SOCKET) else "")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
