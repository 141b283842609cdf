"""What is known of a server that did not answer: why, and from when on it is asked again."""

from __future__ import annotations

import logging
import threading

from tidegate.clock import Clock
from tidegate.core.backoff import Backoff
from tidegate.errors import EngineUnavailable

log = logging.getLogger(__name__)


class Outage:
    """After a call that got no answer none is made for a moment: a loop that asks often is not held up each time.

    Said once in the log when it begins, and when it is over. Safe to share between threads.
    """

    def __init__(self, clock: Clock, backoff: Backoff) -> None:
        self._clock, self._backoff = clock, backoff
        self._lock = threading.Lock()
        self._failures = 0
        self._retry_at = 0.0
        self._fault: EngineUnavailable | None = None

    @property
    def fault(self) -> EngineUnavailable | None:
        """What the last call came to; None while all is well, or nothing was asked."""
        return self._fault

    def check(self) -> None:
        """Raises what the last call came to, until it may be asked again."""
        fault = self._fault
        if fault is not None and self._clock() < self._retry_at:
            raise type(fault)(fault.message, **fault.details)

    def failed(self, fault: EngineUnavailable) -> EngineUnavailable:
        """Another call got no answer; returns `fault`, to be raised."""
        with self._lock:
            self._failures += 1
            self._retry_at = self._clock() + self._backoff.delay_s(self._failures, 0.0)
            if self._fault is None:
                log.warning("%s", fault.message)
            self._fault = fault
        return fault

    def over(self, who: str) -> None:
        """`who` has answered."""
        if self._fault is None:
            return
        with self._lock:
            self._failures, self._fault = 0, None
        log.info("%s answers again", who)
