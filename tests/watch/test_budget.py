"""What a block may spend of the budget of false pages."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import InvalidArgument
from tidegate.watch.budget import DAY_S, SHARES, Budget
from tidegate.watch.histograms.sizes import Levels, critical_value


@given(st.lists(st.floats(1.0, 10 * DAY_S), max_size=60))
def test_blocks_of_a_month_spend_one_page_at_most(blocks: list[float]) -> None:
    budget, spent, time_s = Budget(), 0.0, 0.0
    for block_s in blocks:
        time_s += block_s
        if time_s > budget.horizon_s:
            break
        spent += sum(budget.page_alpha(monitor, block_s) for monitor in SHARES)
    assert spent <= 1 + 1e-9


def test_a_block_closes_at_enough_rows_or_after_a_day() -> None:
    budget = Budget()
    assert [budget.closes(rows, age_s) for rows, age_s in ((499, 3_600), (500, 1), (0, DAY_S), (3, DAY_S - 1))] == [
        False,
        True,
        True,
        False,
    ]
    whole_days = Budget(block_s_min=DAY_S)
    assert not whole_days.closes(10_000, 3_600)
    assert whole_days.closes(10_000, DAY_S)


def test_the_critical_value_is_the_larger_of_what_cuts_and_budget_want() -> None:
    cuts = np.arange(1, 20) / 20
    hourly = Budget(shares={"drift": 1.0}).page_alpha("drift", 3_600)
    assert hourly == pytest.approx(1 / 720)

    def critical(rows: int, features: int) -> float:
        return critical_value(cuts, rows, 5_000, Levels(0.05, 0.05, hourly / features))

    by_cuts = critical_value(cuts, 500, 5_000, Levels(0.05, 0.05))
    assert by_cuts == pytest.approx(2.81, abs=0.005)
    assert critical(500, 100) == by_cuts  # the margin is enough
    assert critical(200, 100) == pytest.approx(3.40, abs=0.01)
    assert critical(200, 100) < critical(200, 1_000)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"false_pages": 0.0}, "a number above 0"),
        ({"block_s_min": 2 * DAY_S}, "172800 s at least and 86400 s at most"),
        ({"shares": {"drift": 0.7, "performance": 0.4}}, "together at most 1"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        Budget(**change)


def test_a_monitor_without_a_share_is_told() -> None:
    with pytest.raises(InvalidArgument, match="'latency' has no share of the budget: drift, performance"):
        Budget().page_alpha("latency", 60.0)
