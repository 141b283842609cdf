"""Estimates without labels are as close to what labels show as NannyML's, on the data in NannyML's own wheel.

The files are made by oracles/make_nannyml.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegate.watch.histograms.values import Floats
from tidegate.watch.performance import estimated
from tidegate.watch.performance.estimated import Estimate, estimate_classifier, estimate_error

pytestmark = pytest.mark.long

ORACLES = Path(__file__).parent / "oracles"
MADE: dict[str, Any] = json.loads((ORACLES / "nannyml.json").read_text())
CHUNKS = MADE["chunks"]


@pytest.fixture(scope="module")
def rows() -> Iterator[Any]:
    with np.load(ORACLES / "nannyml.npz") as kept:
        yield kept


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval needs them, the value does not."""
    monkeypatch.setattr(estimated, "RESAMPLES", 4)


def expanded(counts: np.ndarray[Any, Any]) -> tuple[Floats, Floats]:
    """Scores and labels of so many rows by label and thousandth."""
    labels, thousandths = (np.repeat(each.ravel(), counts.ravel()) for each in np.indices(counts.shape))
    return thousandths / 1000, labels.astype(np.float64)


def off_by(figures: list[float | None], realised: list[float]) -> float:
    """On average over chunks."""
    return float(np.abs(np.array(figures, dtype=np.float64) - realised).mean())


@pytest.mark.parametrize("name", ["car_loan", "work_home", "employment"])
def test_a_classifiers_metrics_are_estimated_no_worse_than_by_nannyml(rows: Any, name: str) -> None:
    known, counts = MADE["sets"][name], rows[name]
    scores, labels = expanded(counts[0])
    found: list[dict[str, Estimate]] = []
    for chunk in range(1, 1 + CHUNKS):
        now, truth = expanded(counts[chunk])
        found.append(estimate_classifier(scores, labels, now, known["threshold"]))
        right = float(((now >= known["threshold"]) == (truth == 1)).mean())
        assert right == pytest.approx(known["metrics"]["accuracy"]["realised"][chunk - 1], abs=1e-9)
    for metric, theirs in known["metrics"].items():
        ours = off_by([each[metric].value for each in found], theirs["realised"])
        assert ours <= off_by(theirs["estimated"], theirs["realised"]) + 1e-6, metric


def test_an_absolute_error_is_estimated_no_worse_than_by_nannyml(rows: Any) -> None:
    theirs = MADE["sets"]["car_price"]["metrics"]["absolute_error"]
    data = {name: rows[f"car_price_{name}"].astype(np.float64) for name in ("inputs", "predictions", "labels")}
    known = [rows[f"car_price_reference_{name}"].astype(np.float64) for name in ("inputs", "predictions", "labels")]
    ours: list[float | None] = []
    for chunk in range(CHUNKS):
        inputs, predictions, labels = (np.array_split(data[name], CHUNKS)[chunk] for name in data)
        assert np.abs(predictions - labels).mean() == pytest.approx(theirs["realised"][chunk])
        ours.append(estimate_error(known[0], known[1], known[2], inputs, predictions).value)
    assert off_by(ours, theirs["realised"]) <= off_by(theirs["estimated"], theirs["realised"])
