"""Row limits against models whose times the test makes up: no clock is read."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tidegate.dataplane.batching.adaptive_batch_size import SMALL_REMEMBERED_S, AdaptiveBatchSize

Takes = Callable[[int], float]


def linear(fixed_ms: float, row_ms: float) -> Takes:
    return lambda rows: (fixed_ms + row_ms * rows) / 1000


def serve(size: AdaptiveBatchSize, takes: Takes, demand: Callable[[int], int], batches: int = 400) -> int:
    """Batches as large as demand and limit allow; the limit afterwards."""
    for number in range(batches):
        rows = max(1, min(demand(number), size.limit_rows))
        size.measured(rows, takes(rows))
    return size.limit_rows


def plenty(_: int) -> int:
    return 10_000


def test_a_fast_model_gets_batches_up_to_the_row_limit_soon() -> None:
    size = AdaptiveBatchSize(1024, 0.01)
    assert serve(size, linear(0.1, 0.001), plenty, batches=10) == 1024


def test_a_model_slow_by_the_row_gets_as_many_as_the_objective_allows() -> None:
    limit = serve(AdaptiveBatchSize(1024, 0.01), linear(0.2, 0.1), plenty)
    assert 60 <= limit <= 115  # (10 - 0.2) / 0.1 = 98


def test_a_row_that_takes_longer_than_the_objective_goes_alone() -> None:
    assert serve(AdaptiveBatchSize(1024, 0.01), linear(0.0, 50.0), plenty) == 1


@pytest.mark.parametrize("demand", [plenty, lambda number: 1 + number % 40], ids=["full", "mixed"])
def test_a_high_fixed_cost_does_not_starve_batches(demand: Callable[[int], int]) -> None:
    """Fewer rows would save nothing: what counts is the rows' own time, which may be as much again."""
    limit = serve(AdaptiveBatchSize(256, 0.01), linear(30.0, 0.2), demand)
    assert limit >= 32


def test_the_limit_shrinks_when_the_model_becomes_slower_and_grows_when_it_recovers() -> None:
    size = AdaptiveBatchSize(1024, 0.01)
    before = serve(size, linear(0.2, 0.02), plenty)
    slower = serve(size, linear(0.2, 0.2), plenty)
    after = serve(size, linear(0.2, 0.02), plenty)
    assert slower < before / 4
    assert after > before / 2


def test_a_hiccup_changes_nothing() -> None:
    size = AdaptiveBatchSize(256, 0.01)
    limit = serve(size, linear(0.2, 0.02), plenty)
    size.measured(limit, 0.5)
    assert size.limit_rows == limit


def test_noise_leaves_the_limit_near_what_the_objective_allows() -> None:
    chance = random.Random(3)
    takes = linear(0.3, 0.1)
    limit = serve(
        AdaptiveBatchSize(4096, 0.01), lambda rows: takes(rows) * chance.uniform(0.8, 1.5), plenty, batches=2000
    )
    assert 30 <= limit <= 140


def test_large_requests_get_small_chunks_while_small_ones_are_about_and_whole_batches_else() -> None:
    size, now_s = AdaptiveBatchSize(1024, 0.01), 50.0
    takes = linear(1.0, 0.01)
    for _ in range(200):
        for rows in (1, size.chunk_rows(now_s)):
            size.measured(rows, takes(rows))
        size.saw_small(now_s)
    # A batch of one row takes 1 ms; one with a chunk may take an eighth more, or 0.2 ms: 20 rows.
    assert 10 <= size.chunk_rows(now_s) <= 30
    serve(size, takes, plenty)
    assert size.chunk_rows(now_s) < size.limit_rows / 4
    assert size.chunk_rows(now_s + SMALL_REMEMBERED_S) == size.limit_rows


def test_nothing_is_called_late_before_anything_was_measured() -> None:
    size = AdaptiveBatchSize(64, 0.01)
    assert size.hang_s(1) == float("inf")
    size.measured(1, 0.001)
    assert size.hang_s(1) == 1.0
    slow = AdaptiveBatchSize(64, 0.01)
    slow.measured(1, 2.0)
    assert slow.hang_s(1) == 40.0
