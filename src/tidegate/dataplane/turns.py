"""Large requests are read one in each turn of the loop, so that small ones are answered in between.

Reading a megabyte of JSON takes the loop milliseconds: four clients that send such requests would else hold up all
others four times as long as one does. Used by the hot path alone; knows nothing of requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

LARGE_BYTES_MIN = 32 << 10


class Turns:
    """Work that waits for a turn of its own. A connection has one request at a time here, so connections bound it.

    What a connection leaves behind that has gone meanwhile takes no turn, or there would be more and more of it.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], bool]] = deque()

    def take(self, loop: asyncio.AbstractEventLoop, work: Callable[[], bool]) -> None:
        """Do it in a turn of the loop in which no other such work is done. `work` says whether anybody wanted it."""
        self._waiting.append(work)
        if len(self._waiting) == 1:
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while not self._waiting[0]() and len(self._waiting) > 1:
                self._waiting.popleft()
        finally:  # whatever it raised: the others have their turns
            self._waiting.popleft()
            if self._waiting:
                loop.call_soon(self._next, loop)
