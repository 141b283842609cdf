"""What a comparison found, kept for a while in proportion to what it cost: those who look again do not read it again.

Used by `shadows`. In memory, in each control plane its own; never in the database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tidegate import clock as clocks
from tidegate.clock import Clock

T = TypeVar("T")

KEPT_TIMES = 10.0
"""As many times what it took to find it: comparisons take at most about a tenth of one core's time a shadow."""
KEPT_S_MAX = 60.0
ENTRIES_MAX = 256


@dataclass
class _Entry(Generic[T]):
    """`lock` is held by who computes: others that ask meanwhile wait for the same result."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    found: T | None = None
    ended_at: float = 0.0
    took_s: float = 0.0


class Kept(Generic[T]):
    """Results by key. Thread-safe. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Clock = clocks.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._entries: dict[Hashable, _Entry[T]] = {}

    def get(self, key: Hashable, find: Callable[[], T]) -> T:
        """What was found lately, or what `find` finds now. What it raises is raised, and not kept."""
        entry = self._entry(key)
        with entry.lock:
            if entry.found is not None and self._clock() - entry.ended_at < min(KEPT_S_MAX, KEPT_TIMES * entry.took_s):
                return entry.found
            began_at = self._clock()
            entry.found = find()
            entry.ended_at = self._clock()
            entry.took_s = entry.ended_at - began_at
            return entry.found

    def _entry(self, key: Hashable) -> _Entry[T]:
        """The newest `ENTRIES_MAX` that were asked for are kept."""
        with self._lock:
            entry = self._entries.pop(key, None) or _Entry()
            self._entries[key] = entry
            while len(self._entries) > ENTRIES_MAX:
                del self._entries[next(iter(self._entries))]
            return entry
