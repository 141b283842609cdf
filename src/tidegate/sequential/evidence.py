"""Which method a metric gets, fixed before it is tested; and what that method says of two arms. Called by analysis.

A method never changes in the course of an experiment: changing the test when a count is reached doubles its error rate.
It is chosen once, from the units of all arms taken together. Under "no difference" such a choice, blind to who was in
which arm, says nothing of the difference, so the rates hold as if it had been made before the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tidegate.sequential import means
from tidegate.sequential.strata import Asymptotic, cells_of, compare, sums
from tidegate.sequential.units import Units
from tidegate.wire.experiments import ExperimentSpec, Metric

LEAST_UNITS = 100
"""Units an arm before an asymptotic method says anything."""


@dataclass(frozen=True)
class Plan:
    """How a metric is tested, and the units of two arms that its sequence is tuned for."""

    method: str
    planned: float


class Evidence(Protocol):
    """What two arms say at a look. Every bound holds at all looks together with probability 1 - alpha."""

    @property
    def a(self) -> float | None:
        """Control's value."""

    @property
    def b(self) -> float | None:
        """The treatment's value."""

    def log_e(self, alpha: float) -> float:
        """Evidence (the logarithm of an e-value) that the arms differ."""

    def interval(self, alpha: float) -> tuple[float | None, float | None]:
        """Between what (b - a)/a is."""

    def bounds(self, what: str, alpha: float) -> tuple[float | None, float | None]:
        """A lower and an upper bound, one-sided each: `relative`, `difference`, or the treatment's `value`."""


def plan(metric: Metric, units: Units, spec: ExperimentSpec, alpha: float) -> Plan | None:
    """How a metric is to be tested; None while there are not 100 units for each arm to judge by.

    `alpha` is what a single comparison gets. The size is what the smallest effect worth finding (`mde`) takes.
    """
    arms = len(spec.arms)
    if units.value.size < LEAST_UNITS * arms or metric.type == "quantile":
        return None
    spread, centre = _pooled(units)
    effect = spec.mde if spec.mde_absolute else spec.mde * abs(centre)
    if spread <= 0 or effect <= 0:
        return None
    share = spec.arms[1].share / (spec.arms[0].share + spec.arms[1].share)
    return Plan("asymptotic", means.planned_size(spread / (share * (1 - share)), effect, alpha))


def evidence(metric: Metric, pair: Units, how: Plan) -> Evidence | None:
    """What control (arm 0) and a treatment (arm 1) say; None where it is too early, or nothing varies."""
    in_b = int(pair.arm.sum())
    if min(in_b, pair.arm.size - in_b) < LEAST_UNITS:
        return None
    found = compare(pair, proportion=metric.type == "proportion")
    return None if found is None else Asymptotic(found, how.planned)


def _pooled(units: Units) -> tuple[float, float]:
    """The variance of a unit's value within a phase, and the mean, of all arms together."""
    together = Units(np.zeros_like(units.arm), units.phase, units.value, units.denominator, units.covariate)
    cell, size = cells_of(together)
    value = together.value
    centre = float(value.mean())
    if together.denominator is not None:
        per = float(together.denominator.mean())
        if per == 0:
            return 0.0, 0.0
        centre = centre / per
        value = (value - centre * together.denominator) / per
    n = np.maximum(sums(cell, size), 1)
    apart = value - (sums(cell, size, value) / n).reshape(-1)[cell]
    return float(apart @ apart) / max(value.size - 1, 1), centre
