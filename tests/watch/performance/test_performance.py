"""A model that got worse, one that did not, and one of which nothing can be known."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.values import Floats
from tidegate.watch.performance import metrics
from tidegate.watch.performance.losses import absolute_losses, brier_losses, clip_of, error_losses
from tidegate.watch.performance.performance import (
    Cohort,
    LossMetric,
    MetricReading,
    PerformanceRule,
    Reference,
    evaluate,
)

ACCURACY = LossMetric("accuracy")
FINE = Reference.of(np.repeat([1.0, 0.0], [500, 4_500]))


def wrong(rows: int, share: float, seed: int = 1) -> Floats:
    return (np.random.default_rng(seed).random(rows) < share).astype(np.float64)


def judged(losses: Floats, **kwargs: Any) -> MetricReading:
    result = evaluate(Cohort(losses, **kwargs), FINE, ACCURACY)
    json.dumps(result.as_dict(), allow_nan=False)
    return result


def test_a_drop_that_matters_is_found_and_told() -> None:
    result = judged(wrong(2_000, 0.2))
    assert result.state == "alert"
    assert result.significant_drop is True
    assert result.value is not None
    assert result.lower is not None
    assert result.upper is not None
    assert result.lower < result.value < result.upper < 0.88
    assert result.performance_drop == pytest.approx(0.9 - result.value)
    plain = result.as_dict()
    assert (plain["current_accuracy"], plain["baseline_accuracy"]) == (result.value, 0.9)
    assert result.verdict.startswith("worse: accuracy is 0.8")


def test_without_a_drop_or_with_a_trifling_one_nothing_is_raised() -> None:
    assert judged(wrong(2_000, 0.1)).significant_drop is False
    assert judged(wrong(500_000, 0.11)).significant_drop is False  # within the tolerance, whatever the rows
    better = judged(wrong(2_000, 0.02))
    assert (better.significant_drop, better.state) == (False, "ok")
    assert better.performance_drop is not None
    assert better.performance_drop < 0


def test_a_stricter_budget_of_pages_takes_more_to_be_convinced() -> None:
    losses = wrong(600, 0.2)
    assert evaluate(Cohort(losses), FINE, ACCURACY).significant_drop
    assert not evaluate(Cohort(losses), FINE, ACCURACY, page_alpha=1e-9).significant_drop


def test_without_any_budget_of_pages_there_is_none() -> None:
    found = evaluate(Cohort(np.ones(5_000)), Reference.exactly(0.1), LossMetric("accuracy"), page_alpha=0.0)
    assert (found.state, found.value, found.lower, found.upper) == ("ok", 0.0, 0.0, 1.0)


def test_late_labels_are_neither_right_nor_wrong() -> None:
    losses = wrong(4_000, 0.3)
    losses[2_000:] = np.nan
    late = judged(losses, ages_s=np.linspace(7_200, 0, 4_000), delay_s=3_600)
    assert (late.n, late.n_labelled, late.coverage) == (2_000, 2_000, 1.0)
    assert late.significant_drop
    unsure = judged(losses)  # all of them old enough: half of the labels are missing
    assert (unsure.coverage, unsure.value) == (0.5, late.value)
    assert not judged(np.where(np.arange(4_000) % 4 == 0, losses, np.nan)).significant_drop
    assert (late.final_lower, late.final_upper) == pytest.approx((late.value / 2, 0.5 + late.value / 2))  # type: ignore[operator]
    assert [(each.rows, each.labelled) for each in late.coverage_by_age] == [
        (34, 0),
        (300, 0),
        (1_666, 0),
        (2_000, 2_000),
    ]


@pytest.mark.parametrize(
    ("cohort", "rule", "why"),
    [
        (Cohort(np.array([])), PerformanceRule(), "the window is empty"),
        (Cohort(np.array([0.0])), PerformanceRule(), "1 of 1 predictions that are old enough have labels"),
        (Cohort(np.full(9, np.nan)), PerformanceRule(), "0 of 9"),
        (Cohort(np.zeros(9), np.ones(9), 60.0), PerformanceRule(), "no prediction is old enough yet"),
        (Cohort(wrong(900, 0.5)), PerformanceRule(selective=True), "labels are selective here"),
    ],
)
def test_nothing_is_claimed_where_nothing_can_be_known(cohort: Cohort, rule: PerformanceRule, why: str) -> None:
    result = evaluate(cohort, FINE, ACCURACY, rule)
    assert result.state == "unknown"
    assert why in result.verdict
    assert result.value is result.significant_drop is result.lower is None
    json.dumps(result.as_dict(), allow_nan=False)


def test_errors_are_the_same_however_labels_are_written() -> None:
    guesses = [1, 0, 1, 1, 0]
    expected = [0, 0, 1, 0]
    for labels in (
        [1, 0, 0, 1, None],
        ["1", "0", "0", "1", None],
        [1.0, 0.0, 0.0, 1.0, float("nan")],
        [True, False, False, True, None],
    ):
        losses = error_losses(guesses, labels)
        assert losses[:4].tolist() == expected
        assert np.isnan(losses[4])
        assert error_losses([str(guess) for guess in guesses], labels)[:4].tolist() == expected
    assert error_losses([True, False], ["True", "false"]).tolist() == [0, 0]
    assert error_losses(["a", None], ["a", "b"]).tolist() == [0, 1]


def test_brier_losses_are_bounded_and_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    scores, truths = rng.random(500), rng.integers(0, 2, 500)
    losses = brier_losses(scores, truths, classes=[0, 1], datatype="INT64")
    assert losses.mean() == pytest.approx(oracle.brier_score_loss(truths, scores))
    table = rng.dirichlet(np.ones(3), 300)
    names = rng.choice(["a", "b", "c", "new"], 300)
    many = brier_losses(table, [*names[:-1], None], classes=["a", "b", "c"])
    assert many[:-1].min() >= 0
    assert many[:-1].max() <= 1
    assert set(many[:-1][names[:-1] == "new"]) == {1.0}
    assert np.isnan(many[-1])


def test_absolute_errors_are_clipped_at_the_references_largest() -> None:
    labels = np.arange(100.0)
    assert clip_of(labels + 2, labels) == 2
    assert absolute_losses([1.0, 5.0, None, 0.0], [0.0, 0.0, 0.0, None], clip=2).tolist()[:3] == [0.5, 1, 1]
    drifted = evaluate(
        Cohort(absolute_losses(labels.repeat(20) + 1.9, labels.repeat(20), 2)),
        Reference.of(absolute_losses(labels + 0.2, labels, 2)),
        LossMetric("absolute_error", scale=2),
    )
    assert drifted.significant_drop
    assert drifted.value == pytest.approx(1.9)
    assert drifted.performance_drop == pytest.approx(1.7)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: error_losses([1], [1, 2]), "1 predictions and 2 labels"),
        (lambda: brier_losses([0.5, 1.5], [0, 1], [0, 1]), "from 0 to 1"),
        (lambda: brier_losses(np.ones((2, 3)), [0, 1], [0, 1]), "a column for each of the 2 classes"),
        (lambda: absolute_losses([1.0], [1.0], 0.0), "above 0"),
        (lambda: absolute_losses(["x"], [1.0], 1.0), "predictions must be numbers"),
        (lambda: Cohort(np.array([2.0])), "from 0 to 1"),
        (lambda: Cohort(np.array([1.0]), np.array([1.0, 2.0])), "1 losses and 2 ages"),
        (lambda: Reference.of(np.array([np.nan])), "no labelled row"),
        (lambda: Reference.exactly(90.0), "from 0 to 1"),
        (lambda: metrics.rmse([1.0], [1.0, 2.0]), "1 predictions and 2 labels"),
        (lambda: metrics.f1([[1, 2]]), "square table"),
    ],
)
def test_bad_input_is_refused_with_its_reason(call: Any, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        call()


def test_metrics_that_are_shown_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    truths = rng.integers(0, 2, 800)
    scores = (truths + rng.normal(size=800)).round(1)
    guesses = (scores > 0.5).astype(int)
    numbers = truths * 3 + rng.normal(size=800)
    for shown, expected in (
        (metrics.auc(scores, truths), oracle.roc_auc_score(truths, scores)),
        (metrics.f1(oracle.confusion_matrix(truths, guesses)), oracle.f1_score(truths, guesses)),
        (metrics.rmse(numbers, truths), oracle.root_mean_squared_error(truths, numbers)),
        (metrics.r2(numbers, truths), oracle.r2_score(truths, numbers)),
    ):
        assert shown.value is not None
        assert shown.value == pytest.approx(expected)
        assert shown.lower is not None
        assert shown.upper is not None
        assert shown.lower < shown.value < shown.upper
    three = oracle.confusion_matrix(rng.integers(0, 3, 90), rng.integers(0, 3, 90))
    by_hand = [2 * three[k, k] / (three[k].sum() + three[:, k].sum()) for k in range(3)]
    assert metrics.f1(three).value == pytest.approx(np.mean(by_hand))


def test_metrics_that_are_not_defined_are_none() -> None:
    assert metrics.auc([0.1, 0.9], [1, 1]).value is None
    assert metrics.auc([], []).value is None
    assert metrics.r2([1.0, 2.0], [3.0, 3.0]).value is None
    assert metrics.f1([[0, 0], [0, 0]]).value is None
    assert metrics.rmse([], []).value is None
