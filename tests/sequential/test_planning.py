"""What is said before a start: how long it takes, and whether the tests keep their promise on captured units."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.sequential.planning import aa, expected
from tidegate.sequential.units import Floats, Units
from tidegate.wire.experiments.experiments import ArmSpec, ExperimentSpec, Metric

ARMS = (ArmSpec("control", "1", 50.0), ArmSpec("treatment", "2", 50.0))


def history(values: Floats) -> Units:
    nought = np.zeros(values.size, np.int64)
    return Units(nought, nought, values.astype(np.float64), entered_at=np.arange(values.size, dtype=float))


def test_twice_the_effect_takes_a_quarter_of_the_units_and_a_slow_ramp_more_days() -> None:
    units = {"spend": history(np.random.default_rng(1).normal(10, 4, 5000))}
    spec = ExperimentSpec(ARMS, (Metric("spend", "increase", window_s=86400.0),), mde=0.02)
    small = expected(spec, units, 4000.0)
    large = expected(ExperimentSpec(ARMS, spec.metrics, mde=0.04), units, 4000.0)
    ramped = expected(ExperimentSpec(ARMS, spec.metrics, mde=0.02, ramp=(10.0, 100.0)), units, 4000.0)
    assert small.units is not None
    assert large.units is not None
    assert small.units == pytest.approx(4 * large.units)
    assert small.days == pytest.approx(1 + small.units / 4000)
    assert small.days is not None
    assert ramped.days is not None
    assert ramped.days == pytest.approx(small.days + 0.9)


def test_without_history_nothing_is_expected() -> None:
    spec = ExperimentSpec(ARMS, (Metric("spend", "increase"),))
    assert expected(spec, {}, 100.0).days is None


@pytest.mark.parametrize("kind", ["proportion", "mean", "ratio", "quantile"])
def test_splits_at_random_are_not_told_apart_more_often_than_promised(kind: str) -> None:
    rng = np.random.default_rng(2)
    values = rng.lognormal(3, 0.5, 3000) if kind != "proportion" else (rng.random(3000) < 0.02).astype(float)
    units = history(values)
    if kind == "ratio":
        units = Units(units.arm, units.phase, values, denominator=rng.integers(1, 9, 3000).astype(float))
    spec = ExperimentSpec(ARMS, (Metric("m", "increase", kind),))  # type: ignore[arg-type]
    (found,) = aa({"m": units}, spec, looks=5, repetitions=100 if kind != "quantile" else 10, seed=3)
    assert found.rate is not None
    assert found.rate <= 0.05
    assert "as promised" in found.verdict
    if kind != "quantile":
        assert found.fixed_rate is not None
        assert found.fixed_rate > 0.05
