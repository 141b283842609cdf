"""What performance would be without labels: from captured rows that a test makes, on baselines that are real."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tidegate.core.captured import Columns
from tidegate.core.monitoring.columns import watched_columns
from tidegate.services.monitoring.baselines import BaselineRows, KnownBaseline, make_baseline
from tidegate.services.monitoring.performance.estimates import ROWS_MAX, estimate_results, newest_since
from tidegate.services.monitoring.place import Place
from tidegate.wire.monitoring.monitoring import MonitorResult
from tidegate.wire.signature import Signature, TensorSpec

PLACE = Place("churn", "1", 0.0, 3600.0, 3600.0)


def estimates(
    signature: Signature, before: tuple[Any, Any, Any], now: tuple[Any, Any], labels: bool = True
) -> dict[str | None, MonitorResult]:
    """`before`: inputs, outputs and labels of the baseline; `now`: inputs and outputs."""
    made = make_baseline(signature, BaselineRows(before[0], before[1], before[2] if labels else None))
    view = SimpleNamespace(made_at=0.0)
    known = KnownBaseline(made.baseline, made.roles, made.truth, view)  # type: ignore[arg-type]
    columns = watched_columns(signature, *now)
    return {one.metric: one for one in estimate_results(known, dict(made.baseline.sample), columns, PLACE)}


def signature(*outputs: TensorSpec, classes: tuple[Any, ...] | None = None) -> Signature:
    return Signature("columns", (TensorSpec("x", "FP64", (-1,)),), outputs, classes=classes)


def classified(rng: np.random.Generator, rows: int, spread: float, names: tuple[str, ...]) -> Any:
    """Inputs, what a calibrated classifier answers, and labels; the smaller the spread the less certain it is."""
    x = rng.normal(0, spread, rows)
    score = 1 / (1 + np.exp(-x))
    probabilities = np.column_stack((1 - score, score))
    names_of = np.array(names, dtype=object)
    said = names_of[(score > 0.5).astype(int)]
    labels = names_of[(rng.random(rows) < score).astype(int)]
    return {"x": x}, {"label": said, "probabilities": probabilities}, labels


def test_a_classifiers_accuracy_is_estimated_from_its_scores_alone() -> None:
    rng = np.random.default_rng(1)
    model = signature(
        TensorSpec("label", "BYTES", (-1,)), TensorSpec("probabilities", "FP64", (-1, 2)), classes=("no", "yes")
    )
    before, now = classified(rng, 4_000, 3.0, ("no", "yes")), classified(rng, 3_000, 0.5, ("no", "yes"))
    found = estimates(model, before, now[:2])
    assert set(found) == {"accuracy", "f1", "auc"}
    right = float(np.mean(now[1]["label"] == now[2]))
    accuracy = found["accuracy"]
    assert accuracy.value == pytest.approx(right, abs=0.04)
    assert (accuracy.method, accuracy.n, accuracy.n_reference) == ("CBPE", 3_000, 4_000)
    assert accuracy.reference == pytest.approx(float(np.mean(before[1]["label"] == before[2])))
    assert (accuracy.performance_drop or 0.0) > 0.1
    assert {one.state for one in found.values()} == {"ok"}, "however much it fell: it has no share of the budget"
    assert "cannot be seen without labels" in accuracy.verdict


def test_of_three_classes_accuracy_alone_is_estimated() -> None:
    rng = np.random.default_rng(2)
    model = signature(
        TensorSpec("label", "INT64", (-1,)), TensorSpec("probabilities", "FP64", (-1, 3)), classes=(0, 1, 2)
    )

    def drawn(rows: int, sharpness: float) -> Any:
        p = rng.dirichlet(np.full(3, sharpness), rows)
        labels = (rng.random((rows, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 2)
        return {"x": p[:, 0]}, {"label": np.argmax(p, axis=1), "probabilities": p}, labels

    before, now = drawn(4_000, 0.2), drawn(3_000, 2.0)
    found = estimates(model, before, now[:2])
    assert set(found) == {"accuracy"}
    assert found["accuracy"].value == pytest.approx(float(np.mean(now[1]["label"] == now[2])), abs=0.05)


def test_a_regressors_error_is_estimated_from_inputs() -> None:
    rng = np.random.default_rng(3)
    model = signature(TensorSpec("price", "FP64", (-1,)))

    def drawn(rows: int, low: float) -> Any:
        x = rng.uniform(low, 10, rows)
        return {"x": x}, {"price": 5 * x}, 5 * x + rng.normal(0, 0.1 + x)

    before, now = drawn(3_000, 0.0), drawn(2_000, 7.0)
    found = estimates(model, before, now[:2])["absolute_error"]
    assert found.value == pytest.approx(float(np.mean(np.abs(now[1]["price"] - now[2]))), rel=0.15)
    assert found.method == "DLE"
    assert (found.performance_drop or 0.0) > 0.03


def test_without_labels_or_scores_nothing_is_estimated_and_of_few_rows_nothing_is_known() -> None:
    rng = np.random.default_rng(4)
    plain = signature(TensorSpec("label", "BYTES", (-1,)), classes=("no", "yes"))
    inputs, outputs, labels = classified(rng, 500, 1.0, ("no", "yes"))
    said = {"label": outputs["label"]}
    assert estimates(plain, (inputs, said, labels), (inputs, said)) == {}
    model = signature(
        TensorSpec("label", "BYTES", (-1,)), TensorSpec("probabilities", "FP64", (-1, 2)), classes=("no", "yes")
    )
    assert estimates(model, (inputs, outputs, labels), (inputs, outputs), labels=False) == {}
    few = {"x": inputs["x"][:5]}, {name: values[:5] for name, values in outputs.items()}
    found = estimates(model, (inputs, outputs, labels), few)
    assert {(one.state, one.value) for one in found.values()} == {("unknown", None)}


class Counted:
    """A port that has a row a second."""

    def __init__(self, since: float) -> None:
        self.since, self.every, self.read = since, 1.0, 0

    def rows(self, _table: str, _endpoint: str, since_s: float, until_s: float, *_more: Any) -> Columns:
        at = np.arange(np.ceil(max(since_s, self.since)), until_s, self.every)
        self.read += at.size
        return {"at": at} if at.size else {}


def test_only_the_newest_rows_are_read_however_many_there_are() -> None:
    busy = Counted(0.0)
    busy.every = 0.125
    assert newest_since(busy, "churn", "1", 86_400.0, 0.0) == 86_400.0 - ROWS_MAX / 8  # type: ignore[arg-type]
    assert busy.read < 6 * ROWS_MAX
    hourly = Counted(0.0)
    hourly.every = 4.0
    assert newest_since(hourly, "churn", "1", 86_400.0, 0.0) == 86_400.0 - 3_840.0  # type: ignore[arg-type]
    quiet = Counted(86_000.0)
    assert newest_since(quiet, "churn", "1", 86_400.0, 0.0) == 86_000.0  # type: ignore[arg-type]
    assert newest_since(Counted(1e9), "churn", "1", 86_400.0, 0.0) is None  # type: ignore[arg-type]
