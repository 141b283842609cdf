"""Calls whose replica died while it computed them, and the one replica that is isolated to run each of them alone.

Used by `batcher.py` only. A row that kills its process is among them, nobody knows which: it must not meet the replicas
that serve everybody else.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import BatchTarget
    from tidegate.dataplane.calls.call import Call

COMEBACK_WAIT_S = 10.0
"""How long the calls wait for a replica to be started anew rather than take the last one that lives."""


class Isolation:
    """`target` is the isolated replica, None while there is none. `busy` is whether it computes one of the calls."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self.target: BatchTarget | None = None
        self.busy = False
        self._last_one_from_s = 0.0

    def take_in(self, calls: list[Call], now_s: float, *, wait: bool) -> None:
        """Calls of a replica that was lost; `wait` False where it is not expected to come back soon."""
        self.calls.extend(calls)
        if not self.calls:
            return
        left_s = min(call.deadline_s for call in self.calls) - now_s
        self._last_one_from_s = now_s + (min(COMEBACK_WAIT_S, left_s / 2) if wait else 0.0)

    def may_take(self, lives: int, now_s: float) -> bool:
        """Whether one of `lives` living replicas may be isolated: the last one only when waiting does not help."""
        return self.target is None and bool(self.calls) and (lives > 1 or now_s >= self._last_one_from_s)

    def next_call(self) -> Call | None:
        """The call that runs next, None while the replica is busy or nothing waits."""
        while self.calls and not self.busy and self.target is not None:
            call = self.calls.popleft()
            if not call.done:
                self.busy = True
                return call
        return None

    def purge(self) -> None:
        """Drop calls that nobody waits for any more, also while there is no replica."""
        self.calls = deque(call for call in self.calls if not call.done)

    def release(self) -> BatchTarget | None:
        """The replica, back to the others once nothing waits."""
        if self.target is None or self.calls or self.busy:
            return None
        target, self.target = self.target, None
        return target

    def lose(self, target_id: str) -> None:
        """Forget the replica if it is this one; what it computes is answered or lost elsewhere."""
        if self.target is not None and self.target.id == target_id:
            self.target = None
            self.busy = False
