"""Quantiles that are known at every look, and how those of two arms differ.

Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm identification"
(arXiv 1906.09712): below a true quantile of level p lie Binomial(n, p) of n values, so a Beta mixture at p bounds it.
For two arms, a ratio r is refuted when for every x the evidence "x is not a's quantile" times "r x is not b's" is
enough: the true x is among them, and the arms are independent. That is narrower than both arms' bounds together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from tidegate.sequential.exact import crossing, log_mixture
from tidegate.sequential.units import Floats, Integers, Units
from tidegate.wire.numbers import finite

_LEAST_TAIL = 5.0
"""Values beyond the quantile in each arm, by expectation, from which on a phase takes part."""
_SPAN = 3.0
"""The ratio is looked for within a factor of e to this."""
_POINTS_MAX = 4000
_FAR = 15.0
_KEPT = 0.1
"""What one-sided bets keep back: evidence that is multiplied by another's must not get lost altogether."""


@dataclass(frozen=True)
class Counts:
    """For each count k of n values at or below x, the evidence that x is not the quantile of this level.

    `effect` dependent values (requests of one key) count as one.
    """

    n: int
    level: float
    weight: float
    effect: float = 1.0

    @cached_property
    def both(self) -> Floats:
        """By k, whichever side the quantile is on."""
        return self._of(0)

    @cached_property
    def above(self) -> Floats:
        """That the quantile is above x: few values are below."""
        return np.logaddexp(self._of(-1) + math.log(1 - _KEPT), math.log(_KEPT))

    @cached_property
    def below(self) -> Floats:
        """That it is below x."""
        return np.logaddexp(self._of(1) + math.log(1 - _KEPT), math.log(_KEPT))

    def _of(self, side: int) -> Floats:
        """Far from the expected count the evidence is overwhelming: there it counts as what it is at the edge."""
        far = _FAR * math.sqrt(self.n * self.effect * self.level * (1 - self.level)) + 50
        first, last = max(0, int(self.n * self.level - far)), min(self.n, int(self.n * self.level + far))
        k = np.arange(first, last + 1, dtype=np.float64) / self.effect
        inner = log_mixture(k, self.n / self.effect, self.level, self.weight, side)
        return np.pad(inner, (first, self.n - last), mode="edge")


def bounds(ordered: Floats, level: float, alpha: float, weight: float) -> tuple[float, float]:
    """The quantile's two-sided interval at every look; `ordered` ascending. Infinite where nothing bounds it."""
    both = Counts(ordered.size, level, weight).both
    kept = np.flatnonzero(both < math.log(1 / alpha))
    low, high = int(kept[0]), int(kept[-1])
    return (-math.inf if low == 0 else float(ordered[low - 1])), (
        math.inf if high >= ordered.size else float(ordered[high])
    )


@dataclass(frozen=True)
class _Phase:
    a: Floats
    b: Floats
    counts_a: Counts
    counts_b: Counts

    def least(self, move: Callable[[Floats], Floats], back: Callable[[Floats], Floats], side: int) -> float:
        """The least evidence, over all x, against "x is a's quantile and move(x) is b's".

        `side` 1: against all b's quantiles up to that (evidence that it is above), -1: at least that.
        """
        from_a = self.counts_a.both if side == 0 else self.counts_a.below if side > 0 else self.counts_a.above
        from_b = self.counts_b.both if side == 0 else self.counts_b.above if side > 0 else self.counts_b.below
        near = (self._near(self.a, from_a), back(self._near(self.b, from_b)), np.array([-np.inf, np.inf]))
        x = np.concatenate(near)
        in_a, in_b = self._counted(self.a, x), self._counted(self.b, move(x))
        if side:  # many values below x are those that are less, few are those that are not greater
            return float((from_a[in_a[side < 0]] + from_b[in_b[side > 0]]).min())
        return float((self._either(from_a, in_a) + self._either(from_b, in_b)).min())

    @staticmethod
    def _counted(ordered: Floats, x: Floats) -> tuple[Integers, Integers]:
        """How many values are less than x, and how many are not greater: not the same where values are equal."""
        return np.searchsorted(ordered, x, side="left"), np.searchsorted(ordered, x, side="right")

    @staticmethod
    def _either(evidence: Floats, counts: tuple[Integers, Integers]) -> Floats:
        """The least evidence of any count from the first to the second; it falls up to its least, and then rises."""
        best = int(evidence.argmin())
        return cast(Floats, evidence[np.clip(best, counts[0], counts[1])])

    @staticmethod
    def _near(ordered: Floats, evidence: Floats) -> Floats:
        """The values at which the evidence is not overwhelming, where the least is to be found."""
        keep = np.flatnonzero(evidence < evidence.min() + 25.0)
        near = ordered[max(0, int(keep[0]) - 1) : min(ordered.size, int(keep[-1]) + 1)]
        return near if near.size <= _POINTS_MAX else near[:: near.size // _POINTS_MAX + 1]


@dataclass(frozen=True)
class Quantiles:
    """What two arms' quantiles say at this look. `a` and `b` are the samples' own, over all phases."""

    phases: list[_Phase]
    level: float
    weight: float
    a: float
    b: float
    all_b: Floats
    effect: float = 1.0

    @classmethod
    def of(cls, pair: Units, level: float, weight: float, effect: float = 1.0) -> Quantiles | None:
        """Of control (arm 0) and treatment (1); None while no phase has values enough beyond the quantile.

        `effect`: how many dependent values (requests of one key) count as one.
        """
        least = _LEAST_TAIL / min(level, 1 - level)
        phases = []
        for phase in np.unique(pair.phase):
            arms = [np.sort(pair.value[(pair.phase == phase) & (pair.arm == arm)]) for arm in (0, 1)]
            if min(arm.size for arm in arms) >= least:
                tables = [Counts(arm.size, level, weight, effect) for arm in arms]
                phases.append(_Phase(arms[0], arms[1], tables[0], tables[1]))
        if not phases:
            return None
        whole = [np.sort(pair.value[pair.arm == arm]) for arm in (0, 1)]
        at = [float(np.quantile(arm, level)) for arm in whole]
        return cls(phases, level, weight, at[0], at[1], whole[1], effect)

    def log_e(self, alpha: float) -> float:  # noqa: ARG002 - the mixture is tuned by its weight
        """Evidence that the quantiles differ."""
        return self._ratio(0.0, 0)

    def apart(self, alpha: float) -> int:
        """1 where b is above a for certain, -1 where below, else 0; each with an error of alpha."""
        enough = math.log(1 / alpha)
        return 1 if self._ratio(0.0, 1) >= enough else -1 if self._ratio(0.0, -1) >= enough else 0

    def interval(self, alpha: float) -> tuple[float | None, float | None]:
        """Between what (b - a)/a is; None where values are not all positive, or an end cannot be found."""
        return self._ends(alpha, (0, 0))

    def bounds(self, what: str, alpha: float, *, early: bool = False) -> tuple[float | None, float | None]:  # noqa: ARG002 - they always do
        """One-sided bounds of `relative`, `difference` or the treatment's `value`, each at alpha."""
        if what == "relative":
            return self._ends(alpha, (1, -1))
        enough = math.log(1 / alpha)
        if what == "difference":
            found, reach = self.b - self.a, 10 * (abs(self.a) + abs(self.b)) + 1
            low = crossing(lambda at: self._shift(at, 1) >= enough, found, found - reach)
            high = crossing(lambda at: self._shift(at, -1) >= enough, found, found + reach)
            return (None if low <= found - reach else low), (None if high >= found + reach else high)
        counts = Counts(self.all_b.size, self.level, self.weight, self.effect)
        above = np.flatnonzero(counts.above < enough)  # counts at which the quantile need not be above
        below = np.flatnonzero(counts.below < enough)
        low = -math.inf if above[0] == 0 else float(self.all_b[above[0] - 1])
        high = math.inf if below[-1] >= self.all_b.size else float(self.all_b[below[-1]])
        return finite(low), finite(high)

    def _ends(self, alpha: float, sides: tuple[int, int]) -> tuple[float | None, float | None]:
        if self.a <= 0 or self.b <= 0:
            return None, None
        enough, found = math.log(1 / alpha), math.log(self.b / self.a)
        low = crossing(lambda at: self._ratio(at, sides[0]) >= enough, found, found - _SPAN)
        high = crossing(lambda at: self._ratio(at, sides[1]) >= enough, found, found + _SPAN)
        return (None if low <= found - _SPAN else math.expm1(low)), (
            None if high >= found + _SPAN else math.expm1(high)
        )

    def _ratio(self, log_ratio: float, side: int) -> float:
        by = math.exp(log_ratio)
        return math.fsum(phase.least(lambda x: x * by, lambda y: y / by, side) for phase in self.phases)

    def _shift(self, by: float, side: int) -> float:
        return math.fsum(phase.least(lambda x: x + by, lambda y: y - by, side) for phase in self.phases)
