"""Which method a metric gets, fixed before it is tested; and what that method says of two arms. Called by analysis.

A method never changes in the course of an experiment: changing the test when a count is reached doubles its error rate.
It is chosen once, from the units of all arms taken together. Under "no difference" such a choice, blind to who was in
which arm, says nothing of the difference, so the rates hold as if it had been made before the start.

    quantile                                              quantile
    proportion of rare events (< 5 %), or of errors       exact
    everything else: means, counts, ratios, proportions   asymptotic

Counts are means by unit. Tests of Poisson counts are exact only where events are independent; those of a user are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from tidegate.sequential import means
from tidegate.sequential.exact import ContingencyTable, Exact
from tidegate.sequential.quantiles import Quantiles
from tidegate.sequential.strata import Asymptotic, adjusted, cells_of, compare, sums
from tidegate.sequential.units import Units
from tidegate.wire.experiments.experiments import ExperimentSpec, Metric

LEAST_UNITS = 100
"""Units an arm before an experiment says anything; exact guardrails may stop it before."""
RARE = 0.05
"""Below this rate 100 units have fewer than 5 events, and looking at events alone loses 5 % of them at most."""
_TUNED_SHARE = 8.0
"""A mixture tuned for n observations weighs about as much as n/8 of them, as rho² = 8/n does at alpha .05."""
_WEIGHT_MIN = 4.0

Method = Literal["asymptotic", "exact", "quantile"]


@dataclass(frozen=True)
class EvidencePlan:
    """How a metric is tested, the units of two arms that it is tuned for, and the weight of its mixture."""

    method: Method
    planned: float
    weight: float = 0.0


class Evidence(Protocol):
    """What two arms say at a look. Every bound holds at all looks together with probability 1 - alpha."""

    @property
    def a(self) -> float:
        """Control's value."""

    @property
    def b(self) -> float:
        """The treatment's value."""

    def log_e(self, alpha: float) -> float:
        """Evidence (the logarithm of an e-value) that the arms differ."""

    def interval(self, alpha: float) -> tuple[float | None, float | None]:
        """Between what (b - a)/a is; None for an end that is not known."""

    def apart(self, alpha: float) -> int:
        """1 where b is above a for certain, -1 where below, else 0; each with an error of alpha."""

    def bounds(self, what: str, alpha: float, *, early: bool = False) -> tuple[float | None, float | None]:
        """A lower and an upper bound, one-sided each: `relative`, `difference`, or the treatment's `value`.

        `early`: such as find a gross difference early. For rolling back, not for shipping.
        """


def plan(metric: Metric, units: Units, spec: ExperimentSpec, alpha: float) -> EvidencePlan | None:
    """How a metric is to be tested; None while there are not 100 units for each arm to judge by.

    `alpha` is what a single comparison gets. The size is what the smallest effect worth finding (`mde`) takes.
    """
    enough = units.value.size >= LEAST_UNITS * len(spec.arms)
    share = spec.arms[1].share / (spec.arms[0].share + spec.arms[1].share)
    binomial = share * (1 - share)
    if metric.type == "proportion" and units.value.size and (enough or metric.source == "errors"):
        rate = (float(units.value.sum()) + 0.5) / (units.value.size + 1)
        if rate < RARE or metric.source == "errors":
            effect = math.log1p(spec.mde / rate if spec.mde_absolute else spec.mde)
            events = means.planned_size(1 / binomial, effect, alpha)
            return EvidencePlan("exact", events / rate, max(_WEIGHT_MIN, events / _TUNED_SHARE))
    if not enough:
        return None
    spread, centre = _quantile(metric.q, units) if metric.type == "quantile" else _pooled(units)
    effect = spec.mde if spec.mde_absolute else spec.mde * abs(centre)
    if spread <= 0 or effect <= 0:
        return None
    planned = means.planned_size(spread / binomial, effect, alpha)
    if metric.type == "quantile":
        return EvidencePlan("quantile", planned, max(_WEIGHT_MIN, planned / 2 / _TUNED_SHARE))
    return EvidencePlan("asymptotic", planned)


def evidence(metric: Metric, pair: Units, how: EvidencePlan, share: float) -> Evidence | None:
    """What control (arm 0) and a treatment (arm 1, with `share` of both) say; None where it is too early to say."""
    in_b = int(pair.arm.sum())
    least = min(in_b, pair.arm.size - in_b)
    if how.method == "exact":
        return None if least < 1 else _exact(pair, how, share)
    if least < LEAST_UNITS:
        return None
    if how.method == "quantile":
        return Quantiles.of(pair, metric.q, how.weight)
    found = compare(pair, proportion=metric.type == "proportion")
    return None if found is None else Asymptotic(found, how.planned, _is_nonnegative(pair))


def _is_nonnegative(units: Units) -> bool:
    least = float(units.value.min())
    return least >= 0 and (units.denominator is None or float(units.denominator.min()) >= 0)


def _exact(pair: Units, how: EvidencePlan, share: float) -> Exact:
    cell, size = cells_of(pair)
    n, events = sums(cell, size), sums(cell, size, (pair.value > 0).astype(np.float64))
    table = ContingencyTable(events[:, 0], n[:, 0], events[:, 1], n[:, 1])
    weight = n.prod(axis=1) / n.sum(axis=1)
    weight = weight / weight.sum() if weight.sum() > 0 else n.sum(axis=1) / n.sum()
    rates = (weight[:, None] * events / np.maximum(n, 1)).sum(axis=0)
    return Exact(table, share, how.weight, float(rates[0]), float(rates[1]))


def _pooled(units: Units) -> tuple[float, float]:
    """The variance of a unit's value within a phase, and the mean, of all arms together."""
    phases, place = np.unique(units.phase, return_inverse=True)
    cell, size = 2 * place.astype(np.int64), 2 * phases.size  # as if all were in one arm
    value, centre = units.value, float(units.value.mean())
    if units.denominator is not None:
        per = float(units.denominator.mean())
        if per == 0:
            return 0.0, 0.0
        centre = centre / per
        value = (value - centre * units.denominator) / per
    elif units.covariate is not None:
        value = adjusted(units, cell, size)
    n = np.maximum(sums(cell, size), 1)
    apart = value - (sums(cell, size, value) / n).reshape(-1)[cell]
    return float(apart @ apart) / max(value.size - 1, 1), centre


def _quantile(level: float, units: Units) -> tuple[float, float]:
    """The variance of a quantile times the units it stands on, by the density about it; and the quantile."""
    reach = min(level, 1 - level) / 2
    low, centre, high = np.quantile(units.value, (level - reach, level, level + reach))
    return float(level * (1 - level) * ((high - low) / (2 * reach)) ** 2), float(centre)
