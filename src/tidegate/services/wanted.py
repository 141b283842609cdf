"""Endpoints that requests wait for at gateways, as those told of late: they tell it each second. In memory only.

Written by API threads, read by the autoscaler's loop, which `changed` wakes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.clock import Clock

TOLD_S = 3.0
"""What was told within so long holds: gateways tell it each second for as long as a request waits."""
ENDPOINTS_MAX = 10_000


@dataclass
class Wanted:
    """The clock is monotonic: setting the machine's time changes nothing.

    `changed` is called where an endpoint was not wanted before, and not for each gateway that tells it again.
    """

    clock: Clock
    changed: Callable[[], None]
    _at: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, endpoint: str) -> None:
        """A request waits for it. Past the bound, the one told of longest ago is forgotten."""
        with self._lock:
            present = self.clock()
            before = self._at.pop(endpoint, None)
            self._at[endpoint] = present
            if len(self._at) > ENDPOINTS_MAX:
                self._at.pop(next(iter(self._at)))
        if before is None or before <= present - TOLD_S:
            self.changed()

    def now(self) -> frozenset[str]:
        """Those that were told of within `TOLD_S`."""
        with self._lock:
            oldest = self.clock() - TOLD_S
            self._at = {name: at for name, at in self._at.items() if at > oldest}
            return frozenset(self._at)
