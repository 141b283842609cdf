"""Cooperative scheduling: large requests are read a piece in each turn of the loop, and small ones answered in between.

Reading a megabyte of JSON takes the loop milliseconds, in which nobody else is answered. Used by every protocol; knows
nothing of requests.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator

LARGE_BYTES_MIN = 32 << 10
AT_A_TIME_MAX = 8


def while_wanted(pieces: Iterator[bool], is_wanted: Callable[[], bool]) -> Iterator[bool]:
    """Large work, piece by piece, for as long as its client is there."""
    while is_wanted() and (more := next(pieces, None)) is not None:
        yield more


class CooperativeScheduler:
    """Runs work round robin, one step in each turn of the event loop: short work does not wait until long work is done.

    Bounded by the bytes of requests that a process holds (`pipeline/buffered.py`). Work is an iterator that does a
    piece of itself for each step, and says after it whether there is more. Of more than `AT_A_TIME_MAX`, the later ones
    begin when others are over: each that has begun holds what it has made so far. Work that nobody wants any more ends
    without another step and takes no turn, or what closed connections left behind would add up.
    """

    def __init__(self) -> None:
        self._waiting: deque[Iterator[bool]] = deque()
        self._turn = 0

    def take(self, loop: asyncio.AbstractEventLoop, work: Iterator[bool]) -> None:
        """Do it, each step in a turn of the loop in which no other such work is done."""
        self._waiting.append(work)
        if len(self._waiting) == 1:
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            more = self._step()
        finally:
            if self._waiting:
                loop.call_soon(self._next, loop)
        if more:
            # The loop does not sleep as long as there are pieces, and a replica on the same core, for whose answer
            # others wait, would get it only once this process's time slice is over: 3 ms.
            os.sched_yield()

    def _step(self) -> bool:
        """One piece of the next work that is still wanted; whether there is more to do. Keeps no work that is over."""
        while self._waiting:
            self._turn %= min(len(self._waiting), AT_A_TIME_MAX)
            more = False
            try:
                more = next(self._waiting[self._turn])
            except StopIteration:
                continue
            finally:  # whatever it raised: the others have their turns
                if more:
                    self._turn += 1
                else:
                    del self._waiting[self._turn]
            return bool(self._waiting)
        return False
