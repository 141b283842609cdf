"""Requests for a version that sleeps: they wait until one of its replicas is connected. Owned by `version_pool.py`.

A request waits until its deadline at most, and at most `TIDEGATE_WAKING_REQUESTS_MAX` wait for a version in each
gateway process. Only variants that the snapshot marks with `wakes` are reached by way of this.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tidegate.dataplane.base.incidents import as_error
from tidegate.errors import NoReadyReplica, Overloaded, TidegateError
from tidegate.gateway.shared.response_cache import batcher_of

if TYPE_CHECKING:
    import asyncio

    from tidegate.clock import Clock
    from tidegate.dataplane.batching.batcher import Batcher
    from tidegate.dataplane.calls.batch import Observer
    from tidegate.dataplane.calls.call import Admission, Call, Destination

ASK_EVERY_S = 1.0
"""While requests wait, the control plane is asked again this often: another one may lead by now."""
RETRY_AFTER_S = 1.0
COLD_START = b"x-tidegate-cold-start: true\r\n"


@dataclass(frozen=True)
class WakingParts:
    """What every `WaitingRequests` is made with. `ask` tells the control plane that an endpoint is wanted."""

    loop: asyncio.AbstractEventLoop
    observer: Observer
    clock: Clock
    requests_max: int
    ask: Callable[[str], None]


class WaitingRequests:
    """Those of one version of an endpoint: `requests_max` at most, each until its deadline at most."""

    def __init__(self, endpoint: str, version: str, parts: WakingParts) -> None:
        self._endpoint, self._version = endpoint, version
        self._parts = parts
        self._waiting: dict[Call, tuple[Admission, asyncio.TimerHandle]] = {}
        self._asks = False

    @property
    def calls(self) -> set[Call]:
        """Waiting calls that are neither answered nor abandoned."""
        return {call for call in self._waiting if not call.done}

    def add(self, call: Call, admission: Admission) -> None:
        """Hand the call to `admission` once a replica is there. Raises `Overloaded` past the bound."""
        if len(self._waiting) >= self._parts.requests_max:
            self._forget_abandoned()
        if len(self._waiting) >= self._parts.requests_max:
            raise Overloaded(
                f"{len(self._waiting)} requests wait already for version {self._version} of endpoint "
                f"{self._endpoint!r}, which is waking: try again later",
                retry_after_s=RETRY_AFTER_S,
            )
        left_s = max(0.0, call.deadline_s - self._parts.clock())
        self._waiting[call] = admission, self._parts.loop.call_later(left_s, self._expire, call)
        if not self._asks:
            self._asks = True
            self._ask()

    def add_or_fail(self, call: Call, admission: Admission) -> None:
        """As `add`, of a call that was accepted before: past the bound it is answered so."""
        try:
            self.add(call, admission)
        except Overloaded as error:
            self._fail_one(call, error)

    def release(self) -> None:
        """A replica is there: hand all of them on, in the order in which they came."""
        for call, admission in self._take():
            call.destination = as_cold(call.destination)
            try:
                admission.submit(call)
            except Exception as error:
                self._fail_one(call, as_error(error))

    def fail(self, why: str) -> None:
        """None will be there soon: answer all of them now."""
        for call, _ in self._take():
            self._fail_one(call, self._none_ready(why))

    def move_to(self, choose: Callable[[Call], Destination]) -> None:
        """The version is gone from the snapshot: hand all of them to the ones chosen now. `choose` may raise."""
        for call, _ in self._take():
            try:
                destination = choose(call)
                call.destination = as_cold(destination)
                destination.batcher.submit(call)
            except Exception as error:
                self._fail_one(call, as_error(error))

    def _take(self) -> list[tuple[Call, Admission]]:
        waiting, self._waiting = self._waiting, {}
        for _, timer in waiting.values():
            timer.cancel()
        return [(call, admission) for call, (admission, _) in waiting.items() if not call.done]

    def _ask(self) -> None:
        self._forget_abandoned()
        self._asks = bool(self._waiting)
        if self._asks:
            self._parts.ask(self._endpoint)
            self._parts.loop.call_later(ASK_EVERY_S, self._ask)

    def _forget_abandoned(self) -> None:
        for call in [call for call in self._waiting if call.done]:
            self._waiting.pop(call)[1].cancel()

    def _expire(self, call: Call) -> None:
        self._waiting.pop(call, None)
        within_ms = (call.deadline_s - call.started_s) * 1000
        self._fail_one(call, self._none_ready(f"it did not wake within {within_ms:.0f} ms, the request's deadline"))

    def _none_ready(self, why: str) -> NoReadyReplica:
        return NoReadyReplica(
            f"endpoint {self._endpoint!r} has no replica ready to answer: {why}", retry_after_s=RETRY_AFTER_S
        )

    def _fail_one(self, call: Call, error: TidegateError) -> None:
        if not call.done:
            self._parts.observer.call_failed(call, error, self._parts.clock())
            call.fail(error)


class Sleeper(Protocol):
    """A version's batcher, whether it has a replica, and the requests that wait for one."""

    batcher: Batcher
    available: bool
    waiting: WaitingRequests


class WakingAdmission:
    """The `Admission` of a version that sleeps, or wakes just now."""

    accepts = True
    """A request now is answered, if a little later: who asks whether it is ready need not wake it for that."""

    def __init__(self, pool: Sleeper) -> None:
        self.pool = pool

    def __eq__(self, other: object) -> bool:
        return self.pool.batcher is batcher_of(other)

    def __hash__(self) -> int:
        return hash(self.pool.batcher)

    def submit(self, call: Call) -> None:
        """Hand the call to the batcher, now or when there is a replica. Raises `Overloaded`."""
        if self.pool.available:
            self.pool.batcher.submit(call)
        else:
            self.pool.waiting.add(call, self.pool.batcher)


def as_cold(destination: Destination) -> Destination:
    """The same, as answers name it that had to wait for a replica to start."""
    cold = copy.copy(destination)
    cold.head = COLD_START + destination.head
    return cold
