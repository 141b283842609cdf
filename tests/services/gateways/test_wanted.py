"""Endpoints that requests wait for, as gateways report them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control import NewDatabase, container_at, lead_elsewhere
from tidegate.errors import NotLeader
from tidegate.services.gateways import wanted
from tidegate.services.gateways.wanted import WAITS_S, WantedEndpoints, WantedIntake
from tidegate.wire.gateways.gateway_reports import WantedReport
from tidegate.wiring import Container

LEADER = "http://other:8800"


class Bench:
    """What is wanted, with time in the test's hand; `changes` counts how often the autoscaler was woken for it."""

    def __init__(self) -> None:
        self.now, self.changes = 1000.0, 0
        self.wanted = WantedEndpoints(lambda: self.now, self._changed)

    def _changed(self) -> None:
        self.changes += 1


def test_what_is_reported_again_wakes_the_autoscaler_once() -> None:
    bench = Bench()
    for _ in range(10):
        bench.wanted.tell("churn")
        bench.now += WAITS_S / 2
    bench.wanted.tell("fraud")
    assert bench.changes == 2
    assert bench.wanted.now() == {"churn", "fraud"}


def test_what_was_reported_long_ago_is_not_wanted_and_wakes_anew() -> None:
    bench = Bench()
    bench.wanted.tell("churn")
    bench.now += WAITS_S
    bench.wanted.tell("churn")
    assert bench.changes == 2
    bench.now += WAITS_S
    assert bench.wanted.now() == frozenset()


def test_endpoints_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "ENDPOINTS_MAX", 2)
    bench = Bench()
    for name in ("a", "b", "c"):
        bench.wanted.tell(name)
    assert bench.wanted.now() == {"b", "c"}


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    yield container
    container.close()


def test_a_standby_has_the_leader_wake_it_and_passes_on_once(platform: Container) -> None:
    passed: list[tuple[str, WantedReport]] = []
    intake = WantedIntake(platform.wanted, platform.leadership, lambda url, report: passed.append((url, report)))
    intake.take(WantedReport("g-0", "churn"))
    assert platform.wanted.now() == {"churn"}
    assert not passed
    other = lead_elsewhere(platform, LEADER)
    intake.take(WantedReport("g-0", "fraud"))
    assert passed == [(LEADER, WantedReport("g-0", "fraud", platform.leadership.me.host))]
    with pytest.raises(NotLeader, match="stands by"):
        intake.take(WantedReport("g-0", "fraud", "a standby"))
    other.end()
    platform.leadership._look()
    with pytest.raises(NotLeader, match="no control plane leads at the moment"):
        intake.take(WantedReport("g-0", "fraud"))
    assert len(passed) == 1
    assert platform.wanted.now() == {"churn"}


def test_a_gateway_is_told_when_the_leader_does_not_answer(platform: Container) -> None:
    lead_elsewhere(platform, "http://127.0.0.1:1")
    with pytest.raises(NotLeader, match="which leads, was asked: it does not answer"):
        platform.wake_requests.take(WantedReport("g-0", "churn"))
