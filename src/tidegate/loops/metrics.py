"""What the loops count. Built by the process that runs them; scraped through the control plane's /metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class Probe(Protocol):
    """How the control plane finds Redis."""

    failures: int

    @property
    def connected(self) -> bool:
        """Whether the last attempt reached it."""


class LoopMetrics:
    """Counters of trouble; the fleet itself is counted from its rows at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.failed_replicas = Counter(
            "tidegate_replica_failures", "Replicas that failed.", ["endpoint"], registry=registry
        )
        self.failed_passes = Counter(
            "tidegate_reconcile_failures", "Passes of the reconcile loop that failed.", ["scope"], registry=registry
        )
        self.loop_failures = Counter("tidegate_loop_failures", "Steps that failed.", ["loop"], registry=registry)
        self.loop_succeeded_at = Gauge(
            "tidegate_loop_last_success_timestamp_seconds", "When a step succeeded last.", ["loop"], registry=registry
        )
        self.gateway_restarts = Counter(
            "tidegate_gateway_restarts", "Gateway processes that ended by themselves.", ["gateway"], registry=registry
        )

        self.compactor_restarts = Counter(
            "tidegate_compactor_restarts", "Times that the compactor ended by itself.", registry=registry
        )

    def watch(self, probe: Probe) -> None:
        """Export whether Redis answers the control plane."""
        self._registry.register(_RedisCollector(probe))


class _RedisCollector:
    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def collect(self) -> Iterable[Metric]:
        connected = GaugeMetricFamily("tidegate_push_connected", "1: Redis answered the control plane.")
        connected.add_metric([], float(self._probe.connected))
        failures = CounterMetricFamily("tidegate_push_failures", "Times that Redis did not answer the control plane.")
        failures.add_metric([], self._probe.failures)
        return [connected, failures]
