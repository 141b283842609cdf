"""Endpoints that requests wait for, as gateways report them."""

from __future__ import annotations

import pytest

from tidegate.services.gateways import wanted
from tidegate.services.gateways.wanted import WAITS_S, WantedEndpoints


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
