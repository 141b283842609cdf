"""The loop of experiments: looks at each when it is due, and has done what follows.

Run by the control process while it leads. It decides nothing: `services.experiments.deciding` does. What goes wrong
with one leaves the others alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from tidegate.clock import Clock, monotonic, now
from tidegate.errors import NotLeader, StoreUnavailable, TidegateError
from tidegate.loops.clock_leaps import ClockLeaps
from tidegate.services.experiments.deciding import GAP_S_MAX, Deciding

log = logging.getLogger(__name__)

IDLE_S = 5.0
"""How often it is asked whether there is something to look at that another control plane was told of."""
LOOK_S_MIN, LOOK_S_MAX = 2.0, 300.0
COST_FACTOR = 10.0
"""Looking takes up to a tenth of the time, while a look takes half a minute or less: what takes longer is looked at
less often. Never less often than `LOOK_S_MAX`: what was not looked at for a quarter of an hour cannot be approved.

It goes by the shorter of the last two looks, and the first one after a start costs nothing: it imports libraries.
"""
FAILED_S = 30.0
LEAP_S_MIN = 60.0
STEADY_S = 60.0
"""After the clock was set that far nothing is decided for so long: it may be set back."""
SLACK_S = 5.0
SWEEP_S = 3600.0


@dataclass
class ExperimentLoop:
    """The loop's step. `ticks` is a clock that nobody sets."""

    deciding: Deciding
    clock: Clock = now
    ticks: Clock = monotonic
    _due: dict[int, float] = field(default_factory=dict)
    _looked: dict[int, float] = field(default_factory=dict)
    _failed: dict[int, str] = field(default_factory=dict)
    _cost_s: dict[int, float] = field(default_factory=dict)
    _leaps: ClockLeaps = field(init=False)
    _steady_at: float = 0.0
    _swept_at: float | None = None

    def __post_init__(self) -> None:
        self._leaps = ClockLeaps(self.clock, self.ticks)

    def on_wake(self) -> None:
        """Somebody did something to an experiment: all are looked at."""
        self._due.clear()

    def step(self) -> float:
        """Look at what is due; the seconds until the next step."""
        if self._waits_for_clock():
            return min(max(LOOK_S_MIN, self._steady_at - self.ticks()), IDLE_S)
        self._sweep()
        live = self.deciding.live()
        self._forget_but(set(live))
        for number in live:
            if self.ticks() >= self._due.get(number, 0.0):
                self._look(number)
        waits = [max(LOOK_S_MIN, self._due[number] - self.ticks()) for number in live if number in self._due]
        return min([IDLE_S, *waits])

    def _waits_for_clock(self) -> bool:
        """Whether the clock was set a moment ago."""
        leap_s = self._leaps.pending_s()
        if leap_s:
            self._leaps.settled()
        if abs(leap_s) >= LEAP_S_MIN:
            self._steady_at = self.ticks() + STEADY_S
            log.warning("the clock was set by %+.0f s: experiments are not decided for %.0f s", leap_s, STEADY_S)
        return self.ticks() < self._steady_at

    def _look(self, number: int) -> None:
        began = self.ticks()
        looked = self._looked.get(number)
        elapsed_s_max = GAP_S_MAX if looked is None else began - looked + SLACK_S
        try:
            self.deciding.look(number, elapsed_s_max)
            self._failed.pop(number, None)
            cost_s = self.ticks() - began
            usual_s = min(cost_s, self._cost_s.get(number, 0.0))
            self._cost_s[number] = cost_s
            wait_s = min(LOOK_S_MAX, max(LOOK_S_MIN, COST_FACTOR * usual_s))
        except (NotLeader, StoreUnavailable):
            raise
        except Exception as error:
            wait_s = FAILED_S
            why = error.message if isinstance(error, TidegateError) else f"{type(error).__name__}: {error}"
            if self._failed.get(number) != why:
                self._failed[number] = why
                log.error("experiment %d could not be looked at", number, exc_info=error)
            self.deciding.note_trouble(number, why)
        self._looked[number] = began
        self._due[number] = self.ticks() + wait_s

    def _forget_but(self, live: set[int]) -> None:
        for known in (self._due, self._looked, self._failed, self._cost_s):
            for number in known.keys() - live:
                del known[number]

    def _sweep(self) -> None:
        if self._swept_at is None or self.ticks() - self._swept_at > SWEEP_S:
            self._swept_at = self.ticks()
            self.deciding.forget_gone()
