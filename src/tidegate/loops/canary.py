"""The loop of canaries and guards: looks at one after the other. Run by the control process while it leads.

A loop of its own: an experiment whose look takes long, or fails, keeps no canary from being aborted. It decides
nothing: `core.canary` does. What goes wrong with one leaves the others alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from tidegate.clock import Clock, monotonic
from tidegate.errors import NotLeader, StoreUnavailable
from tidegate.services.canaries.guarding import GuardLooks
from tidegate.services.canaries.looking import CanaryLooks
from tidegate.store.database.engine import Store
from tidegate.store.experiments import canaries as rows

log = logging.getLogger(__name__)

LOOK_S, GUARD_LOOK_S = 2.0, 5.0
IDLE_S = 5.0
"""How often it is asked whether there is something to look at: a deployment begins its guard without waking it."""
COST_MAX = 0.25
"""Of the time, what reading rows may take: where it takes long, they are read less often, unless counts look bad."""
READ_S_MAX = 15.0


@dataclass
class CanarySteps:
    """The step: a look at each that is due."""

    store: Store
    canaries: CanaryLooks
    guards: GuardLooks
    ticks: Clock = monotonic
    _due: dict[int, float] = field(default_factory=dict)
    _read_at: dict[int, float] = field(default_factory=dict)
    _failed: dict[int, str] = field(default_factory=dict)

    def step(self) -> float:
        """Look; the seconds until the next look is due. Raises what makes the whole loop wait: no database, no lead."""
        with self.store.reading() as tx:
            active = {row.id: row.kind for row in rows.active(tx)}
        for known in (self._due, self._read_at, self._failed):
            for number in known.keys() - active.keys():
                del known[number]
        for number, kind in active.items():
            if self.ticks() >= self._due.get(number, 0.0):
                self._look(number, kind)
                self._due[number] = self.ticks() + (LOOK_S if kind == "canary" else GUARD_LOOK_S)
        if not active:
            return IDLE_S
        return min(IDLE_S, max(0.1, min(self._due.values()) - self.ticks()))

    def _look(self, number: int, kind: str) -> None:
        began = self.ticks()
        try:
            if kind == "guard":
                self.guards.look(number)
            elif self.canaries.look(number, is_due=began >= self._read_at.get(number, 0.0)):
                took_s = self.ticks() - began
                self._read_at[number] = self.ticks() + min(READ_S_MAX, took_s / COST_MAX)
            self._failed.pop(number, None)
        except (NotLeader, StoreUnavailable):
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            if self._failed.get(number) != why:
                self._failed[number] = why
                log.error("%s %d could not be looked at", kind, number, exc_info=error)
