"""From counters at edges to figures: births, resets, gaps, and percentiles as Prometheus interpolates them."""

from __future__ import annotations

import pytest

from tidegate.core.performance import Curve, Growth, by_slot, growth, whole

SEEN = [True] * 4


@pytest.mark.parametrize(
    ("values", "seen", "grown"),
    [
        ([5, 7, 7, 10], SEEN, [2, 0, 3]),
        ([None, None, 4, 5], SEEN, [0, 4, 1]),  # it began within the time: all of it counts
        ([5, 7, 2, 3], SEEN, [2, 2, 1]),  # counted anew
        ([5, None, None, 9], [True, False, False, True], [None, None, 4]),  # nobody looked, nothing is lost
        ([None, 5, 6, 7], [False, True, True, True], [None, 1, 1]),  # what was before the first look is not known
        ([None] * 4, [False] * 4, [None] * 3),
    ],
)
def test_what_a_counter_grew_by(values: list[float | None], seen: list[bool], grown: list[float | None]) -> None:
    assert growth(values, seen) == grown


def curve(name: str, values: list[float | None], **labels: str) -> Curve:
    return Curve({"__name__": name, **labels}, values)


def test_slots_sum_over_versions_and_keep_codes_apart() -> None:
    slots = by_slot(
        [
            curve("model_requests_total", [0, 4, 4], version="1", code="200"),
            curve("model_requests_total", [0, 6, 7], version="2", code="200"),
            curve("model_requests_total", [None, None, 2], version="2", code="503"),
            curve("model_requests_total", [0, 1, 1], version="", code="422"),
            curve("model_predictions_total", [0, 40, 50], version="1"),
            curve("something_else", [0, 1, 2]),
        ],
        [True] * 3,
    )
    first, second = slots
    assert first is not None
    assert second is not None
    assert (first.requests, first.count("2"), first.count("5"), first.rows) == (11, 10, 0, 40)
    assert (second.requests, second.count("5"), second.rows) == (3, 2, 10)
    together = whole(slots)
    assert together is not None
    assert (together.requests, together.count("4"), together.rows) == (14, 1, 50)


def test_a_slot_at_whose_end_nobody_looked_is_unknown() -> None:
    quiet = curve("model_requests_total", [3, None, 3], code="200")
    slots = by_slot([quiet], [True, False, True])
    assert slots[0] is None
    assert slots[1] == Growth(codes={"200": 0.0})
    assert by_slot([], [False, False, True]) == [None, None], "one look alone measures nothing"
    assert whole([None, None]) is None


@pytest.mark.parametrize(
    ("share", "expected_s"),
    [(0.5, 0.05 + 0.05 * 10 / 50), (0.9, 0.1), (0.99, 0.1 + 0.9 * 9 / 10), (0.2, 0.05 * 20 / 40)],
)
def test_percentiles_are_interpolated_within_their_bucket(share: float, expected_s: float) -> None:
    grown = Growth(buckets={0.05: 40, 0.1: 90, 1.0: 100, float("inf"): 100})
    assert grown.quantile_s(share) == pytest.approx(expected_s)


def test_percentiles_without_requests_are_unknown_and_above_the_last_bound_are_that() -> None:
    assert Growth().quantile_s(0.5) is None
    assert Growth(buckets={1.0: 0, float("inf"): 0}).quantile_s(0.5) is None
    assert Growth(buckets={1.0: 1, float("inf"): 100}).quantile_s(0.99) == 1.0
