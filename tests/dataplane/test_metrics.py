"""Counts of versions that are long gone are forgotten; of those that may come back, or were just told of, never."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.dataplane.pipeline.metrics import SERIES_KEPT_S, Metrics, MetricState, render
from tidegate.errors import Overloaded
from tidegate.wire.gateways.decision import AssignmentContext


def told(metrics: Metrics) -> set[tuple[str, str]]:
    """Endpoints and versions that a scrape lists."""
    families = text_string_to_metric_families(render(metrics.state()).decode())
    samples = [sample for family in families if family.name == "model_requests" for sample in family.samples]
    return {(sample.labels["endpoint"], sample.labels["version"]) for sample in samples}


def count(metrics: Metrics, endpoint: str, version: str) -> None:
    metrics.answered_at_once((endpoint, version, version), 1, 0.0, 0.001)
    metrics.refused(FailedRequest(AssignmentContext(endpoint, "id"), None, Overloaded(), 0.0, 0.0))


def test_versions_that_come_and_go_leave_no_counts_behind_for_ever() -> None:
    metrics = Metrics()
    for number in range(500):
        endpoint = f"endpoint-{number}"
        metrics.route({("stays", "1"), ("stays", ""), (endpoint, "1"), (endpoint, "")}, number * 60.0)
        count(metrics, endpoint, "1")
        count(metrics, "stays", "1")
    kept = told(metrics)
    assert {("stays", "1"), ("stays", ""), ("endpoint-499", "1"), ("endpoint-450", "1")} <= kept
    assert ("endpoint-1", "1") not in kept
    assert ("endpoint-1", "") not in kept
    assert len(kept) < 200


def test_a_version_that_comes_back_in_time_counts_on() -> None:
    metrics = Metrics()
    metrics.route({("e", "1"), ("e", "")}, 0.0)
    count(metrics, "e", "1")
    metrics.route({("e", "")}, 10_000.0)
    metrics.route({("e", "1"), ("e", "")}, 10_000.0 + SERIES_KEPT_S)
    metrics.route({("e", "1"), ("e", "")}, 100_000.0)
    count(metrics, "e", "1")
    assert metrics.state().series["e", "1", "1"].codes == {200: 2}


def test_what_an_earlier_process_counted_is_kept_until_it_is_known_what_is_routed_to() -> None:
    before = Metrics()
    count(before, "e", "1")
    metrics = Metrics()
    metrics.resume(MetricState(series=before.state().series))
    metrics.route({("e", "")}, 50_000.0)
    assert ("e", "1") in told(metrics)
    metrics.route({("e", "")}, 50_001.0 + SERIES_KEPT_S)
    assert told(metrics) == {("e", "")}
