"""What the HTTP/2 connections of a server share: turns of the loop, and a budget for frames that bring nothing.

It bounds floods (resets, pings, settings, empty frames) by client address: a client gains nothing by opening more
connections. Used by `connection.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable

from tidegate.dataplane.http2.frames import Code, Http2Fault

TURN_UNITS_MAX = 128
"""Work on frames in a turn of the loop, by all connections that send much: one to two milliseconds."""
SMALL_UNITS_MAX = 16
"""A read of no more than this is worked off at once: it is what clients with a call or two send."""
CONNECTION_UNITS, CLIENT_UNITS_MAX, PROCESS_UNITS_MAX = 200, 8000, 16_000
"""Wasted work between two sweeps (a second), in frames of the cheapest kind: what each connection may have in any case,
then what an address and all addresses may. Who goes on after both is cut off."""

Work = Callable[[int], int]
"""Does some work, up to about so many units; returns how many it was, 0 once there is no more."""


def _in_this_loop(callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(callback)


class TurnShare:
    """One for each server. `call_soon` has the loop call something in its next turn; `turn_units` is how much may be
    done at once in this one.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object] = _in_this_loop) -> None:
        self._call_soon = call_soon
        self._waiting: deque[Work] = deque()
        self.turn_units = TURN_UNITS_MAX
        self._scheduled = False
        self._wasted = 0
        self._wasted_by: dict[str | None, int] = {}

    # -- turns -----------------------------------------------------------------------------------------------------

    def spend(self, units: int) -> None:
        """So much was done at once. Not called for up to `SMALL_UNITS_MAX`."""
        self.turn_units = max(SMALL_UNITS_MAX, self.turn_units - units)
        self._schedule()

    def wait(self, work: Work) -> None:
        """Do the rest later, with all others that wait: one in each turn, each in its order."""
        self._waiting.append(work)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._next)

    def _next(self) -> None:
        self._scheduled = False
        self.turn_units = TURN_UNITS_MAX
        if not self._waiting:
            return
        work = self._waiting.popleft()
        try:
            units = work(TURN_UNITS_MAX)
            self.turn_units = max(SMALL_UNITS_MAX, TURN_UNITS_MAX - units)
            if units:
                self._waiting.append(work)
                os.sched_yield()  # the loop does not sleep now, and others wait for replicas on the same core
        finally:
            if self._waiting or self.turn_units < TURN_UNITS_MAX:
                self._schedule()

    # -- budgets ---------------------------------------------------------------------------------------------------

    def waste(self, address: str | None, units: int, of_connection: int) -> None:
        """Count work that was for nothing; `of_connection` is what its connection had wasted, with this.

        Raises `Http2Fault` for a connection that has had its own part when its address or all together have had theirs.
        """
        wasted = self._wasted_by[address] = self._wasted_by.get(address, 0) + units
        self._wasted += units
        if of_connection > CONNECTION_UNITS and (wasted > CLIENT_UNITS_MAX or self._wasted > PROCESS_UNITS_MAX):
            raise Http2Fault(Code.ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    def sweep(self) -> None:
        """Forget the wasted work counted so far; called once a second."""
        self._wasted = 0
        self._wasted_by.clear()
