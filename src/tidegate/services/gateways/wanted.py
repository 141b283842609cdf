"""Endpoints that sleep while requests wait for them at a gateway. In memory only.

Gateways report each one every second for as long as a request waits (`gateway/routing/waking.py`). Written by API
threads, read by the autoscaler's loop, which `changed` wakes. How many replicas an endpoint wants is another matter
(`core.reconcile.fleet.EndpointFacts.wanted`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tidegate.clock import Clock
from tidegate.services.leadership import Leadership
from tidegate.wire.gateways.gateway_reports import WantedReport

WAITS_S = 3.0
"""For so long after a report a request is taken to wait. Gateways report each second."""
ENDPOINTS_MAX = 10_000
ENDPOINT_CHARS_MAX = 63


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


@dataclass(frozen=True)
class WantedIntake:
    """Takes what gateways report to this control plane: wakes the endpoint, or has the leader wake it.

    `pass_on` tells the control plane at a URL, and raises `NotLeader` where that does not take it.
    """

    wanted: WantedEndpoints
    leadership: Leadership
    pass_on: Callable[[str, WantedReport], None]

    def take(self, report: WantedReport) -> None:
        """Raises `NotLeader` where nobody wakes it now. What was passed on once is not passed on again."""
        leader = self.leadership.leader_elsewhere()
        if leader is not None and not report.host:
            self.pass_on(leader.url, replace(report, host=self.leadership.me.host))
            return
        self.leadership.must_lead()
        self.wanted.tell(report.endpoint[:ENDPOINT_CHARS_MAX])
