"""What is worth an alert of results on plain arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tidegate.errors import InvalidArgument
from tidegate.watch import detect_data_drift, detect_performance_drift, generate_alert

BASELINE = np.random.default_rng(1).normal(size=(2_000, 3))
NEW = np.random.default_rng(2).normal([0.0, 0.5, 1.0], size=(1_000, 3))


def test_each_column_that_drifted_has_an_alert_after_that_of_performance_the_largest_change_first() -> None:
    drift = detect_data_drift(NEW, BASELINE)
    worse = detect_performance_drift([1, 0, 1] * 100, [1, 1, 1] * 100, 0.95)
    alerts = generate_alert(drift, worse)
    assert [(one["type"], one["severity"], one.get("feature")) for one in alerts] == [
        ("performance_drift", "high", None),
        ("data_drift", "medium", "feature_2"),
        ("data_drift", "medium", "feature_1"),
    ]
    assert alerts[0]["message"].startswith("worse: accuracy is 0.667")
    assert alerts[1]["message"].startswith("feature_2: drift: ")
    assert json.loads(json.dumps(alerts)) == alerts


def test_an_answer_that_moved_is_of_higher_severity() -> None:
    drift = detect_data_drift(NEW, BASELINE, outputs=["feature_1"])
    assert {one["feature"]: (one["type"], one["severity"]) for one in generate_alert(drift)} == {
        "feature_1": ("prediction_drift", "high"),
        "feature_2": ("data_drift", "medium"),
    }


def test_what_is_well_or_unknown_is_no_alert() -> None:
    unknown = detect_performance_drift([1, 0, 1], [None] * 3, 0.9)
    assert generate_alert(detect_data_drift(BASELINE[:5], BASELINE), unknown) == []
    assert generate_alert() == []


def test_what_is_no_result_is_refused_with_what_to_pass() -> None:
    with pytest.raises(
        InvalidArgument, match=r"drift_results\['a'\] has no 'drift_detected': pass what detect_data_drift"
    ):
        generate_alert({"a": {"ks_statistic": 0.3}})
    with pytest.raises(InvalidArgument, match="pass what detect_performance_drift returns"):
        generate_alert(performance_results={"accuracy": 0.3})
    with pytest.raises(InvalidArgument, match="performance_results has no 'verdict'"):
        generate_alert(performance_results={"significant_drop": True})
    with pytest.raises(InvalidArgument, match=r"drift_results\['a'\] has no 'monitor'"):
        generate_alert({"a": {"drift_detected": True}})
    with pytest.raises(InvalidArgument, match="drift_results is no dictionary"):
        generate_alert([{"drift_detected": True}])  # type: ignore[arg-type]
