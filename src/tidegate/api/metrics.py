"""The control plane's `/metrics`: gauges made from rows at each scrape, so that a restart loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

from tidegate.services.overview.measures import Measured
from tidegate.wire import rest

__all__ = ["CONTENT_TYPE", "render"]

GATEWAY_STATUSES = ("starting", "ready", "down")


class _Once:
    """A collector of one scrape. What is not known (the database is away) has no sample."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured
        self._status = measured.status

    def collect(self) -> Iterator[Metric]:
        yield from self._platform()
        yield from self._leading()
        yield from self._variants()
        yield from self._scaling()
        yield self._endpoints()
        yield from self._jobs()
        yield from self._queue()
        yield self._scores()
        yield from self._watched()
        yield from self._alerts()
        yield from self._rollouts()
        yield from self._capture()

    def _platform(self) -> Iterator[Metric]:
        status, database = self._status, self._status.database
        release = GaugeMetricFamily("tidegate_info", "The release of the control plane.", labels=["release"])
        release.add_metric([status.version], 1)
        yield release
        if database is not None:
            up = float(database.status == "ready")
            yield _gauge("tidegate_database_up", "1: the database of the state answers.", up)
        if status.registry is not None and status.registry.status != "unknown":
            up = float(status.registry.status == "ready")
            yield _gauge("tidegate_registry_up", "1: the model registry and the store of its artifacts answer.", up)
        if status.models is not None:
            yield _gauge("tidegate_models", "Registered models.", status.models)
        gateways = GaugeMetricFamily("tidegate_gateways", "Gateway processes by status.", labels=["status"])
        for state in GATEWAY_STATUSES:
            gateways.add_metric([state], sum(gateway.status == state for gateway in status.gateways))
        yield gateways

    def _leading(self) -> Iterator[Metric]:
        leader = self._status.leader
        here, alive = leader is not None and leader.here, leader is not None and leader.alive
        yield _gauge("tidegate_leader", "1: the control plane asked leads; 0: it stands by.", float(here))
        yield _gauge("tidegate_lease_alive", "1: some control plane of the database leads.", float(alive))
        if leader is not None:
            yield _gauge("tidegate_lease_token", "Token of the lease, larger with each new leader.", leader.token)

    def _variants(self) -> Iterator[Metric]:
        by_version = ["endpoint", "version"]
        ready = GaugeMetricFamily(
            "tidegate_replicas_ready", "Replicas that answer; of a pool 1 or 0.", labels=by_version
        )
        desired = GaugeMetricFamily("tidegate_replicas_desired", "Replicas wanted; of a pool 1.", labels=by_version)
        restarts = GaugeMetricFamily(
            "tidegate_replica_restarts", "Replicas started in place of others.", None, by_version
        )
        by_variant = [*by_version, "variant"]
        routed = GaugeMetricFamily("tidegate_traffic_percent", "Traffic as it is routed.", labels=by_variant)
        target = GaugeMetricFamily(
            "tidegate_traffic_target_percent", "Traffic as it shall be routed.", labels=by_variant
        )
        for endpoint in self._measured.endpoints:
            for variant in {one.version: one for one in endpoint.variants}.values():
                place = [endpoint.name, variant.version]
                ready.add_metric(place, variant.replicas.ready)
                desired.add_metric(place, variant.replicas.desired)
                restarts.add_metric(place, variant.restarts)
            for variant in endpoint.variants:
                place = [endpoint.name, variant.version, variant.name]
                routed.add_metric(place, variant.weight)
                target.add_metric(place, variant.target_weight)
        yield from (ready, desired, restarts, routed, target)

    def _scaling(self) -> Iterator[Metric]:
        """What the autoscaler decided last, of versions whose replicas follow their load."""
        by_version = ["endpoint", "version"]
        desired = GaugeMetricFamily("tidegate_scale_desired", "Replicas by the autoscaler.", labels=by_version)
        ready = GaugeMetricFamily("tidegate_scale_ready", "Replicas it found ready.", labels=by_version)
        reason = GaugeMetricFamily("tidegate_scale_reason", "1 at the rule that decided.", None, [*by_version, "rule"])
        load = GaugeMetricFamily("tidegate_scale_load", "The load it saw.", None, [*by_version, "metric"])
        target = GaugeMetricFamily("tidegate_scale_target", "Wanted of a replica.", None, [*by_version, "metric"])
        for endpoint, one in self._measured.scaled:
            place = [endpoint, one.version]
            desired.add_metric(place, one.desired)
            ready.add_metric(place, one.ready)
            reason.add_metric([*place, one.rule], 1)
            if one.samples is None:
                continue
            target.add_metric([*place, one.samples.metric], one.samples.target)
            if one.samples.stable is not None:
                load.add_metric([*place, one.samples.metric], one.samples.stable)
        yield from (desired, ready, reason, load, target)

    def _endpoints(self) -> Metric:
        labels = ["endpoint", "status"]
        family = GaugeMetricFamily("tidegate_endpoint_status", "1 at the endpoint's status, else 0.", labels=labels)
        for endpoint in self._measured.endpoints:
            for status in get_args(rest.EndpointStatus):
                family.add_metric([endpoint.name, status], float(endpoint.status == status))
        return family

    def _jobs(self) -> Iterator[Metric]:
        if self._measured.jobs is None:
            return
        labels = ["kind", "state"]
        count = GaugeMetricFamily("tidegate_jobs", "Jobs that are kept, by kind and state.", labels=labels)
        ended_at = GaugeMetricFamily(
            "tidegate_job_last_finished_timestamp_seconds", "When one ended last.", None, labels
        )
        mean = GaugeMetricFamily("tidegate_job_duration_mean_seconds", "Mean time of those that ended.", None, labels)
        for (kind, state), figures in sorted(self._measured.jobs.items()):
            count.add_metric([kind, state], figures.count)
            if figures.last_finished_at is not None:
                ended_at.add_metric([kind, state], figures.last_finished_at)
            if figures.mean_s is not None:
                mean.add_metric([kind, state], figures.mean_s)
        yield from (count, ended_at, mean)
        waited = "tidegate_job_oldest_queued_seconds"
        yield _gauge(waited, "How long the oldest queued job waits; 0: none waits.", self._measured.oldest_queued_s)

    def _scores(self) -> Metric:
        labels = ["endpoint", "version", "metric"]
        family = GaugeMetricFamily("model_validation_score", "Score at the validation gate.", labels=labels)
        for score in self._measured.scores or ():
            family.add_metric([score.endpoint, score.version, score.metric], score.value)
        return family

    def _rollouts(self) -> Iterator[Metric]:
        """How experiments and canaries ended, and the guardrails of those that run. What is not known has no sample."""
        found = self._measured.rollouts
        if found is None:
            return
        labels = ["endpoint", "kind", "outcome"]
        ended = CounterMetricFamily("tidegate_rollouts", "Experiments and canaries that ended.", labels=labels)
        for (endpoint, kind, outcome), number in sorted(found.ended.items()):
            ended.add_metric([endpoint, kind, outcome], number)
        yield ended
        names = ["endpoint", "variant", "guardrail"]
        value = GaugeMetricFamily("tidegate_guardrail_value", "What it found of the version tried.", labels=names)
        bound = GaugeMetricFamily("tidegate_guardrail_bound", "The bound that decides, at every look.", labels=names)
        margin = GaugeMetricFamily("tidegate_guardrail_margin", "The margin or limit to keep.", labels=names)
        for one in found.guardrails:
            place = [one.endpoint, one.variant, one.guardrail]
            margin.add_metric(place, one.margin)
            for family, number_found in ((value, one.value), (bound, one.bound)):
                if number_found is not None:
                    family.add_metric(place, number_found)
        yield from (value, bound, margin)

    def _capture(self) -> Iterator[Metric]:
        """As the compactor of this data directory said last."""
        said = self._status.capture
        if said is None:
            return
        yield _gauge(
            "tidegate_compactor_up", "1: the compactor works; 0: it is silent or cannot write.", said.status == "ready"
        )
        counts = {
            "segments": ("Segments of the journal that became Parquet.", said.segments),
            "rows": ("Rows that became Parquet.", said.rows),
            "lost_bytes": ("Bytes of the journal that were damaged or of an unknown kind.", said.lost_bytes),
            "unfit_records": ("Sound records that made no sense.", said.unfit_records),
            "ahead_rows": ("Rows set aside because their time is ahead of now.", said.ahead_rows),
            "quarantined_segments": ("Segments set aside whole.", said.quarantined_segments),
            "expired_files": ("Parquet files that retention has deleted.", said.expired_files),
        }
        for name, (meaning, count) in counts.items():
            yield CounterMetricFamily(f"tidegate_capture_{name}", meaning, value=count)
        yield _gauge("tidegate_capture_stored_bytes", "Parquet that is kept.", said.stored_bytes)
        yield _gauge("tidegate_capture_backlog_segments", "Sealed segments that wait.", said.backlog_segments)
        yield _gauge("tidegate_capture_backlog_bytes", "Their size.", said.backlog_bytes)
        yield _gauge("tidegate_capture_lag_seconds", "How long the oldest of them has waited.", said.lag_s)

    def _watched(self) -> Iterator[Metric]:
        """What monitors found last: of each endpoint the columns that moved furthest."""
        drift = GaugeMetricFamily(
            "model_feature_drift", "How far a column moved: share of the rows.", labels=["endpoint", "feature"]
        )
        drifted = GaugeMetricFamily("model_features_drifted", "Columns that drifted.", labels=["endpoint"])
        quality = GaugeMetricFamily(
            "model_quality", "Measured in production, by labels.", labels=["endpoint", "version", "metric"]
        )
        for one in self._measured.watched:
            drifted.add_metric([one.endpoint], one.drifted)
            for feature, effect in one.drift.items():
                drift.add_metric([one.endpoint, feature], effect)
            for version, metrics in one.quality.items():
                for metric, value in metrics.items():
                    quality.add_metric([one.endpoint, version, metric], value)
        yield from (drift, drifted, quality)

    def _alerts(self) -> Iterator[Metric]:
        found = self._measured.alerts
        if found is None:
            return
        labels = ["endpoint", "state", "severity"]
        alerts = GaugeMetricFamily("tidegate_alerts", "Alerts that have not ended.", labels=labels)
        for key, number in sorted(found.alerts.items()):
            alerts.add_metric(list(key), number)
        kept = "Messages and actions that are kept; dead: given up."
        deliveries = GaugeMetricFamily("tidegate_alert_deliveries", kept, labels=["target", "state"])
        for target, number in sorted(found.deliveries.items()):
            deliveries.add_metric(list(target), number)
        yield from (alerts, deliveries)
        waits = "How long the oldest message about an alert waits; 0: none waits."
        yield _gauge("tidegate_alert_oldest_pending_seconds", waits, found.oldest_pending_s)

    def _queue(self) -> Iterator[Metric]:
        queue = self._status.queue
        if queue is None:
            return
        up = float(queue.status == "ready")
        yield _gauge("tidegate_job_broker_up", "1: the broker of the jobs answers; 0: it does not.", up)
        if queue.messages is not None:
            yield _gauge("tidegate_job_messages", "Messages of jobs that no worker took yet.", queue.messages)
        if queue.idle_workers is not None:
            yield _gauge("tidegate_job_workers_idle", "Workers that have room for a job.", queue.idle_workers)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def render(measured: Measured) -> bytes:
    """Prometheus text: the gauges, then the counters that the loops keep in this process."""
    registry = CollectorRegistry()
    registry.register(_Once(measured))
    return generate_latest(registry) + generate_latest(REGISTRY)
