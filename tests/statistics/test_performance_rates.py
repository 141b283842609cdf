"""How often a bound of a risk fails, and what it takes to find a drop: simulated, fixed seeds, stated bounds."""

import numpy as np
import pytest

from tidegate.watch.histograms.values import Floats
from tidegate.watch.performance import betting, metrics
from tidegate.watch.performance.performance import Cohort, LossMetric, Reference, evaluate

pytestmark = pytest.mark.long

ACCURACY = LossMetric("accuracy")


def wrong(rng: np.random.Generator, rows: int, share: float) -> Floats:
    return (rng.random(rows) < share).astype(np.float64)


@pytest.mark.parametrize("shape", ["coin", "beta"])
def test_betting_bounds_hold_at_every_look(shape: str) -> None:
    """That any of many looks at a growing sample is wrong has a probability of at most 0.05, on either side."""
    rng = np.random.default_rng(15)
    failed = 0
    for _ in range(100):
        values = wrong(rng, 2_000, 0.1) if shape == "coin" else rng.beta(0.3, 2.7, 2_000)
        looks = [values[:rows] for rows in (150, 700, 2_000)]
        failed += any(betting.mean_lower(look, 0.05) > 0.1 for look in looks)
        failed += any(betting.mean_upper(look, 0.05) < 0.1 for look in looks)
    assert failed / 100 <= 0.1


def test_betting_bounds_come_close() -> None:
    rng = np.random.default_rng(16)
    distances = [0.2 - betting.mean_lower(wrong(rng, 1_000, 0.2), 0.025) for _ in range(50)]
    assert np.mean(distances) < 0.045


def test_of_models_that_stayed_the_same_hardly_any_is_called_worse() -> None:
    rng = np.random.default_rng(17)
    alerts = 0
    for _ in range(300):
        reference = Reference.of(wrong(rng, 1_000, 0.1))
        alerts += bool(evaluate(Cohort(wrong(rng, 1_000, 0.1)), reference, ACCURACY).significant_drop)
    assert alerts <= 3


@pytest.mark.parametrize(("rows", "share", "at_least"), [(1_000, 0.2, 0.9), (5_000, 0.16, 0.9), (300, 0.3, 0.9)])
def test_drops_that_matter_are_found(rows: int, share: float, at_least: float) -> None:
    rng = np.random.default_rng(18)
    reference = Reference.of(np.repeat([1.0, 0.0], [500, 4_500]))
    looks = [evaluate(Cohort(wrong(rng, rows, share)), reference, ACCURACY) for _ in range(100)]
    assert sum(bool(look.significant_drop) for look in looks) / 100 >= at_least


@pytest.mark.parametrize("positives_last", [True, False])
def test_the_interval_covers_what_the_labels_come_to_in_the_end(positives_last: bool) -> None:
    """Labels of wrong predictions come last, or none does, and some had no time yet: the interval still holds."""
    rng = np.random.default_rng(19)
    covered = 0
    for _ in range(200):
        final = wrong(rng, 1_000, 0.15)
        arrives = rng.exponential(1_000.0, final.size) + (20_000.0 * final if positives_last else 0.0)
        ages = np.linspace(7_200.0, 0.0, final.size)
        result = evaluate(
            Cohort(np.where(arrives <= ages, final, np.nan), ages, 3_600.0), Reference.exactly(0.15), ACCURACY
        )
        accuracy, matured = 1 - final.mean(), 1 - final[ages >= 3_600.0].mean()
        assert result.final_lower is not None
        assert result.final_upper is not None
        assert result.final_lower <= accuracy <= result.final_upper
        assert result.lower is not None
        assert result.upper is not None
        covered += result.lower <= matured <= result.upper
        assert not result.significant_drop
    assert covered / 200 >= 0.95


def test_bootstrap_intervals_cover_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(20)
    covered = 0
    for _ in range(60):
        truths = rng.integers(0, 2, 400)
        shown = metrics.auc(truths + rng.normal(size=400), truths)
        assert shown.lower is not None
        assert shown.upper is not None
        covered += shown.lower <= 0.7602 <= shown.upper  # Φ(1/√2)
    assert covered / 60 >= 0.86
