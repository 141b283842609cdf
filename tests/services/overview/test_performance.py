"""Performance when there is little to go by: no Prometheus, one that knows nothing, one that knows only a while."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.control import ME, add_version, container_at
from tidegate.adapters.prometheus.endpoint_history import PRESENT, EndpointHistory
from tidegate.cli.endpoints.performance import render, seconds
from tidegate.core.performance import Curve
from tidegate.errors import Conflict, InvalidArgument, MetricsUnavailable, UnknownEndpoint
from tidegate.services.overview.performance import PerformanceReports
from tidegate.wire.rest import DeployRequest
from tidegate.wiring import Container

NOW_S = 1_000_000.0


class Scrapes:
    """A Prometheus that scraped from `first_s` on: ten requests of version 2 in each part of the time asked for."""

    url = "http://prometheus.example:9090"

    def __init__(self, first_s: float | None) -> None:
        self.first_s = first_s
        self.looks: list[str] = []

    def number(self, query: str, at_s: float) -> float | None:
        """As a subquery does, which looks at whole multiples of its step only."""
        self.looks.append(query)
        found = re.search(r"\[(\d+)s:(\d+)s\]", query)
        assert found is not None
        within_s, step_s = map(int, found.groups())
        if self.first_s is None:
            return None
        seen = [
            look for look in range(int(at_s) // step_s * step_s, int(at_s) - within_s, -step_s) if look >= self.first_s
        ]
        # The newest sample at the earliest look: one a second.
        return self.first_s + float(int(min(seen) - self.first_s)) if seen else None

    def curves(self, query: str, edges_s: list[float]) -> list[Curve]:
        if query == PRESENT:
            return [Curve({}, [1.0] * len(edges_s))]
        if "model_requests_total" not in query:
            return []
        labels = {"__name__": "model_requests_total", "version": "2", "code": "200"}
        return [Curve(labels, [10.0 * i for i in range(len(edges_s))])]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    container = container_at(tmp_path_factory.mktemp("performance") / "data")
    add_version(container, "churn", "1")
    container.endpoints.deploy("churn", DeployRequest("churn"), ME)
    yield container
    container.close()


def over(container: Container, source: Scrapes | None) -> PerformanceReports:
    return PerformanceReports(container.endpoints, EndpointHistory(source) if source else None, lambda: NOW_S)


def test_without_prometheus_it_says_what_to_set(container: Container) -> None:
    with pytest.raises(Conflict, match=r"PROMETHEUS_URL is not set.*up --observability"):
        over(container, None).of("churn", 3600)
    with pytest.raises(UnknownEndpoint):
        over(container, None).of("nobody", 3600)


@pytest.mark.parametrize("since_s", [0.0, -5.0, 9.9, 1e12, float("nan")])
def test_a_span_that_is_none_is_refused(container: Container, since_s: float) -> None:
    with pytest.raises(InvalidArgument, match="no span to look back over"):
        over(container, Scrapes(None)).of("churn", since_s)


def test_a_prometheus_that_does_not_scrape_the_gateway_is_told(container: Container) -> None:
    with pytest.raises(MetricsUnavailable, match=r"http://prometheus.example:9090 knows nothing of this platform"):
        over(container, Scrapes(None)).of("churn", 86_400)


@pytest.mark.parametrize("known_s", [20.0, 200.5, 5000.25, 80_000.0])
def test_the_figures_begin_with_the_first_scrape(container: Container, known_s: float) -> None:
    source = Scrapes(NOW_S - known_s)
    found = over(container, source).of("churn", 86_400)
    assert 0 <= found.since - (NOW_S - known_s) <= 1
    assert len(source.looks) <= 3
    assert (found.total.requests, len(found.slots)) == (120, 12)
    assert found.total.rate_per_s == pytest.approx(120 / known_s, rel=0.06)
    assert [part.version for part in found.versions] == ["2"]
    assert found.total.p99_s is None, "no histogram: unknown"
    text = render(found)
    assert "of the 24 h asked for, Prometheus knows" in text or known_s > 79_000
    assert "unknown" in text


@pytest.mark.parametrize(
    ("text", "span_s"), [("90s", 90), ("30m", 1800), ("24h", 86_400), ("1.5d", 129_600), ("2w", 1_209_600)]
)
def test_spans_are_read(text: str, span_s: float) -> None:
    assert seconds(text) == span_s


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "24 hours", "1e9d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="30m, 24h or 7d"):
        seconds(text)
