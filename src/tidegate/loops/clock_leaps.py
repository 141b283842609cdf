"""Notices when the machine's time is set while a loop runs, so that waits under way are neither cut nor prolonged."""

from __future__ import annotations

from tidegate.clock import Clock

TOLERANCE_S = 1.0
"""Smaller steps (what keeps a clock in step makes them) change no wait that anybody would notice."""


class ClockLeaps:
    """Compares the wall clock with one that nobody sets. For one thread."""

    def __init__(self, clock: Clock, ticks: Clock) -> None:
        self._clock, self._ticks = clock, ticks
        self.settled()

    def pending_s(self) -> float:
        """By how much the wall clock was set forward (negative: back) since `settled`; 0 within the tolerance."""
        leap_s = (self._clock() - self._ticks()) - self._ahead_s
        return leap_s if abs(leap_s) > TOLERANCE_S else 0.0

    def settled(self) -> None:
        """What was pending has been dealt with."""
        self._ahead_s = self._clock() - self._ticks()
