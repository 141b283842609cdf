"""Endpoints that sleep while requests wait for them at a gateway. In memory only.

Gateways report each one every second for as long as a request waits (`gateway/routing/waking.py`). Written by API
threads, read by the autoscaler's loop, which `changed` wakes. How many replicas an endpoint wants is another matter
(`core.reconcile.fleet.Endpoint.wanted`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.clock import Clock

WAITS_S = 3.0
"""For so long after a report a request is taken to wait. Gateways report each second."""
ENDPOINTS_MAX = 10_000


@dataclass
class WantedEndpoints:
    """The clock is monotonic: setting the machine's time changes nothing.

    `changed` is called when an endpoint becomes wanted, and not for each further report of it.
    """

    clock: Clock
    changed: Callable[[], None]
    _at: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, endpoint: str) -> None:
        """A request waits for it. Past the bound, the endpoint whose report is the oldest is forgotten."""
        with self._lock:
            present = self.clock()
            before = self._at.pop(endpoint, None)
            self._at[endpoint] = present
            if len(self._at) > ENDPOINTS_MAX:
                self._at.pop(next(iter(self._at)))
        if before is None or before <= present - WAITS_S:
            self.changed()

    def now(self) -> frozenset[str]:
        """Those reported within the last `WAITS_S`."""
        with self._lock:
            oldest = self.clock() - WAITS_S
            self._at = {name: at for name, at in self._at.items() if at > oldest}
            return frozenset(self._at)
