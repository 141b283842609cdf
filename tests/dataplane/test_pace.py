"""Row limits against models whose times the test makes up: no clock is read."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tidegate.dataplane.batching.pace import SMALL_REMEMBERED_S, Pace

Takes = Callable[[int], float]


def linear(fixed_ms: float, row_ms: float) -> Takes:
    return lambda rows: (fixed_ms + row_ms * rows) / 1000


def serve(pace: Pace, takes: Takes, demand: Callable[[int], int], batches: int = 400) -> int:
    """Batches as large as demand and limit allow; the limit afterwards."""
    for number in range(batches):
        rows = max(1, min(demand(number), pace.limit_rows))
        pace.measured(rows, takes(rows))
    return pace.limit_rows


def plenty(_: int) -> int:
    return 10_000


def test_a_fast_model_gets_batches_up_to_the_row_limit_soon() -> None:
    pace = Pace(1024, 0.01)
    assert serve(pace, linear(0.1, 0.001), plenty, batches=10) == 1024


def test_a_model_slow_by_the_row_gets_as_many_as_the_objective_allows() -> None:
    limit = serve(Pace(1024, 0.01), linear(0.2, 0.1), plenty)
    assert 60 <= limit <= 115  # (10 - 0.2) / 0.1 = 98


def test_a_row_that_takes_longer_than_the_objective_goes_alone() -> None:
    assert serve(Pace(1024, 0.01), linear(0.0, 50.0), plenty) == 1


@pytest.mark.parametrize("demand", [plenty, lambda number: 1 + number % 40], ids=["full", "mixed"])
def test_a_high_fixed_cost_does_not_starve_batches(demand: Callable[[int], int]) -> None:
    """Fewer rows would save nothing: what counts is the rows' own time, which may be as much again."""
    limit = serve(Pace(256, 0.01), linear(30.0, 0.2), demand)
    assert limit >= 32


def test_the_limit_shrinks_when_the_model_becomes_slower_and_grows_when_it_recovers() -> None:
    pace = Pace(1024, 0.01)
    before = serve(pace, linear(0.2, 0.02), plenty)
    slower = serve(pace, linear(0.2, 0.2), plenty)
    after = serve(pace, linear(0.2, 0.02), plenty)
    assert slower < before / 4
    assert after > before / 2


def test_a_hiccup_changes_nothing() -> None:
    pace = Pace(256, 0.01)
    limit = serve(pace, linear(0.2, 0.02), plenty)
    pace.measured(limit, 0.5)
    assert pace.limit_rows == limit


def test_noise_leaves_the_limit_near_what_the_objective_allows() -> None:
    chance = random.Random(3)
    takes = linear(0.3, 0.1)
    limit = serve(Pace(4096, 0.01), lambda rows: takes(rows) * chance.uniform(0.8, 1.5), plenty, batches=2000)
    assert 30 <= limit <= 140


def test_large_requests_get_small_chunks_while_small_ones_are_about_and_whole_batches_else() -> None:
    pace, now_s = Pace(1024, 0.01), 50.0
    takes = linear(1.0, 0.01)
    for _ in range(200):
        for rows in (1, pace.chunk_rows(now_s)):
            pace.measured(rows, takes(rows))
        pace.saw_small(now_s)
    # A batch of one row takes 1 ms; one with a chunk may take an eighth more, or 0.2 ms: 20 rows.
    assert 10 <= pace.chunk_rows(now_s) <= 30
    serve(pace, takes, plenty)
    assert pace.chunk_rows(now_s) < pace.limit_rows / 4
    assert pace.chunk_rows(now_s + SMALL_REMEMBERED_S) == pace.limit_rows


def test_nothing_is_called_late_before_anything_was_measured() -> None:
    pace = Pace(64, 0.01)
    assert pace.hang_s(1) == float("inf")
    pace.measured(1, 0.001)
    assert pace.hang_s(1) == 1.0
    slow = Pace(64, 0.01)
    slow.measured(1, 2.0)
    assert slow.hang_s(1) == 40.0
