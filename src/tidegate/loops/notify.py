"""Sends what lies in the outbox of alerts, and does what is due. Run by the leader.

At least once: a message is marked once its receiver has it, and a crash in between sends it again under the same id.
Each receiver's messages keep their order, and one that hangs keeps no other waiting.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tidegate.clock import Clock, monotonic
from tidegate.errors import DeliveryFailed, DeliveryRefused, NotLeader
from tidegate.services.alerting.acting import Holds, Rollbacks
from tidegate.services.alerting.deliveries import Deliveries, Due
from tidegate.services.alerting.state import Alerting

log = logging.getLogger(__name__)

POLL_S = 1.0
TICK_S = 15.0
FORGET_S = 600.0
SENDING_MAX = 8
"""Receivers that are being sent to at a time."""

Send = Callable[[str, Mapping[str, str], str, Mapping[str, Any]], str]
"""By kind of notifier, configuration, the message's id, and the payload; returns what is to be said of a message
that was delivered all the same: `adapters.notifiers.sending`.
"""


@dataclass(frozen=True)
class NotifyDependencies:
    """The dependencies of `Notify`. Its services write through the leader's fenced store; `wake` is the loop's."""

    alerting: Alerting
    deliveries: Deliveries
    rollbacks: Rollbacks
    holds: Holds
    send: Send
    wake: threading.Event
    ticks: Clock = monotonic
    jitter: Callable[[], float] = field(default=random.random)


class Notify:
    """One look at a time; what is sent is sent in threads of its own."""

    def __init__(self, dependencies: NotifyDependencies) -> None:
        self._dependencies = dependencies
        self._busy: dict[str, Future[None]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._tick_at = self._forget_at = dependencies.ticks()

    def step(self) -> float:
        """Begin what is due and not under way; how long until the next look."""
        dependencies, now = self._dependencies, self._dependencies.ticks()
        self._reap()
        if now >= self._tick_at:
            self._tick_at = now + TICK_S
            dependencies.alerting.tick()
        if now >= self._forget_at:
            self._forget_at = now + FORGET_S
            dependencies.alerting.forget_old()
        for due in dependencies.deliveries.due(self._busy)[: SENDING_MAX - len(self._busy)]:
            self._begin(due)
        return POLL_S if self._busy else dependencies.deliveries.wait_s(POLL_S)

    def close(self) -> None:
        """What is under way is cut off with the process, and sent again after the next start."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _reap(self) -> None:
        ended = [target for target, future in self._busy.items() if future.done()]
        for target in ended:
            future = self._busy.pop(target)
            error = None if future.cancelled() else future.exception()
            if error is not None and not isinstance(error, NotLeader):
                log.error("%s: what was sent could not be marked, and is sent again", _named(target), exc_info=error)

    def _begin(self, due: Due) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(SENDING_MAX, "notify")
        future = self._pool.submit(self._deliver, due)
        self._busy[due.target] = future
        future.add_done_callback(lambda _future: self._dependencies.wake.set())

    def _deliver(self, due: Due) -> None:
        """Deliver one notice; runs in a thread of the pool."""
        dependencies = self._dependencies
        try:
            if due.kind == "rollback":
                dependencies.rollbacks.run(due.id, due.payload)
                return
            if due.kind == "hold":
                dependencies.holds.run(due.id, due.payload)
                return
            said = dependencies.send(due.kind, due.config, due.delivery, due.payload)
        except NotLeader:
            raise
        except Exception as error:
            self._failed(due, error)
        else:
            if said:
                log.warning("%s: message %d is delivered, but %s", _named(due.target), due.id, said)
            dependencies.deliveries.done(due.id, said)

    def _failed(self, due: Due, error: Exception) -> None:
        foreseen = isinstance(error, DeliveryFailed)
        why = str(error) if foreseen else f"{type(error).__name__}: {error}"
        trace = None if foreseen else error
        log.warning("%s: message %d is not delivered: %s", _named(due.target), due.id, why, exc_info=trace)
        for_good = isinstance(error, DeliveryRefused)
        self._dependencies.deliveries.failed(due.id, why, for_good=for_good, jitter=self._dependencies.jitter())


def _named(target: str) -> str:
    """A target as logs have it: an action's without its URL, which may be secret."""
    return target.partition("=")[0]
