import pytest

from tidegate.core.scaling.load import Point, Samples, mean, newest, quantile_s
from tidegate.wire.gateways.load import DURATION_BUCKETS_S


def _points(*amounts: float, until: float = 10.0, span_s: float = 1.0) -> tuple[Point, ...]:
    first = until - len(amounts) + 1
    return tuple(Point(first + index, span_s, amount) for index, amount in enumerate(amounts))


def test_each_source_counts_for_the_time_that_it_told_of() -> None:
    series = Samples({"g-0": _points(2, 2, 2, 2), "g-1": _points(3, 3)})
    found = mean(series, 6.0, 10.0)
    assert found is not None
    assert (found.value, found.covered_s) == (5.0, 2.0)


def test_without_a_point_in_the_window_nothing_is_known() -> None:
    assert mean(Samples(), 0.0, 10.0) is None
    assert mean(Samples({"g-0": _points(1, 1)}), 20.0, 30.0) is None
    assert mean(Samples({"g-0": _points(1, 1)}), 0.0, 5.0) is None  # a clock that went back
    assert mean(Samples({"g-0": _points(0, 0)}), 0.0, 10.0) is not None


def test_the_newest_is_the_one_of_any_source() -> None:
    assert newest(Samples({"g-0": _points(1, until=4), "g-1": _points(1, until=7)}), 10.0) == 7.0
    assert newest(Samples({"g-0": _points(1, until=4)}), 3.0) is None


def _durations(**counts: int) -> list[int]:
    found = [0] * (len(DURATION_BUCKETS_S) + 1)
    for name, count in counts.items():
        found[int(name[1:])] = count
    return found


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    assert quantile_s(_durations(b7=100), 0.5) == pytest.approx(0.0375)  # from 25 to 50 ms
    assert quantile_s(_durations(b7=95, b10=5), 0.95) == pytest.approx(0.05)
    assert quantile_s(_durations(b16=1), 0.95) == 30.0  # and more: nothing is known of how much
    assert quantile_s(_durations(), 0.95) is None
