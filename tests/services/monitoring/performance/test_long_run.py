"""Performance over weeks: how days are added up, and what they say. What evaluations make of it: `test_evaluating`."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.services.monitoring.performance.long_run import LongRun
from tidegate.watch.performance.long_run import DailyReference, DayLosses, evaluate_days
from tidegate.watch.performance.performance import LossMetric, Reference

DAY_S = 86_400.0
ACCURACY = LossMetric("accuracy")


def test_days_are_kept_between_evaluations_and_forgotten_with_their_baseline() -> None:
    made = LongRun(5.0).with_rows(np.array([1.0, np.nan, 0.0]), np.array([0.0, 10.0, DAY_S]), 1.5 * DAY_S)
    assert made.days == {0: DayLosses(1, 1, 0.0), 1: DayLosses(2, 1, 1.0)}
    assert LongRun.from_dict(made.as_dict(), 5.0) == made
    assert LongRun.from_dict(made.as_dict(), 6.0) == LongRun(6.0)
    assert made.after(1).days == {0: DayLosses(2, 1, 1.0)}


def test_too_few_days_say_nothing_and_a_baseline_without_days_has_its_bound() -> None:
    bad = [DayLosses(100, 100, 40.0 + one % 3) for one in range(14)]
    few = evaluate_days(bad[:9], 14, DailyReference(Reference(0.2, 0.22, 5_000)), ACCURACY, 0.02)
    assert (few.state, few.verdict) == ("unknown", "unknown: 9 of the last 14 days have labels")
    known = evaluate_days(bad, 14, DailyReference(Reference(0.2, 0.22, 5_000)), ACCURACY, 0.02)
    assert (known.state, known.n) == ("alert", 1400)
    wide = evaluate_days(bad, 14, DailyReference(Reference(0.2, 0.5, 30)), ACCURACY, 0.02)
    assert wide.state == "ok"


def test_labels_that_stay_away_count_as_right() -> None:
    bad = [DayLosses(100, 40, 30.0 + one % 3) for one in range(14)]
    found = evaluate_days(bad, 14, DailyReference(Reference(0.3, 0.32, 5_000)), ACCURACY, 0.02)
    assert found.state == "ok"
    assert found.value == pytest.approx(0.23, abs=0.02)
    assert found.coverage == pytest.approx(0.4)
