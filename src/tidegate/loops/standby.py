"""What a control plane does while another leads: its gateways hear of changes, and its own replicas end in good time.

They serve on until the leader serves in their place (a client of a gateway here would else meet nobody), and no longer
than a replica may take to become ready. Run by the control process; writes no row.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from tidegate.clock import Clock, monotonic
from tidegate.core.ports import Backend
from tidegate.loops.adoption import stop_replicas
from tidegate.services.gateways import Broadcast, Snapshots

log = logging.getLogger(__name__)

REPLICAS_END_S = 10.0


@dataclass
class Standby:
    """`holds_s` bounds how long own replicas wait for the leader's; `drain_s` how long gateways get to notice."""

    backend: Backend
    snapshots: Snapshots
    changed: Broadcast
    holds_s: float
    drain_s: float
    clock: Clock = monotonic
    _since: float = field(default=-1.0)
    _empty: bool = field(default=False)

    def begin(self) -> None:
        """Another leads (again): whatever runs here is of a former term."""
        self._since, self._empty = self.clock(), False
        self.snapshots.holding.set()

    def step(self, stop: threading.Event) -> None:
        """One look; ends the replicas that are not needed any more. Raises `StoreUnavailable`."""
        if self._empty or not self.snapshots.known():  # without a snapshot there is no leader that could serve
            return
        if self.backend.orphans([]):
            waited = self.clock() - self._since >= self.holds_s
            if not waited and not self.snapshots.served_elsewhere():
                return
            log.info("ending the replicas here: %s", "they waited long enough" if waited else "the leader serves")
            self._route_away(stop)
            stop_replicas(self.backend, REPLICAS_END_S, stop)
        self._empty = self.backend.unavailable_reason() is None
        self._route_away(stop, wait_s=0.0)

    def _route_away(self, stop: threading.Event, wait_s: float | None = None) -> None:
        """Tell the gateways, and give them time to notice."""
        self.snapshots.holding.clear()
        self.changed.notify()
        stop.wait(self.drain_s if wait_s is None else wait_s)
