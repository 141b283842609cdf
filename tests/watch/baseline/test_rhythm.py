"""What blocks are compared with: hours of the week where the baseline has enough of each, else whole days."""

import json
from typing import Any

import numpy as np
import pytest

from tidegate.errors import InvalidArgument
from tidegate.watch.baseline.baseline import Baseline, BaselineRowsGiven, baseline_of
from tidegate.watch.baseline.rhythm import HOUR_S, at_span, cell_of, hours_of, zone_of
from tidegate.watch.budget import DAY_S
from tidegate.watch.drift.drift import DriftContext, evaluate
from tidegate.watch.histograms.clustering import Clustering
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.values import Floats

RNG = np.random.default_rng(15)
MONDAY_S = 4 * DAY_S  # 1970-01-05


def traffic(weeks: float, rows_per_hour: int, swing: float = 1.0) -> tuple[Floats, Floats]:
    """Times and values whose mean goes up and down with the hour of the day, highest at six in the morning."""
    times = np.sort(MONDAY_S + RNG.random(int(weeks * 168 * rows_per_hour)) * weeks * 7 * DAY_S)
    return times, RNG.normal(swing * np.sin(2 * np.pi * times / DAY_S), 1.0)


TIMES, VALUES = traffic(3, 520)
LOSSES = (RNG.random(VALUES.size) < 0.1).astype(np.float64)
SEASONAL = baseline_of(BaselineRowsGiven({"x": VALUES}, losses=LOSSES, times_s=TIMES))


def block(baseline: Baseline, hour_of_day: int, rows: int = 1_000, shift: float = 0.0) -> dict[str, Histogram]:
    mean = np.sin(2 * np.pi * (hour_of_day + 0.5) / 24) + shift
    return {"x": Histogram.of(RNG.normal(mean, 1.0, rows), baseline.whole.columns["x"].layout)}


def hour_at(hour_of_day: int, weeks_later: int = 5) -> int:
    return int(MONDAY_S / HOUR_S) + weeks_later * 168 + hour_of_day


@pytest.mark.parametrize("hour", [0, 6, 12, 18])
def test_an_hour_is_compared_with_its_like(hour: int) -> None:
    assert SEASONAL.rhythm.seasons
    expected = SEASONAL.expected({hour_at(hour): 1_000})
    look = DriftContext(clustering=expected.clustering)
    assert not evaluate(expected.part.columns, block(SEASONAL, hour), look=look)["x"].drift_detected
    assert evaluate(expected.part.columns, block(SEASONAL, hour, shift=0.5), look=look)["x"].drift_detected
    if hour in (6, 18):
        assert evaluate(SEASONAL.whole.columns, block(SEASONAL, hour))["x"].drift_detected


def test_a_block_of_several_hours_is_compared_with_all_of_them_in_proportion() -> None:
    night, day = (SEASONAL.expected({hour_at(hour): 10}).part.columns["x"] for hour in (18, 6))
    mixed = SEASONAL.expected({hour_at(18): 300, hour_at(6): 100}).part.columns["x"]
    shares = [np.array(each.counts) / each.rows for each in (night, day, mixed)]
    np.testing.assert_allclose(shares[2], 0.75 * shares[0] + 0.25 * shares[1], atol=0.003)
    assert mixed.rows > night.rows > 300  # nearly all of its 1,560 rows, where hours differ this much


def test_where_hours_do_not_differ_all_rows_say_what_each_hour_is_like() -> None:
    times, values = traffic(3, 520, swing=0.0)
    flat = baseline_of(BaselineRowsGiven({"x": values}, times_s=times))
    assert flat.expected({hour_at(3): 10}).part.columns["x"].rows > 100_000


@pytest.mark.parametrize(("weeks", "rows", "by"), [(2.9, 600, None), (3, 150, None), (3, 520, "k")])
def test_else_blocks_are_whole_days(weeks: float, rows: int, by: str | None) -> None:
    times, values = traffic(weeks, rows)
    columns: dict[str, Any] = {"x": values} | ({"k": np.arange(values.size) % 2} if by else {})
    made = baseline_of(BaselineRowsGiven(columns, by=by, times_s=times))
    assert not made.rhythm.seasons
    budget = made.budget()
    assert not budget.closes(1_000_000, 23 * HOUR_S)
    assert budget.closes(1, DAY_S)
    assert made.expected({hour_at(0): 5}).part.columns["x"] is made.whole.columns["x"]


def test_with_hours_of_the_week_a_block_may_close_after_an_hour_but_not_before() -> None:
    budget = SEASONAL.budget()
    assert not budget.closes(10_000, HOUR_S - 1)
    assert budget.closes(500, HOUR_S)


def test_without_times_blocks_are_whole_days_of_independent_rows() -> None:
    made = baseline_of(BaselineRowsGiven({"x": VALUES[:1_000]}))
    assert not made.budget().closes(10_000, HOUR_S)
    assert made.expected({hour_at(1): 3}).clustering["x"] == Clustering()


def test_days_that_differ_are_learnt_from_the_rows_times() -> None:
    days = np.repeat(np.arange(14), 400)
    values = RNG.normal(RNG.normal(0, 0.3, 14)[days], 1.0)
    losses = (RNG.random(days.size) < np.where(days % 2, 0.05, 0.25)).astype(np.float64)
    made = baseline_of(
        BaselineRowsGiven({"x": values}, losses=losses, times_s=np.asarray(MONDAY_S + days * DAY_S, dtype=np.float64))
    )
    expected = made.expected(dict.fromkeys(range(hour_at(0), hour_at(24)), 16))
    assert expected.clustering["x"].correlation > 0.03
    assert expected.losses.correlation > 0.01
    independent = baseline_of(BaselineRowsGiven({"x": values}, losses=losses)).whole.risk
    assert made.whole.risk is not None
    assert independent is not None
    assert made.whole.risk.upper > independent.upper + 0.01


def test_a_rhythm_survives_json_and_form_1_has_none() -> None:
    plain = json.loads(json.dumps(SEASONAL.as_dict(), allow_nan=False))
    again = Baseline.from_dict(plain, SEASONAL.sample)
    assert again == SEASONAL
    assert again.expected({hour_at(6): 9}) == SEASONAL.expected({hour_at(6): 9})
    del plain["rhythm"]
    older = Baseline.from_dict(plain | {"form": 1})
    assert not older.rhythm.seasons
    assert older.whole == SEASONAL.whole


def test_hours_of_the_week_are_those_of_the_time_zone() -> None:
    summer = int(1_372_636_800 / HOUR_S)  # Monday, 2013-07-01 0:00 UTC
    assert cell_of(summer, zone_of("UTC")) == 0
    assert cell_of(summer, zone_of("Europe/Berlin")) == 2
    assert cell_of(summer, zone_of("America/New_York")) == 6 * 24 + 20
    with pytest.raises(InvalidArgument, match="no time zone 'Mars'"):
        baseline_of(BaselineRowsGiven({"x": [1.0]}, timezone="Mars"))


def test_rows_are_found_by_their_hour() -> None:
    found = hours_of(np.array([7_200.0, np.nan, 10.0, 7_300.0]))
    assert {hour: rows.tolist() for hour, rows in found.items()} == {0: [2], 2: [0, 3]}
    assert hours_of(np.array([np.nan])) == {}


def test_a_block_is_judged_by_the_longest_span_that_is_not_longer() -> None:
    spans = {1: Clustering(0.3), 4: Clustering(0.2), 24: Clustering(0.1)}
    assert [at_span(spans, hours).correlation for hours in (0.5, 1, 5, 30)] == [0.3, 0.3, 0.2, 0.1]
    assert at_span({}, 5) == Clustering()


def test_a_part_of_a_day_is_no_drift_where_days_are_compared() -> None:
    """Somebody asks at noon: what hours of the day differ by is known, though blocks are whole days."""
    times, values = traffic(2, 100)
    made = baseline_of(BaselineRowsGiven({"x": values}, times_s=times))
    morning = {"x": Histogram.of(RNG.normal(1.0, 1.0, 600), made.whole.columns["x"].layout)}
    assert evaluate(made.whole.columns, morning)["x"].drift_detected
    expected = made.expected(dict.fromkeys(range(hour_at(3), hour_at(9)), 100))
    assert not evaluate(expected.part.columns, morning, look=DriftContext(clustering=expected.clustering))[
        "x"
    ].drift_detected
