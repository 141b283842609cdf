"""The monitor loop: evaluates each endpoint when it is due. Run by the control process while it leads.

It decides nothing: `services.monitoring` does. What goes wrong with one endpoint is told in its status, and leaves the
others alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from tidegate.clock import Clock, now
from tidegate.errors import NotLeader, StoreUnavailable, TidegateError, UnknownEndpoint
from tidegate.services.monitoring.monitoring import Monitoring, failure_words

log = logging.getLogger(__name__)

LOOK_S_MIN, LOOK_S_MAX = 1.0, 60.0
SWEEP_S = 3600.0


@dataclass
class MonitorLoop:
    """The loop's step: evaluates one endpoint that is due."""

    monitoring: Monitoring
    clock: Clock = now
    _failed: dict[str, str] = field(default_factory=dict)
    _swept_at: float = 0.0

    def step(self) -> float:
        """Evaluate what is due; how long until the next look."""
        due, _ = self.monitoring.due(self.clock())
        for endpoint in due:
            self._evaluate(endpoint)
        if self.clock() - self._swept_at > SWEEP_S:
            self._swept_at = self.clock()
            self.monitoring.baselines.sweep()
        _, wait_s = self.monitoring.due(self.clock())
        return min(LOOK_S_MAX, max(LOOK_S_MIN, wait_s))

    def _evaluate(self, endpoint: str) -> None:
        at = self.clock()
        try:
            self.monitoring.evaluate(endpoint, at)
            self._failed.pop(endpoint, None)
        except (NotLeader, StoreUnavailable):
            raise
        except UnknownEndpoint:  # deleted meanwhile
            self._failed.pop(endpoint, None)
        except Exception as error:
            why = (
                failure_words(error)
                if isinstance(error, TidegateError | OSError)
                else f"{type(error).__name__}: {error}"
            )
            if self._failed.get(endpoint) != why:
                self._failed[endpoint] = why
                log.error("endpoint %s could not be evaluated", endpoint, exc_info=error)
            self.monitoring.note_trouble(endpoint, at, why)
