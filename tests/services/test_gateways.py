"""Which gateways route now: by a clock that nobody sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate import clock as clocks
from tidegate.core.fleet import GatewayFacts
from tidegate.services.gateways import GatewayRevisions
from tidegate.services.load import GONE_S
from tidegate.settings import Settings
from tidegate.wire.load import LoadReport
from tidegate.wiring import build


def test_a_gateway_is_heard_until_it_has_not_polled_for_so_long() -> None:
    now = [100.0]
    revisions = GatewayRevisions(lambda: now[0])
    revisions.record("g0", 1)
    now[0] += 30
    revisions.record("g1", 1)
    assert revisions.heard_within(30) == {"g0", "g1"}
    now[0] += 1
    assert revisions.heard_within(30) == {"g1"}


def test_what_a_gateway_said_before_its_process_was_started_anew_counts_no_more() -> None:
    now = [100.0]
    revisions = GatewayRevisions(lambda: now[0])
    revisions.record("own", 7, ["r-1"])
    revisions.record("of-others", 6)
    now[0] = 110.0
    of_others = GatewayFacts("of-others", 6, 10.0)
    assert revisions.facts({"own": 90.0}) == (of_others, GatewayFacts("own", 7, 10.0, frozenset({"r-1"})))
    assert revisions.facts({"own": 105.0}) == (of_others, GatewayFacts("own", None, 5.0))
    assert revisions.facts({"own": None}) == (of_others,), "its process is gone, and uses nothing"
    assert revisions.facts({"never-heard": 100.0})[-1] == GatewayFacts("never-heard", None, 10.0)


def test_a_dead_gateway_is_gone_in_time_though_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, passed = [1e9], [100.0]
    monkeypatch.setattr(clocks, "monotonic", lambda: passed[0])
    container = build(Settings.from_env({}, data_dir=tmp_path), clock=lambda: wall[0])
    try:
        container.leadership.step()
        container.gateway_revisions.record("dead", 1)
        wall[0] -= 3600
        passed[0] += GONE_S + 1
        container.load.take(LoadReport("g0", 1.0, []))
        view = container.load.view("churn", ["1"])
        assert view is not None
        assert view.gateways_silent == 0
    finally:
        container.close()
