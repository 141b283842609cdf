"""What the loops count. Built by the process that runs them; scraped through the control plane's /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class LoopMetrics:
    """Counters of trouble; the fleet itself is counted from its rows at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.failed_replicas = Counter(
            "tidegate_replica_failures", "Replicas that failed.", ["endpoint"], registry=registry
        )
        self.failed_passes = Counter(
            "tidegate_reconcile_failures", "Passes of the reconcile loop that failed.", ["scope"], registry=registry
        )
        self.gateway_restarts = Counter(
            "tidegate_gateway_restarts", "Gateway processes that ended by themselves.", ["gateway"], registry=registry
        )
