"""The functions for notebooks, on arrays and data frames, with the fields they promise."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tidegate.errors import InvalidArgument
from tidegate.watch import detect_data_drift, detect_performance_drift

RNG = np.random.default_rng(15)
BASELINE = RNG.normal(size=(2_000, 3))


def test_arrays_are_looked_at_by_feature() -> None:
    new = RNG.normal(size=(1_000, 3)) + np.array([0.0, 1.0, 0.0])
    found = detect_data_drift(new, BASELINE)
    assert list(found) == ["feature_0", "feature_1", "feature_2"]
    assert [each["drift_detected"] for each in found.values()] == [False, True, False]
    assert {"ks_statistic", "p_value", "drift_detected", "effect", "effect_lower", "verdict", "n", "psi"} <= set(
        found["feature_1"]
    )
    assert found["feature_1"]["ks_statistic"] > 0.3 > found["feature_0"]["ks_statistic"]
    assert found["feature_1"]["p_value"] < 1e-6
    json.dumps(found, allow_nan=False)


def test_data_frames_keep_their_names_and_their_types() -> None:
    rows = 1_000
    frame = pd.DataFrame(
        {
            "amount": RNG.lognormal(size=rows),
            "country": RNG.choice(["DE", "FR", "IT"], rows),
            "is_new": RNG.random(rows) < 0.3,
            "visits": pd.Series(RNG.integers(0, 9, rows), dtype="Int64"),
            "seen": pd.Timestamp("2026-01-01") + pd.to_timedelta(RNG.integers(0, 1_000, rows), unit="h"),
            "constant": 1,
        }
    )
    new = frame.sample(frac=0.8, random_state=1).assign(country="FR", visits=np.nan)
    found = detect_data_drift(new, frame, outputs=["amount"])
    assert [each["kind"] for each in found.values()] == [
        "numeric",
        "category",
        "boolean",
        "integer",
        "numeric",
        "integer",
    ]
    detected = {name: each["drift_detected"] for name, each in found.items()}
    assert detected == {
        "amount": False,
        "country": True,
        "is_new": False,
        "visits": True,
        "seen": False,
        "constant": None,
    }
    assert found["amount"]["monitor"] == "prediction_drift"
    assert "missing values rose from 0.00% to 100.0%" in found["visits"]["verdict"]
    assert found["constant"]["state"] == "unknown"
    json.dumps(found, allow_nan=False)


def test_lists_and_dictionaries_will_do() -> None:
    rows = [[1, "a", None], [2, "b", 0.5]] * 100
    found = detect_data_drift(rows, rows)
    assert [each["kind"] for each in found.values()] == ["integer", "category", "numeric"]
    classes = {"class": [0, 1, 2] * 100}
    assert detect_data_drift(classes, classes, categorical=["class"])["class"]["kind"] == "category"


@pytest.mark.parametrize(
    ("new", "baseline", "told"),
    [
        (np.ones((5, 2)), np.ones((5, 3)), "new_data has 2 columns and baseline_data 3.*new_data has no 'feature_2'"),
        ({"a": [1]}, {"b": [1]}, "new_data has no 'b'; baseline_data has no 'a'"),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1], "b": [2]}), "new_data has no 'b'"),
        ({"a": [1, 2], "b": [1]}, {"a": [1], "b": [1]}, "different lengths: 'b' has 1 rows, 'a' 2"),
        ([], np.ones((5, 2)), "new_data is empty, without columns"),
        ({}, {"a": [1]}, "new_data has no columns"),
        (np.ones((2, 2, 2)), np.ones((2, 2, 2)), "must be rows by features, and has the shape"),
        ([[1, 2], [3]], [[1, 2]], "its rows have from 1 to 2 values"),
        (None, [[1.0]], "new_data is no table of rows by features"),
        ("abc", [[1.0]], "new_data is a text"),
    ],
)
def test_tables_that_do_not_fit_are_refused_with_the_reason(new: Any, baseline: Any, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        detect_data_drift(new, baseline)


def test_an_empty_window_is_unknown() -> None:
    found = detect_data_drift(np.empty((0, 3)), BASELINE)
    assert [each["state"] for each in found.values()] == ["unknown"] * 3
    assert detect_data_drift(BASELINE[:1], BASELINE)["feature_0"]["drift_detected"] is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"outputs": ["score"]}, "there is no 'score'; there are feature_0, feature_1"),
        ({"outputs": "feature_0"}, "must name columns"),
        ({"margin": 5}, "between 0 and 1"),
        ({"bins": 1}, "from 2 to 100 bins"),
    ],
)
def test_arguments_that_cannot_be_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        detect_data_drift(BASELINE, BASELINE, **change)


def test_a_model_that_got_worse_is_told_from_one_that_did_not() -> None:
    truth = RNG.integers(0, 2, 3_000)
    fine = np.where(RNG.random(3_000) < 0.9, truth, 1 - truth)
    poor = np.where(RNG.random(3_000) < 0.75, truth, 1 - truth)
    worse = detect_performance_drift(poor, [str(label) for label in truth], baseline=(fine, truth))
    assert worse["significant_drop"] is True
    assert worse["performance_drop"] == pytest.approx((fine == truth).mean() - (poor == truth).mean())
    assert worse["current_accuracy"] == worse["value"] == pytest.approx((poor == truth).mean())
    assert worse["baseline_accuracy"] == worse["reference"]
    assert worse["lower"] < worse["value"] < worse["upper"]
    same = detect_performance_drift(fine, truth, baseline=0.9)
    assert (same["significant_drop"], same["n_reference"]) == (False, 0)
    late = detect_performance_drift(poor, [None if at % 2 else label for at, label in enumerate(truth)], baseline=0.9)
    assert late["coverage"] == 0.5
    json.dumps([worse, same, late], allow_nan=False)


def test_errors_of_numbers_are_compared_as_well() -> None:
    truth = RNG.normal(size=2_000) * 100
    found = detect_performance_drift(
        truth + RNG.normal(0, 30, 2_000), truth, (truth + RNG.normal(0, 10, 2_000), truth), metric="absolute_error"
    )
    assert found["significant_drop"] is True
    assert found["reference"] == pytest.approx(8, abs=0.6)  # the mean of |N(0, 10)| is 7.98
    assert "current_accuracy" not in found


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([1, 0], [1], 0.9), "predictions has 2 rows and actual_labels has 1"),
        (([1], [1], ([1, 2], [1])), "the baseline's predictions has 2 rows and the baseline's labels has 1"),
        (([1], [1], 90), "from 0 to 1"),
        (([1], [1], "0.9"), "an accuracy between 0 and 1, or a pair"),
        (([1], [1], ([], [])), "no labelled row"),
        (([0.2, 0.9], [0, 1], 0.9), "predictions has numbers such as 0.2 where labels are classes"),
    ],
)
def test_predictions_that_do_not_fit_are_refused_with_the_reason(arguments: Any, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        detect_performance_drift(*arguments)


def test_an_absolute_error_needs_a_pair_to_compare_with() -> None:
    with pytest.raises(InvalidArgument, match="is a pair of"):
        detect_performance_drift([1.0], [1.0], 0.9, metric="absolute_error")
    with pytest.raises(InvalidArgument, match="no metric 'auc'"):
        detect_performance_drift([1.0], [1.0], 0.9, metric="auc")  # type: ignore[arg-type]


def test_without_labels_nothing_is_claimed() -> None:
    found = detect_performance_drift([1, 0, 1], [None] * 3, 0.9)
    assert (found["state"], found["significant_drop"], found["current_accuracy"]) == ("unknown", None, None)
    assert detect_performance_drift([], [], 0.9)["state"] == "unknown"


def test_neither_pandas_nor_heavy_parts_of_scipy_are_imported() -> None:
    code = (
        "import sys, tidegate.watch as watch; rows = [[1.0, 'a'], [2.0, 'b']] * 60\n"
        "watch.detect_data_drift(rows, rows)\n"
        "print([m for m in ('pandas', 'scipy.stats', 'scipy.optimize', 'sklearn', 'msgspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]", done.stderr
