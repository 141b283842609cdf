"""What a control plane does while another leads: serves its gateways the leader's snapshots, and ends its own replicas.

They serve on until the leader serves in their place (a client of a gateway here would else meet nobody), and no longer
than a replica may take to become ready. What runs on an engine that hosts share is the leader's, and left alone.
Run by the control process; writes no row.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.clock import Clock, monotonic
from tidegate.core.ports import Backend
from tidegate.core.reconcile.fleet import GatewayFacts, ReconcileLimits
from tidegate.core.reconcile.leaving import all_let_go
from tidegate.loops.reconcile.adoption import stop_replicas
from tidegate.services.gateways.snapshots import Broadcast, Snapshots

log = logging.getLogger(__name__)

REPLICAS_END_S = 10.0


@dataclass
class Standby:
    """`holds_s` bounds how long own replicas wait for the leader's, `limits` how long for gateways to let go."""

    backend: Backend
    snapshots: Snapshots
    changed: Broadcast
    gateways: Callable[[], tuple[GatewayFacts, ...]]
    holds_s: float
    limits: ReconcileLimits
    clock: Clock = monotonic
    _since: float = field(default=-1.0)
    _left: tuple[float, int] | None = field(default=None)  # when gateways were asked to let go, and by which revision
    _empty: bool = field(default=False)

    def begin(self) -> None:
        """Another leads (again): whatever runs here is of a former term."""
        self._since, self._left, self._empty = self.clock(), None, False
        self.snapshots.holding.set()

    def step(self, stop: threading.Event) -> None:
        """One look; ends the replicas that are not needed any more. Raises `StoreUnavailable`."""
        if self._empty or not self.snapshots.known():  # without a snapshot there is no leader that could serve
            return
        if self.backend.on_this_host():
            if not self._may_end():
                return
            stop_replicas(self.backend, REPLICAS_END_S, stop)
        self._empty = self.backend.unavailable_reason() is None
        self._route_away()

    def _may_end(self) -> bool:
        """Whether gateways were asked to let go of these replicas, and have done so."""
        if self._left is None:
            waited = self.clock() - self._since >= self.holds_s
            if not waited and not self.snapshots.served_elsewhere():
                return False
            log.info("ending the replicas here: %s", "they waited long enough" if waited else "the leader serves")
            self._route_away()
            self._left = self.clock(), self.snapshots.newest()
        left_at, revision = self._left
        found = all_let_go(self.gateways(), revision, self.clock() - left_at, self.limits)
        if found.free:
            log.info("ending the replicas here now: %s", found.why)
        return found.free

    def _route_away(self) -> None:
        """Notify the gateways."""
        self.snapshots.holding.clear()
        self.changed.notify()
