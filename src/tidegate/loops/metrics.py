"""What the loops count. Built by the process that runs them; scraped through the control plane's /metrics."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidegate.core.fleet import Fleet


class LoopMetrics:
    """Gauges of the fleet and counters of trouble."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["endpoint", "version"]
        self._ready = Gauge("tidegate_replicas_ready", "Replicas that answer.", labels, registry=registry)
        self._desired = Gauge("tidegate_replicas_desired", "Replicas wanted.", labels, registry=registry)
        self.failed_replicas = Counter(
            "tidegate_replica_failures", "Replicas that failed.", ["endpoint"], registry=registry
        )
        self.failed_passes = Counter(
            "tidegate_reconcile_failures", "Passes of the reconcile loop that failed.", ["scope"], registry=registry
        )
        self.gateway_restarts = Counter(
            "tidegate_gateway_restarts", "Gateway processes started anew.", ["gateway"], registry=registry
        )

    def show(self, fleets: Iterable[Fleet]) -> None:
        """Set the gauges from what is planned; versions that are gone leave them."""
        self._ready.clear()
        self._desired.clear()
        for fleet in fleets:
            active = fleet.endpoint.target | fleet.endpoint.routed
            for variant in fleet.variants:
                ready = sum(r.state == "ready" and r.version == variant.version for r in fleet.replicas)
                wanted = fleet.endpoint.replicas if variant.version in active else 0
                self._ready.labels(fleet.endpoint.name, variant.version).set(ready)
                self._desired.labels(fleet.endpoint.name, variant.version).set(wanted)
