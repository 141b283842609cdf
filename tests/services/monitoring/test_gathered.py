"""Rows counted in pieces, kept and read again, are the rows counted at once; and what predictions are compared with."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.core.monitoring.columns import watched_columns
from tidegate.services.monitoring import gathered as counting
from tidegate.services.monitoring.baselines import BaselineRows, KnownBaseline, Made, make_baseline
from tidegate.services.monitoring.gathered import WHOLE, GatheredBlock, gathered
from tidegate.services.monitoring.summary import FEATURES_MAX, summary_of
from tidegate.watch.baseline.rhythm import HOUR_S
from tidegate.watch.performance.losses import labels_of
from tidegate.wire.monitoring.monitoring import BaselineView, MonitorResult
from tidegate.wire.signature import Signature, TensorSpec

SIGNATURE = Signature(
    "columns",
    (TensorSpec("age", "FP64", (-1,)), TensorSpec("town", "BYTES", (-1,))),
    (TensorSpec("prediction", "INT64", (-1,)),),
)
RNG = np.random.default_rng(1)
TOWNS = np.array(["a", "b", "c"], dtype=object)


def rows(count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    inputs = {"age": RNG.normal(size=count), "town": TOWNS[RNG.integers(0, 3, count)]}
    return inputs, {"prediction": RNG.integers(0, 2, count)}


def known(made: Made, made_at: float = 1.0) -> KnownBaseline:
    view = BaselineView("m", "1", "file", made.baseline.whole.rows, made.labelled, made_at, [])
    return KnownBaseline(made.baseline, made.roles, made.truth, view)


BASELINE = known(make_baseline(SIGNATURE, BaselineRows(*rows(1000)), "town"))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=6))
def test_pieces_add_up_to_the_whole(cuts: list[int]) -> None:
    inputs, outputs = rows(300)
    at = np.sort(RNG.uniform(0, 9000, 300))
    columns = watched_columns(SIGNATURE, inputs, outputs)
    whole = gathered(BASELINE, columns, at)
    edges = [0, *sorted(cuts), 300]
    pieces = GatheredBlock(BASELINE.view.made_at)
    for begin, end in pairwise(edges):
        piece = np.arange(begin, end)
        pieces = pieces.with_more(gathered(BASELINE, columns.where(piece), at[piece]))
        pieces = GatheredBlock.from_dict(json.loads(json.dumps(pieces.as_dict())), BASELINE)
    assert pieces.rows == 300
    assert pieces.as_dict() == whole.as_dict()
    assert set(pieces.parts) == {WHOLE, "a", "b", "c"}
    assert sum(pieces.parts[town].rows for town in "abc") == 300


def test_what_was_counted_in_other_bins_is_forgotten() -> None:
    inputs, outputs = rows(50)
    kept = gathered(BASELINE, watched_columns(SIGNATURE, inputs, outputs), np.zeros(50)).as_dict()
    assert GatheredBlock.from_dict(kept, known(make_baseline(SIGNATURE, BaselineRows(*rows(900))), 2.0)).rows == 0


@pytest.mark.parametrize(
    ("datatype", "said", "labels", "mode", "wrong"),
    [
        ("INT64", [0, 1, 1, 0], [0, "1", 1.0, True], "classes", 0.25),
        ("BYTES", ["yes", "no", "no", "no"], ["yes", "no", "never", None], "classes", 1 / 3),
        ("FP64", [0.1, 0.9, 0.6, 0.2], [0, 1, "0", None], "scores", 1 / 3),
        ("FP64", [1.0, 2.0, 3.0, 4.5], [1.0, 2.0, 3.0, 4.0], "numbers", 0.25),
    ],
)
def test_predictions_are_compared_with_labels_however_these_are_written(
    datatype: str, said: list[Any], labels: list[Any], mode: str, wrong: float
) -> None:
    signature = Signature("columns", SIGNATURE.inputs[:1], (TensorSpec("prediction", datatype, (-1,)),))
    answers = np.array(said, dtype=object if datatype == "BYTES" else None)
    truths = np.array(labels, dtype=object)
    made = make_baseline(signature, BaselineRows({"age": np.arange(4.0)}, {"prediction": answers}, truths))
    assert made.truth is not None
    assert made.truth.mode == mode
    found = watched_columns(signature, {"age": np.arange(4.0)}, {"prediction": answers})
    assert np.nanmean(made.truth.losses(found, truths)) == pytest.approx(wrong, abs=0.02)


def test_texts_are_no_truth_of_numbers_and_lists_no_labels() -> None:
    signature = Signature("columns", SIGNATURE.inputs[:1], (TensorSpec("prediction", "FP64", (-1,)),))
    given = BaselineRows(
        {"age": np.arange(2.0)}, {"prediction": np.array([0.5, 7.5])}, np.array(["red", "blue"], dtype=object)
    )
    made = make_baseline(signature, given)
    assert (made.truth, made.labelled) == (None, 0)
    texts = np.array(["1", '"x"', "[1]", "null", "no JSON", None, "true"], dtype=object)
    assert labels_of(texts).tolist() == [1, "x", None, None, None, None, True]


def result(monitor: Any, feature: str | None, effect: float | None, **more: Any) -> MonitorResult:
    return MonitorResult(
        monitor=monitor,
        endpoint="e",
        feature=feature,
        effect=effect,
        since=0.0,
        until=1.0,
        verdict="",
        state="ok",
        evaluated_at=1.0,
        **more,
    )


def test_prometheus_hears_of_the_columns_that_moved_furthest() -> None:
    found = [result("feature_drift", f"f{n:02}", n / 100, version="1", drift_detected=n > 15) for n in range(20)]
    found.append(result("performance", None, None, version="1", metric="accuracy", value=0.9))
    first = summary_of({}, found, {"1"})
    assert list(first["drift"]) == [f"f{n:02}" for n in range(19, 19 - FEATURES_MAX, -1)]
    assert (first["drifted"], first["quality"]) == (4, {"1": {"accuracy": 0.9}})
    later = summary_of(
        first, [result("performance", None, None, version="2", metric="accuracy", value=0.8)], {"1", "2"}
    )
    assert later["drift"] == first["drift"]
    assert later["quality"] == {"1": {"accuracy": 0.9}, "2": {"accuracy": 0.8}}
    assert summary_of(later, [], {"2"})["quality"] == {"2": {"accuracy": 0.8}}, "and not of what serves no more"


def test_rows_are_read_by_whole_hours_and_an_hour_with_too_many_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "ROWS_AT_ONCE", 10)
    hour = HOUR_S
    times = np.concatenate([np.linspace(0, hour - 1, 4) + number * hour for number in range(6)])
    moments = counting.slices(times, 0.0, 6 * hour)
    assert [moment / hour for moment in moments] == [0, 2, 4, 6]
    crowded = np.linspace(0, hour - 1, 25)
    moments = counting.slices(crowded, 0.0, hour)
    assert np.histogram(crowded, moments)[0].tolist() == [10, 10, 5]
    assert counting.slices(np.full(25, 7.0), 0.0, hour) == [0.0, 7.0, hour]
