"""What one evaluation says of columns of every kind: moved, not moved, or nothing to know."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tidegate.errors import InvalidArgument
from tidegate.watch.drift.drift import Drift, DriftContext, evaluate
from tidegate.watch.histograms.histogram import Histogram, reference
from tidegate.watch.histograms.layout import Kind

RNG = np.random.default_rng(15)


def looked_at(before: Any, now: Any, kind: Kind | None = None) -> Drift:
    histogram = reference(before, kind)
    drift = evaluate({"x": histogram}, {"x": Histogram.of(now, histogram.layout)})["x"]
    json.dumps(drift.as_dict(), allow_nan=False)
    assert drift.verdict.startswith({"alert": "drift: ", "ok": "ok: ", "unknown": "unknown: "}[drift.state])
    return drift


def test_a_shift_that_matters_is_found_and_told() -> None:
    before, now = RNG.normal(size=5_000), RNG.normal(0.5, 1, size=2_000)
    drift = looked_at(before, now)
    assert drift.drift_detected is True
    exact = stats.ks_2samp(before, now).statistic
    assert drift.ks_statistic == pytest.approx(exact, abs=0.02)
    assert drift.effect_lower is not None
    assert 0.05 < drift.effect_lower < exact
    assert drift.p_value is not None
    assert drift.p_value < 1e-10
    assert "of the rows lie elsewhere than in the reference" in drift.verdict


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_the_scale_of_a_column_changes_nothing(scale: float) -> None:
    before, now = np.random.default_rng(1).normal(size=(2, 2_000))
    seen = looked_at(before * scale, (now + 0.4) * scale)
    plain = looked_at(before, now + 0.4)
    assert (seen.ks_statistic, seen.effect_lower, seen.p_value) == (
        plain.ks_statistic,
        plain.effect_lower,
        plain.p_value,
    )


def test_a_million_rows_do_not_make_a_trifle_matter() -> None:
    before, now = reference(RNG.normal(size=100_000)), RNG.normal(0.005, 1, size=1_000_000)
    drift = evaluate({"x": before}, {"x": Histogram.of(now, before.layout)})["x"]
    assert drift.drift_detected is False


def test_identical_data_never_alarms() -> None:
    for values in (RNG.normal(size=50), RNG.integers(0, 3, 1_000), np.repeat(["a", "b"], 500), [True, False] * 30):
        drift = looked_at(values, values)
        assert (drift.drift_detected, drift.effect, drift.p_value) == (False, 0, 1)


def test_categories_that_changed_places_are_found() -> None:
    shares = np.full(50, 0.02)
    moved = shares + np.tile([0.01, -0.01], 25)
    names = np.array([f"c{number}" for number in range(50)])
    before, now = RNG.choice(names, 20_000, p=shares), RNG.choice(names, 5_000, p=moved)
    drift = looked_at(before, now)
    assert drift.drift_detected
    assert drift.effect_name == "total_variation"
    assert drift.ks_statistic is None
    assert drift.effect_lower is not None
    assert 0.05 < drift.effect_lower <= 0.25
    assert looked_at(before, RNG.choice(names, 5_000, p=shares)).drift_detected is False


def test_a_rare_class_that_doubles_is_found_and_named() -> None:
    before = np.where(np.arange(100_000) % 500 == 0, "fraud", "fine")
    now = np.where(np.arange(25_000) % 250 == 0, "fraud", "fine")
    drift = looked_at(before, now)
    assert drift.drift_detected
    assert drift.verdict == "drift: 'fraud' rose from 0.20% to 0.40% of the rows"
    assert looked_at(now, before[:25_000]).verdict == "drift: 'fraud' fell from 0.40% to 0.20% of the rows"


def test_a_rate_that_hardly_changed_is_not_told_of_however_many_rows_there_are() -> None:
    counts = reference(["fraud"] * 2 + ["fine"] * 998)
    layout = counts.layout

    def of(fraud: int, fine: int) -> Histogram:
        by_name = {"fraud": fraud, "fine": fine}
        return Histogram(layout, tuple(by_name.get(name, 0) for name in layout.names))

    before = of(20_000, 9_980_000)
    assert not evaluate({"x": before}, {"x": of(2_200, 997_800)})["x"].drift_detected  # 2 in 10,000 more
    assert not evaluate({"x": of(200_000, 9_800_000)}, {"x": of(21_900, 978_100)})["x"].drift_detected  # a tenth more
    assert not evaluate({"x": of(10, 10_000_000)}, {"x": of(900, 1_000_000)})[
        "x"
    ].drift_detected  # less than 1 in 1,000


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ([None] * 40 + [0.5] * 960, "missing values rose from 0.00% to 4.00% of the rows"),
        ([None] * 1_000, "missing values rose from 0.00% to 100.0% of the rows"),
        (["a"] * 40 + [0.5] * 960, "values of another type rose from 0.00% to 4.00% of the rows"),
        ([9.0] * 40 + [0.5] * 960, "values above the reference's range rose from 0.00% to 4.00% of the rows"),
        ([-np.inf] * 40 + [0.5] * 960, "values below the reference's range rose from 0.00% to 4.00% of the rows"),
    ],
)
def test_what_was_not_there_before_is_told(now: list[Any], told: str) -> None:
    before = np.random.default_rng(2).random(5_000)
    drift = looked_at(before, now)
    assert drift.drift_detected
    assert told in drift.verdict


def test_new_categories_are_expected_as_often_as_the_reference_has_one_alone() -> None:
    rng = np.random.default_rng(3)
    many = np.array([f"shop {number}" for number in range(3_000)])
    heavy = 1 / np.arange(1, 3_001)
    for _ in range(10):
        before, now = (rng.choice(many, size, p=heavy / heavy.sum()) for size in (4_000, 2_000))
        assert looked_at(before, now, "category").drift_detected is False
    newcomers = np.concatenate((now[:1_600], [f"new {number}" for number in range(400)]))
    assert looked_at(before, newcomers, "category").drift_detected
    before, now = (rng.choice(many[:500], size, p=heavy[:500] / heavy[:500].sum()) for size in (1_000, 1_000))
    assert looked_at(before, now, "category").drift_detected is False
    newcomers = np.concatenate((now[:700], [f"new {number}" for number in range(300)]))
    assert "categories never seen before rose" in looked_at(before, newcomers, "category").verdict


def test_a_constant_that_changes_is_found() -> None:
    assert looked_at([5.0] * 1_000, [5.0] * 900 + [6.0] * 100).drift_detected
    assert looked_at(RNG.normal(size=1_000), [0.0] * 1_000).drift_detected


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        ([5.0] * 100, [5.0] * 100, "has the one same value in every row"),
        ([None] * 100, [np.nan] * 100, "is missing in every row"),
        ([1.0, 2.0] * 50, [], "the window is empty"),
        ([], [1.0], "the reference is empty"),
        ([1.0, 2.0] * 50, [1.0], "one row says nothing"),
        (["a"] * 100, ["a"] * 100, "has the one same value"),
    ],
)
def test_nothing_is_claimed_where_nothing_can_be_known(before: list[Any], now: list[Any], why: str) -> None:
    drift = looked_at(before, now)
    assert drift.state == "unknown"
    assert why in drift.verdict
    assert drift.drift_detected is drift.p_value is drift.effect is None


def test_one_bad_column_stops_no_other() -> None:
    names: dict[str, tuple[Any, Any]] = {
        "moved": (RNG.normal(size=2_000), RNG.normal(1, 1, 2_000)),
        "constant": ([1] * 2_000, [1] * 2_000),
        "missing": ([None] * 2_000, [None] * 2_000),
        "infinite": ([np.inf] * 2_000, RNG.normal(size=2_000)),
    }
    before = {name: reference(values[0]) for name, values in names.items()}
    now = {name: Histogram.of(values[1], before[name].layout) for name, values in names.items()}
    states = {name: drift.state for name, drift in evaluate(before, now).items()}
    assert states == {"moved": "alert", "constant": "unknown", "missing": "unknown", "infinite": "unknown"}


def test_outputs_get_half_of_the_error_rate_and_the_rest_goes_by_importance() -> None:
    rng = np.random.default_rng(4)
    names = [f"f{number}" for number in range(200)]
    before = {name: reference(rng.normal(size=5_000)) for name in [*names, "score"]}
    now = {name: Histogram.of(rng.normal(size=300), histogram.layout) for name, histogram in before.items()}
    critical = {
        name: drift.critical
        for name, drift in evaluate(before, now, look=DriftContext({"score"}, page_alpha=1e-3)).items()
    }
    assert critical["score"] is not None
    assert critical["f0"] is not None
    assert critical["score"] < critical["f0"]
    weighted = evaluate(before, now, look=DriftContext({"score"}, {"f0": 9.0, "f1": 1.0}, 1e-3))
    assert weighted["f0"].critical is not None
    assert weighted["f0"].critical < critical["f0"]
    assert (weighted["score"].monitor, weighted["f0"].monitor) == ("prediction_drift", "feature_drift")


def test_a_column_that_has_no_share_of_the_error_rate_never_alarms_and_stops_no_other() -> None:
    before = {name: reference(list("abc") * 200) for name in ("matters", "does_not")}
    now = {name: Histogram.of(list("aab") * 200, each.layout) for name, each in before.items()}
    found = evaluate(before, now, look=DriftContext(importance={"matters": 1.0}, page_alpha=1e-3))
    assert {name: drift.state for name, drift in found.items()} == {"matters": "alert", "does_not": "ok"}
    assert {drift.state for drift in evaluate(before, now, look=DriftContext(page_alpha=0.0)).values()} == {"ok"}


def test_histograms_that_do_not_belong_together_are_refused() -> None:
    x, y = reference([1.0, 2.0, 3.0]), reference([1.0, 2.0, 4.0])
    with pytest.raises(InvalidArgument, match="must have the same columns; only one has 'a', 'b'"):
        evaluate({"a": x}, {"b": x})
    with pytest.raises(InvalidArgument, match="counted in other bins"):
        evaluate({"a": x}, {"a": y})
