"""Estimates without labels: near what labels show when inputs moved, and blind, as they say, when the relation did."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.values import Floats
from tidegate.watch.performance import boosting
from tidegate.watch.performance.estimated import Calibration, Estimate, estimate_classifier, estimate_error
from tidegate.watch.performance.metrics import auc
from tidegate.watch.performance.performance import Cohort, LossMetric, Reference, evaluate


def scored(rng: np.random.Generator, rows: int, shift: float = 0.0, flipped: float = 0.0) -> tuple[Floats, Floats]:
    """Scores of an overconfident model, and labels."""
    x = rng.normal(shift, 1, rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(1 - 2 * x))).astype(np.float64)
    labels = np.where(rng.random(rows) < flipped, 1 - labels, labels)
    return 1 / (1 + np.exp(1 - 3 * x)), labels


def priced(rng: np.random.Generator, rows: int, shift: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Inputs, predictions and labels of a regressor that errs the more, the larger its first input is."""
    inputs = rng.normal(size=(rows, 3)) + np.array([shift, 0.0, 0.0])
    predictions: Floats = inputs.sum(axis=1)
    return inputs, predictions, predictions + rng.normal(size=rows) * (2 + np.clip(inputs[:, 0], -1.5, 1.5))


def test_the_calibration_is_the_isotonic_one() -> None:
    scores, labels = scored(np.random.default_rng(1), 2_000)
    expected = IsotonicRegression(out_of_bounds="clip").fit(scores, labels).predict(scores)
    assert Calibration.of(scores, labels)(scores) == pytest.approx(expected, abs=1e-9)
    assert Calibration.of(np.array([0.2, 0.2, 0.9]), np.array([0.0, 1.0, 1.0]))(np.array([0.0, 0.2, 1.0])).tolist() == [
        0.5,
        0.5,
        1.0,
    ]


def test_a_classifiers_metrics_are_estimated_where_inputs_moved() -> None:
    rng = np.random.default_rng(2)
    inside = np.zeros(3)
    for _ in range(10):
        scores, labels = scored(rng, 800, shift=0.7)
        found = estimate_classifier(*scored(rng, 1_500), scores)
        predicted = scores >= 0.5
        hits = float((predicted * labels).sum())
        realised = (
            float((predicted == labels).mean()),
            2 * hits / float(predicted.sum() + labels.sum()),
            auc(scores, labels).value,
        )
        for place, (name, value) in enumerate(zip(("accuracy", "f1", "auc"), realised, strict=True)):
            low, high = found[name].lower, found[name].upper
            assert low is not None
            assert high is not None
            assert value is not None
            inside[place] += low <= value <= high
    assert inside.min() >= 8, inside
    json.dumps([each.as_dict() for each in found.values()], allow_nan=False)
    assert "assumes that labels given inputs have not changed" in found["accuracy"].verdict


def test_a_change_of_the_relation_is_seen_by_labels_alone() -> None:
    rng = np.random.default_rng(3)
    before, now = scored(rng, 3_000), scored(rng, 2_000, flipped=0.2)
    quiet = estimate_classifier(*before, now[0])["accuracy"]
    assert quiet.value == pytest.approx(quiet.reference, abs=0.03)
    losses = [((scores >= 0.5) != labels).astype(np.float64) for scores, labels in (before, now)]
    assert evaluate(Cohort(losses[1]), Reference.of(losses[0]), LossMetric("accuracy")).significant_drop


def test_a_regressors_error_is_estimated_where_inputs_moved() -> None:
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(8):
        inputs, predictions, labels = priced(rng, 1_000, shift=0.8)
        before = priced(rng, 3_000)
        found = estimate_error(*before, inputs, predictions)
        assert found.lower is not None
        assert found.upper is not None
        assert found.reference is not None
        inside += found.lower <= float(np.abs(predictions - labels).mean()) <= found.upper
        assert found.lower > found.reference
    assert inside >= 6


def test_the_small_model_learns_what_two_inputs_do_together() -> None:
    rng = np.random.default_rng(5)
    inputs = rng.random((4_000, 4))
    inputs[::50, 3] = np.nan
    targets = np.where((inputs[:, 0] > 0.5) & (inputs[:, 1] > 0.3), 2.0, 0.0) + 3.0 * np.isnan(inputs[:, 3])
    model = boosting.fit(inputs, targets)
    assert np.abs(model(inputs) - targets).mean() < 0.1
    assert boosting.fit(inputs, np.ones(4_000))(inputs[:3]).tolist() == [1, 1, 1]


def test_nothing_is_estimated_from_too_little() -> None:
    scores, labels = scored(np.random.default_rng(6), 100)
    few = estimate_classifier(scores[:20], labels[:20], scores)["accuracy"]
    one_class = estimate_classifier(scores, np.ones(100), scores)["auc"]
    short = estimate_error(scores[:20], scores[:20], labels[:20], scores, scores)
    for found in (few, one_class, short):
        assert isinstance(found, Estimate)
        assert found.value is found.lower is None
        assert found.verdict.startswith("unknown: ")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: estimate_classifier([0.1, 0.2], [0.0], [0.5]), "2 predictions and 1 labels"),
        (lambda: estimate_classifier([0.1, 0.2], [0.0, 2.0], [0.5]), "are 0 or 1"),
        (lambda: estimate_classifier([0.1, np.nan], [0.0, 1.0], [0.5]), "without missing ones"),
        (lambda: estimate_classifier(["a"], [1.0], [0.5]), "must be numbers"),
        (lambda: estimate_error(np.ones((2, 3)), [1, 2], [1, 2], np.ones((2, 2)), [1, 2]), "3 columns and inputs 2"),
        (lambda: estimate_error(np.ones((3, 3)), [1, 2], [1, 2], np.ones((2, 3)), [1, 2]), "a row for each of the 2"),
    ],
)
def test_bad_input_is_refused_with_its_reason(call: Any, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        call()
