"""What captured traffic says before an experiment begins."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from tidegate.errors import CaptureUnreadable, InvalidArgument, Overloaded
from tidegate.services.experiments.past import ExperimentPast
from tidegate.wire.experiments.experiments import AaRequest, ArmSpec, ExperimentSpec, Metric
from tidegate.wire.experiments.units import MetricRows, UnitQuery, UnitRows

NOW_S = 1_790_000_000.0
DAY_S = 86_400.0
ARMS = (ArmSpec("control", "1", 50.0), ArmSpec("treatment", "2", 50.0))
BOUGHT = Metric("bought", "increase", "proportion")
SPEC = ExperimentSpec(ARMS, (BOUGHT,), mde=0.1)


@dataclass
class Captured:
    """Units that came evenly over so many days, of whom a fifth bought."""

    units_a_day: int = 1000
    days: float = 14.0
    broken: bool = False
    asked: UnitQuery | None = None

    def units(self, query: UnitQuery) -> UnitRows:
        self.asked = query
        if self.broken:
            raise CaptureUnreadable("the disk is gone")
        size = int(self.units_a_day * self.days)
        at = np.linspace(NOW_S - self.days * DAY_S, NOW_S, size, endpoint=False)
        nothing, value = np.zeros(size, np.int64), (np.arange(size) % 5 == 0).astype(np.float64)
        rows = MetricRows(np.arange(size), value, at, (0,))
        return UnitRows(nothing, nothing + 1, at, dict.fromkeys(query.metrics, rows), since_s=query.since_s)


def past(captured: Captured) -> ExperimentPast:
    return ExperimentPast(captured, lambda: NOW_S)


def test_the_expected_duration_goes_with_traffic_and_with_the_effect() -> None:
    few, many = (past(Captured(rate)).expected_days(SPEC, "churn") for rate in (1000, 4000))
    assert few is not None
    assert many is not None
    assert few == pytest.approx(4 * many, rel=0.01)
    subtle = past(Captured()).expected_days(replace(SPEC, mde=0.05), "churn")
    assert subtle is not None
    assert subtle > 3 * few


@pytest.mark.parametrize("captured", [Captured(0), Captured(broken=True), Captured(100_000, days=0.01)])
def test_where_history_says_nothing_nothing_is_said(captured: Captured) -> None:
    assert past(captured).expected_days(SPEC, "churn") is None


def test_an_aa_check_splits_captured_units_of_the_days_that_are_asked_for() -> None:
    captured = Captured()
    found = past(captured).aa(SPEC, "churn", AaRequest(days=7.0, repetitions=100, looks=10))
    assert captured.asked is not None
    assert (captured.asked.experiment, captured.asked.since_s) == (None, NOW_S - 7 * DAY_S)
    assert [one.name for one in found.metrics] == ["bought"]
    rate, fixed = found.metrics[0].rate, found.metrics[0].fixed_rate
    assert rate is not None
    assert fixed is not None
    assert rate <= 0.15
    assert fixed > rate


@pytest.mark.parametrize("asked", [AaRequest(days=0), AaRequest(repetitions=0), AaRequest(looks=1000)])
def test_what_would_take_too_long_or_nothing_is_refused(asked: AaRequest) -> None:
    with pytest.raises(InvalidArgument, match="at most"):
        past(Captured()).aa(SPEC, "churn", asked)


def test_one_check_runs_at_a_time() -> None:
    busy = past(Captured())
    with busy._busy, pytest.raises(Overloaded, match="runs just now"):
        busy.aa(SPEC, "churn", AaRequest())
