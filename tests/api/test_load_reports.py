"""What gateways report of their load, and what is shown of it. With an API of its own: no other gateway is heard of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from support.control import add_version, container_at, served
from tidegate.wire.gateways.load import LoadSeries, VersionSeries
from tidegate.wiring import Container


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Real store and registry; no job pool, no loops."""
    container = container_at(tmp_path_factory.mktemp("load") / "data")
    yield container
    container.close()


@pytest.fixture(scope="module")
def api(container: Container) -> Iterator[httpx.Client]:
    """A client that has the token."""
    with served(container) as client:
        yield client


def test_what_gateways_had_to_do_is_shown_by_version(container: Container, api: httpx.Client) -> None:
    add_version(container, "busy", "1")
    assert api.put("/api/v1/endpoints/busy", json={"model": "busy"}).status_code == 202
    shown = api.get("/api/v1/endpoints/busy").json()
    assert (shown["load"], shown["variants"][0]["load"]) == (None, None)
    version = {"endpoint": "busy", "version": "1", "in_progress_s": 0.5, "requests": 4, "errors": 1}
    report = {"gateway": "gateway-0", "span_s": 2.0, "versions": [version | {"durations": [0] * 7 + [4] + [0] * 9}]}
    assert api.post("/internal/v1/load", json=report).status_code == 204
    shown = api.get("/api/v1/endpoints/busy").json()
    load = {"concurrency": 0.25, "requests_per_s": 2.0, "errors_per_s": 0.5, "window_s": 2.0}
    assert shown["variants"][0]["load"].items() >= load.items()
    assert shown["load"].items() >= load.items()
    assert 0.025 < shown["load"]["p95_s"] <= 0.05
    assert api.post("/internal/v1/load", json=report | {"host": "another"}).status_code == 204  # by way of a standby
    assert api.get("/api/v1/endpoints/busy").json()["load"]["requests_per_s"] == 4.0
    container.load.load.forget("gateway-0")
    container.load.load.forget("another/gateway-0")


VERSION_LOAD = {
    "endpoint": "busy",
    "version": "1",
    "in_progress_s": 0.5,
    "requests": 4,
    "errors": 1,
    "durations": [0] * 17,
}


def test_a_standby_asks_the_leader_how_busy_an_endpoint_is(container: Container) -> None:
    told = LoadSeries(5.0, [1.0], {"1": VersionSeries()})
    leader: Any = SimpleNamespace(leader_elsewhere=lambda: SimpleNamespace(url="http://leader"))
    asked: list[tuple[str, str, float]] = []

    def of_leader(*what: Any) -> LoadSeries:
        asked.append(what)
        return told

    standby = replace(container.endpoint_loads, leadership=leader, of_leader=of_leader)
    assert standby.get("churn", ["1"], 5.0) is told
    assert asked == [("http://leader", "churn", 5.0)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"span_s": -1},
        {"span_s": "1"},
        {"span_s": 5e-324},
        {"more": 1},
        {"host": "\ud800"},
        {"gateway": "g" * 65},
        {"versions": [{"endpoint": "busy", "version": "1"}]},
        {"versions": [VERSION_LOAD | {"requests": 10**400}]},
        {"versions": [VERSION_LOAD | {"requests": 10**4000}]},
        {"versions": [VERSION_LOAD | {"in_progress_s": 10**400}]},
        {"versions": [VERSION_LOAD | {"in_progress_s": 1.7e308}]},
        {"versions": [VERSION_LOAD | {"endpoint": "\udfff"}]},
        {"versions": [VERSION_LOAD | {"\udfff": 1}]},
    ],
)
def test_a_load_report_that_cannot_be_is_refused(
    container: Container, api: httpx.Client, wrong: dict[str, object]
) -> None:
    report: dict[str, object] = {"gateway": "gateway-0", "span_s": 1.0, "versions": []}
    body = json.dumps(report | wrong)  # lone surrogates as escapes, which are JSON
    answer = api.post("/internal/v1/load", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]
    assert container.load.view("busy", ["1"]) is None
