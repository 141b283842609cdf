"""The control plane's `/metrics`: gauges made from rows at each scrape, so that a restart loses nothing."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

from tidegate.wire import rest

__all__ = ["CONTENT_TYPE", "render"]


class _Once:
    """A collector of one status."""

    def __init__(self, status: rest.Status) -> None:
        self._status = status

    def collect(self) -> list[Metric]:
        ready = GaugeMetricFamily("tidegate_replicas_ready", "Replicas that answer.", labels=["endpoint", "version"])
        desired = GaugeMetricFamily("tidegate_replicas_desired", "Replicas wanted.", labels=["endpoint", "version"])
        for endpoint in self._status.endpoints:
            for variant in endpoint.variants:
                ready.add_metric([endpoint.name, variant.version], variant.replicas.ready)
                desired.add_metric([endpoint.name, variant.version], variant.replicas.desired)
        jobs = GaugeMetricFamily("tidegate_jobs", "Jobs by state.", labels=["state"])
        for state in ("queued", "running", "succeeded", "failed"):
            jobs.add_metric([state], self._status.jobs.get(state, 0))
        return [ready, desired, jobs, *self._leading()]

    def _leading(self) -> list[Metric]:
        leader = self._status.leader
        here = GaugeMetricFamily("tidegate_leader", "1: the control plane asked leads; 0: it stands by.")
        here.add_metric([], float(leader is not None and leader.here))
        token = GaugeMetricFamily("tidegate_lease_token", "Token of the lease, larger with each new leader.")
        if leader is not None:
            token.add_metric([], leader.token)
        return [here, token]


def render(status: rest.Status) -> bytes:
    """Prometheus text: the gauges, then the counters that the loops keep in this process."""
    registry = CollectorRegistry()
    registry.register(_Once(status))
    return generate_latest(registry) + generate_latest(REGISTRY)
