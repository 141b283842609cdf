"""How often performance over weeks pages for nothing, and what it finds: days that differ, and follow one another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate.watch.performance.long_run import DailyReference, DayLosses, evaluate_days
from tidegate.watch.performance.performance import LossMetric, Reference

ROWS, RISK, TIMES = 900, 0.25, 1_500
ACCURACY = LossMetric("accuracy")


def days_of(rng: np.random.Generator, count: int, spread: float, after: float, worse: float = 0.0) -> Any:
    """Mean losses of days in a row: normal around the risk, each with its part of the day before it."""
    noise = rng.normal(size=count)
    for day in range(1, count):
        noise[day] = after * noise[day - 1] + np.sqrt(1 - after**2) * noise[day]
    return np.clip(RISK + worse + spread * noise, 0, 1)


def share_of_pages(days: int, spread: float, after: float, worse: float = 0.0) -> float:
    """At what the budget leaves such a look: a twentieth of its days' part of 30."""
    rng, alpha, pages = np.random.default_rng(11), 0.05 * days / 30, 0
    for _ in range(TIMES):
        before = days_of(rng, 90, spread, after)
        now = [DayLosses(ROWS, ROWS, ROWS * float(one)) for one in days_of(rng, days, spread, after, worse)]
        reference = DailyReference(Reference(float(before.mean()), 1.0, 90 * ROWS), before.tolist())
        pages += evaluate_days(now, days, reference, ACCURACY, alpha).state == "alert"
    return pages / TIMES


@pytest.mark.parametrize("days", [14, 28])
@pytest.mark.parametrize("spread", [0.02, 0.11])
@pytest.mark.parametrize("after", [0.0, 0.3, 0.5])
def test_false_pages_keep_to_what_the_look_may_spend(days: int, spread: float, after: float) -> None:
    alpha = 0.05 * days / 30
    three_errors = 3 * np.sqrt(alpha * (1 - alpha) / TIMES)
    assert share_of_pages(days, spread, after) <= alpha + three_errors


@pytest.mark.parametrize(("spread", "worse", "least"), [(0.02, 0.05, 0.99), (0.05, 0.05, 0.9), (0.11, 0.08, 0.75)])
def test_a_drop_of_four_weeks_is_found(spread: float, worse: float, least: float) -> None:
    assert share_of_pages(28, spread, 0.1, worse) >= least


def test_a_drop_that_does_not_matter_pages_hardly_ever() -> None:
    assert share_of_pages(28, 0.01, 0.1, 0.01) <= 0.002
