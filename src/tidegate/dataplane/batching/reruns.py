"""Calls that left the queue once and wait for a target again: batches no target has seen, and calls that run alone.

Used by `batcher.py` only. Calls whose replica died while it computed them are `isolation.py`'s.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Batch
    from tidegate.dataplane.calls.call import Call


class Reruns:
    """`unreached`: batches whose target was gone before it was asked. `again`: calls of batches that failed."""

    def __init__(self) -> None:
        self.unreached: deque[Batch] = deque()
        self.again: deque[Call] = deque()

    def __bool__(self) -> bool:
        return bool(self.unreached or self.again)

    def calls(self) -> list[Call]:
        """All of them, those of batches first."""
        return [*(call for batch in self.unreached for call in batch.calls), *self.again]

    def purge(self) -> None:
        """Drop what nobody waits for any more."""
        self.unreached = deque(batch for batch in self.unreached if not all(call.done for call in batch.calls))
        self.again = deque(call for call in self.again if not call.done)

    def clear(self) -> list[Call]:
        """Let nothing wait, and return what did."""
        calls = self.calls()
        self.unreached.clear()
        self.again.clear()
        return calls
