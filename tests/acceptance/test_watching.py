"""Deploy behind a gate, predict, label, ask what monitors found: what is as it was stays quiet, what moved is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.models import Models
from support.platform import Platform
from support.wait import until

pytestmark = pytest.mark.slow

GATE = ("--target", "y", "--metric", "accuracy", "--min-score", "0.8")
ROWS = 240


def deployed(platform: Platform, models: Models, name: str) -> str:
    data = ("--validation-data", models.path("validation.csv"))
    platform.done(
        "deploy", models.path("logistic.joblib"), "--name", name, "--allow-pickle", "--no-accelerate", *data, *GATE
    )
    return name


def predicted(platform: Platform, endpoint: str, rows: np.ndarray[Any, Any]) -> list[tuple[str, int, Any]]:
    """Each row's request, place in it and prediction."""
    found = []
    for begin in range(0, len(rows), 60):
        answer = platform.predict(endpoint, rows[begin : begin + 60].tolist())
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += [(body["id"], place, one) for place, one in enumerate(body["prediction"])]
    return found


def label(platform: Platform, endpoint: str, answers: list[tuple[str, int, Any]], *, right: bool) -> None:
    events = [
        {"id": request, "row": place, "endpoint": endpoint, "label": said if right else 1 - said}
        for request, place, said in answers
    ]
    answer = platform.ask("/feedback", events)
    assert answer.status_code == 202, answer.text


def captured(platform: Platform, endpoint: str, rows: int) -> None:
    """Wait until evaluations see so many rows and labels."""

    def seen() -> bool:
        found = platform.done("monitor", endpoint, "--now")
        counts = [(one["n"], one["n_labelled"]) for one in found if one["metric"] == "accuracy"]
        return (rows, rows) in counts

    until(seen, what=f"{rows} labelled rows in an evaluation")


def of(found: list[dict[str, Any]], monitor: str) -> dict[str, dict[str, Any]]:
    return {one["feature"] or one["metric"]: one for one in found if one["monitor"] == monitor}


def test_what_moved_is_told_and_a_drop_is_told_and_both_are_alerts(platform: Platform, models: Models) -> None:
    endpoint = deployed(platform, models, "watched")
    baseline = platform.done("baseline", "watched")
    assert (baseline["source"], baseline["metric"]) == ("validation", "accuracy")
    assert [one["name"] for one in baseline["columns"] if one["role"] == "input"] == [f"feature_{n}" for n in range(30)]
    rows = np.resize(models.rows, (ROWS, 30)).astype(float)
    rows[:, 3] += 4 * rows[:, 3].std()
    answers = predicted(platform, endpoint, rows)
    label(platform, endpoint, answers, right=False)
    captured(platform, endpoint, ROWS)
    found = platform.done("monitor", endpoint)
    drift = of(found, "feature_drift")
    assert drift["feature_3"]["drift_detected"] is True
    assert drift["feature_3"]["effect_lower"] > 0.05
    assert drift["feature_3"]["histograms"]["names"]
    performance = of(found, "performance")["accuracy"]
    assert performance["significant_drop"] is True
    assert performance["current_accuracy"] == 0.0
    assert performance["baseline_accuracy"] == pytest.approx(baseline["value"])
    assert performance["coverage"] == 1.0
    failing = platform.cli("monitor", endpoint, "--fail-on", "drift,performance")
    assert failing.code == 1
    assert "feature_3" in failing.err


def test_what_is_as_it_was_stays_quiet(platform: Platform, models: Models) -> None:
    endpoint = deployed(platform, models, "quiet")
    rows = np.random.default_rng(3).permutation(np.resize(models.rows, (ROWS, 30)))
    label(platform, endpoint, predicted(platform, endpoint, rows), right=True)
    captured(platform, endpoint, ROWS)
    found = platform.done("monitor", endpoint)
    assert [one["verdict"] for one in found if one["state"] == "alert"] == []
    assert of(found, "performance")["accuracy"]["significant_drop"] is False
    assert platform.cli("monitor", endpoint, "--fail-on", "any").code == 0
    history = platform.api("GET", f"/api/v1/endpoints/{endpoint}/monitor-results?monitor=feature_drift&limit=1").json()
    assert len(history["results"]) == 1
    assert history["next"] is not None


def test_nothing_is_said_where_nothing_is_known(platform: Platform, models: Models, tmp_path: Path) -> None:
    platform.done("deploy", models.path("forest.joblib"), "--name", "unwatched", "--allow-pickle", "--no-accelerate")
    assert platform.failed("baseline", "unwatched")["code"] == "unknown_baseline"
    assert "last at 20" in platform.cli("monitor", "unwatched", "--now").out
    found = platform.done("monitor", "unwatched", "--now")
    assert {one["state"] for one in found if one["monitor"] != "capture"} == {"unknown"}
    assert any("tidegate baseline unwatched:1 --data" in one["verdict"] for one in found)
    made = platform.done("baseline", "unwatched", "--data", models.path("validation.csv"), "--target", "y")
    assert (made["source"], made["metric"]) == ("file", "accuracy")
    timed = tmp_path / "timed.csv"
    table = pd.read_csv(models.path("validation.csv"))
    table.assign(at=pd.date_range("2026-10-01", periods=len(table), freq="3h").strftime("%Y-%m-%d %H:%M")).to_csv(
        timed, index=False
    )
    options = ("baseline", "unwatched", "--data", str(timed), "--target", "y")
    made = platform.done(*options, "--time-column", "at", "--timezone", "Europe/Berlin")
    assert (made["rows"], made["labelled"]) == (len(table), len(table))
    assert "at" not in [one["name"] for one in made["columns"]]
    refused = platform.cli(*options, "--time-column", "when")
    assert (refused.code, "there is no column 'when'" in refused.err) == (2, True)
    found = platform.done("monitor", "unwatched", "--now")
    assert {one["state"] for one in found if one["monitor"] != "capture"} == {"unknown"}
    assert any("has answered no request since then" in one["verdict"] for one in found)
    sql = "SELECT DISTINCT monitor FROM monitor_results WHERE state = 'unknown'"
    until(lambda: {"monitor": "feature_drift"} in platform.done("capture", "unwatched", "--sql", sql), what="results")
    platform.done("monitor", "unwatched", "--off")
    assert platform.failed("monitor", "unwatched", "--now")["code"] == "conflict"
