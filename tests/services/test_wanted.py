"""Endpoints that requests wait for, as gateways tell it."""

from __future__ import annotations

import pytest

from tidegate.services import wanted
from tidegate.services.wanted import TOLD_S, Wanted


class Told:
    """What is wanted, with time in the test's hand; `changes` counts how often the autoscaler was woken for it."""

    def __init__(self) -> None:
        self.now, self.changes = 1000.0, 0
        self.wanted = Wanted(lambda: self.now, self._changed)

    def _changed(self) -> None:
        self.changes += 1


def test_what_is_told_again_wakes_the_autoscaler_once() -> None:
    told = Told()
    for _ in range(10):
        told.wanted.tell("churn")
        told.now += TOLD_S / 2
    told.wanted.tell("fraud")
    assert told.changes == 2
    assert told.wanted.now() == {"churn", "fraud"}


def test_what_was_told_long_ago_is_not_wanted_and_is_told_anew() -> None:
    told = Told()
    told.wanted.tell("churn")
    told.now += TOLD_S
    told.wanted.tell("churn")
    assert told.changes == 2
    told.now += TOLD_S
    assert told.wanted.now() == frozenset()


def test_endpoints_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "ENDPOINTS_MAX", 2)
    told = Told()
    for name in ("a", "b", "c"):
        told.wanted.tell(name)
    assert told.wanted.now() == {"b", "c"}
