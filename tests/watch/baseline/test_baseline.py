"""Baselines: what is kept of a reference, whole and by segment."""

import json
from typing import Any

import numpy as np
import pytest

from tidegate.errors import InvalidArgument
from tidegate.watch.baseline.baseline import SEGMENT_ROWS_MIN, Baseline, BaselineRowsGiven, baseline_of
from tidegate.watch.drift.drift import DriftContext, evaluate
from tidegate.watch.histograms.histogram import Histogram, merged

RNG = np.random.default_rng(15)
ROWS = 3_000
INPUTS: dict[str, Any] = {
    "amount": np.where(RNG.random(ROWS) < 0.01, np.nan, RNG.lognormal(size=ROWS)),
    "country": RNG.choice(["DE", "FR", "IT"], ROWS, p=[0.5, 0.48, 0.02]),
    "note": [f"text {number}" for number in range(ROWS)],
}
OUTPUTS: dict[str, Any] = {"score": RNG.random(ROWS), "prediction": RNG.integers(0, 2, ROWS)}
LOSSES = np.where(RNG.random(ROWS) < 0.5, np.nan, (RNG.random(ROWS) < 0.1).astype(np.float64))
SOURCE = BaselineRowsGiven(INPUTS, OUTPUTS, LOSSES, kinds={"prediction": "category"}, by="country")


def test_inputs_outputs_and_losses_have_histograms() -> None:
    made = baseline_of(SOURCE)
    assert list(made.whole.columns) == ["amount", "country", "note", "score", "prediction"]
    kinds = [histogram.layout.kind for histogram in made.whole.columns.values()]
    assert kinds == ["numeric", "category", "text", "numeric", "category"]
    assert made.outputs == ("score", "prediction")
    assert made.whole.rows == ROWS
    assert made.whole.loss is not None
    assert made.whole.loss.special["missing"] == np.isnan(LOSSES).sum()
    assert made.whole.risk is not None
    assert made.whole.risk.risk == pytest.approx(np.nanmean(LOSSES))


def test_segments_are_counted_in_the_bins_of_the_whole() -> None:
    everything = BaselineRowsGiven(INPUTS, by="country")
    made = baseline_of(everything)
    assert list(made.segments) == ["DE", "FR"]  # Italy has too few rows
    few = INPUTS["country"] == "IT"
    assert 0 < few.sum() < SEGMENT_ROWS_MIN
    rest = Histogram.of(INPUTS["amount"][few], made.whole.columns["amount"].layout)
    parts = [made.segments[name].columns["amount"] for name in ("DE", "FR")]
    assert merged([*parts, rest], rest.layout) == made.whole.columns["amount"]
    assert made.part("IT") is made.part() is made.whole
    assert made.part("DE").rows == (INPUTS["country"] == "DE").sum()


def test_a_baseline_survives_json_and_decides_alike() -> None:
    made = baseline_of(SOURCE)
    again = Baseline.from_dict(json.loads(json.dumps(made.as_dict(), allow_nan=False)), made.sample)
    assert again == made
    columns = made.whole.columns
    now = {name: Histogram.of(values[:1_000], columns[name].layout) for name, values in {**INPUTS, **OUTPUTS}.items()}
    assert evaluate(columns, now, look=DriftContext(made.outputs)) == evaluate(
        again.whole.columns, now, look=DriftContext(again.outputs)
    )


def test_the_sample_is_bounded_and_its_rows_belong_together() -> None:
    made = baseline_of(SOURCE, sample_rows_max=200)
    assert {values.size for values in made.sample.values()} == {200}
    rows = [int(text.split()[1]) for text in made.sample["note"]]
    assert rows == sorted(set(rows))
    assert made.sample["score"].tolist() == OUTPUTS["score"][rows].tolist()
    np.testing.assert_array_equal(made.sample["loss"], LOSSES[rows])
    assert baseline_of(SOURCE, sample_rows_max=200).sample["note"].tolist() == made.sample["note"].tolist()


def test_without_labels_there_is_no_risk() -> None:
    assert baseline_of(BaselineRowsGiven(INPUTS)).whole.loss is None
    unlabelled = baseline_of(BaselineRowsGiven(INPUTS, losses=np.full(ROWS, np.nan))).whole
    assert unlabelled.risk is None


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (BaselineRowsGiven({}), "at least one column"),
        (BaselineRowsGiven({"x": []}), "no rows"),
        (BaselineRowsGiven({"x": [1, 2], "y": [1]}), "'y' has 1 rows, 'x' 2"),
        (BaselineRowsGiven({"x": [1, 2]}, losses=np.zeros(3)), "'x' has 2 rows, 'losses' 3"),
        (BaselineRowsGiven({"x": [1]}, {"x": [1]}), "is an input and an output"),
        (BaselineRowsGiven({"x": [1]}, by="y"), "no column 'y' to make segments by"),
    ],
)
def test_what_cannot_be_a_baseline_is_refused(source: BaselineRowsGiven, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        baseline_of(source)


@pytest.mark.parametrize(
    "plain", [{}, {"form": 1}, {"form": 1, "whole": [], "outputs": [], "by": None, "segments": {}}]
)
def test_what_is_no_baseline_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="no baseline"):
        Baseline.from_dict(plain)
