"""The calibration error: its interval has the truth, also where that is 0; and what it is of nothing."""

from collections.abc import Callable

import numpy as np
import pytest

from tidegate.watch.histograms.values import Floats
from tidegate.watch.performance.metrics import CALIBRATION_ROWS_MIN, calibration_error

TRIALS = 200


@pytest.mark.parametrize("rows", [100, 1_000, 5_000])
@pytest.mark.parametrize(
    "comes_true",
    [
        pytest.param(lambda score: score, id="calibrated"),
        pytest.param(lambda score: np.clip(score + 0.1, 0, 1), id="a tenth too low"),
        pytest.param(lambda score: 0.5 + (score - 0.5) * 0.6, id="too sure"),
        pytest.param(lambda score: score * 0.0, id="never true"),
    ],
)
def test_the_interval_has_the_true_error(rows: int, comes_true: Callable[[Floats], Floats]) -> None:
    rng = np.random.default_rng(7)
    covered, off = 0, 0.0
    for _ in range(TRIALS):
        score = rng.beta(1.5, 1.5, rows)
        true = float(np.abs(score - comes_true(score)).mean())  # of the scores that were given
        found = calibration_error(score, rng.random(rows) < comes_true(score))
        assert found.value is not None
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower <= found.value <= found.upper
        covered += found.lower <= true <= found.upper
        off += (found.value - true) / TRIALS
    assert covered >= 0.93 * TRIALS
    assert abs(off) < (0.05 if rows == 100 else 0.03)


def test_scores_that_are_all_the_same_are_one_bin() -> None:
    found = calibration_error(np.full(1_000, 0.8), np.arange(1_000) % 2)
    assert found.value == pytest.approx(0.3, abs=0.01)


def test_nothing_is_said_of_few_rows_or_of_missing_ones() -> None:
    few = calibration_error(np.full(CALIBRATION_ROWS_MIN - 1, 0.5), np.ones(CALIBRATION_ROWS_MIN - 1))
    assert (few.value, few.lower, few.upper) == (None, None, None)
    assert calibration_error(np.full(100, np.nan), np.ones(100)).value is None
