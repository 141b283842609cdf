"""Two arms put together over phases, each phase weighted by n_A n_B / (n_A + n_B). Used by means and ratios.

Inverse variance would be infinite in a phase without events. With equal shares throughout these weights estimate the
difference that (assigned - share) x value estimates, whose sum is the martingale that the sequence bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np

from tidegate.sequential import means
from tidegate.sequential.units import Floats, Integers, Units

_LEAST_UNITS = 2
_LEAST_UNITS_RATIO = 20


@dataclass(frozen=True)
class Compared:
    """Two arms' estimates, the variances of these, and the units that they stand on."""

    a: float
    b: float
    variance_a: float
    variance_b: float
    units_a: int
    units_b: int

    @property
    def n(self) -> int:
        """Units of both arms."""
        return self.units_a + self.units_b

    @property
    def difference(self) -> float:
        """Treatment less control."""
        return self.b - self.a

    @property
    def variance(self) -> float:
        """The variance of the difference."""
        return self.variance_a + self.variance_b


@dataclass(frozen=True)
class _Cells:
    """Sums by phase (rows) and arm (two columns)."""

    n: Floats
    mean: Floats
    variance: Floats


def compare(units: Units, *, proportion: bool = False) -> Compared | None:
    """Both arms over all phases; None where no phase has units of both, or all units are alike.

    A proportion's variance is that of (x + 1)/(n + 2), which is not 0 where nothing happened yet. So it is for an arm
    whose units are all alike, as if one more had the other arm's value. A covariate takes out of the values what it
    explains (CUPED; Deng, Xu, Kohavi and Walker, 2013), by one slope for all.
    """
    cells = _ratios(units) if units.denominator is not None else _means(units, proportion=proportion)
    least = _LEAST_UNITS_RATIO if units.denominator is not None else _LEAST_UNITS
    good = (cells.n >= least).all(axis=1) & np.isfinite(cells.mean).all(axis=1)
    if not bool(good.any()):
        return None
    n, mean = cells.n[good], cells.mean[good]
    variance = np.where(cells.variance[good] > 0, cells.variance[good], _of_alike(n, mean))
    weight = n.prod(axis=1) / n.sum(axis=1)
    weight = (weight / weight.sum())[:, None]
    (a, b), (variance_a, variance_b) = (weight * mean).sum(axis=0), (weight**2 * variance).sum(axis=0)
    units_a, units_b = n.sum(axis=0)
    if not variance_a + variance_b > 0:
        return None
    return Compared(float(a), float(b), float(variance_a), float(variance_b), int(units_a), int(units_b))


def _of_alike(n: Floats, mean: Floats) -> Floats:
    """The variance of a mean of values that are all alike: of a share of 1/(n + 2) that lies at the other arm's."""
    rare = 1 / (n + 2)
    return (mean[:, 1:] - mean[:, :1]) ** 2 * rare * (1 - rare) / n


def cells_of(units: Units) -> tuple[Integers, int]:
    """For each unit the cell it is in (2 x phase + arm), and how many cells there are."""
    phases, place = np.unique(units.phase, return_inverse=True)
    return place * 2 + units.arm, 2 * phases.size


def sums(cell: Integers, size: int, values: Floats | None = None) -> Floats:
    """What values add up to (how many there are, without) by phase and arm."""
    return cast(Floats, np.bincount(cell, values, size).reshape(-1, 2).astype(np.float64))


def _means(units: Units, *, proportion: bool) -> _Cells:
    cell, size = cells_of(units)
    n = sums(cell, size)
    known = np.maximum(n, 1)
    value = units.value if units.covariate is None else adjusted(units, cell, size)
    mean = sums(cell, size, value) / known
    if proportion and units.covariate is None:
        smooth = (mean * n + 1) / (n + 2)
        spread = smooth * (1 - smooth)
    else:
        spread = sums(cell, size, (value - mean.reshape(-1)[cell]) ** 2) / np.maximum(n - 1, 1)
    return _Cells(n, mean, spread / known)


def _ratios(units: Units) -> _Cells:
    """Sums over sums, with the variance of the delta method (Deng, Knoblich and Lu, 2018)."""
    denominator = cast(Floats, units.denominator)
    cell, size = cells_of(units)
    n = sums(cell, size)
    known = np.maximum(n, 1)
    per = sums(cell, size, denominator) / known
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = sums(cell, size, units.value) / known / per
        apart = units.value - ratio.reshape(-1)[cell] * denominator
        variance = sums(cell, size, apart**2) / np.maximum(n - 1, 1) / (known * per**2)
    return _Cells(n, ratio, variance)


def adjusted(units: Units, cell: Integers, size: int) -> Floats:
    """Values less what the covariate explains. Slope and means are of both arms together, so blind to who was where."""
    covariate, phase = cast(Floats, units.covariate), cell // 2
    n = np.maximum(sums(cell, size).sum(axis=1), 1)
    apart = covariate - (sums(cell, size, covariate).sum(axis=1) / n)[phase]
    square = float(apart @ apart)
    if square <= 0:
        return units.value
    value = units.value - (sums(cell, size, units.value).sum(axis=1) / n)[phase]
    return cast(Floats, units.value - float(apart @ value) / square * apart)


@dataclass(frozen=True)
class Asymptotic:
    """What two arms' means or ratios say at this look, by the asymptotic sequence. `planned`: units it is tuned for.

    `nonnegative`: no value is below 0, so neither is the ratio of the arms' means.
    """

    compared: Compared
    planned: float
    nonnegative: bool = False

    @property
    def a(self) -> float:
        """Control's value."""
        return self.compared.a

    @property
    def b(self) -> float:
        """The treatment's value."""
        return self.compared.b

    def log_e(self, alpha: float) -> float:
        """Evidence that the arms differ."""
        found = self.compared
        return means.log_e(found.difference, found.variance, found.n, means.rho(self.planned, alpha))

    def interval(self, alpha: float) -> tuple[float | None, float | None]:
        """Between what (b - a)/a is; no upper end where control may be 0."""
        return self._ratios(means.factor(self.compared.n, self.planned, alpha))

    def apart(self, alpha: float) -> int:
        """1 where b is above a for certain, -1 where below, else 0; each with an error of alpha."""
        low, high = self.bounds("difference", alpha, early=True)
        return 1 if low is not None and low > 0 else -1 if high is not None and high < 0 else 0

    def bounds(self, what: str, alpha: float, *, early: bool = False) -> tuple[float | None, float | None]:
        """A lower and an upper one-sided bound, each at alpha, of `relative`, `difference` or treatment's `value`.

        `early`: such as find a gross difference early, at some cost later.
        """
        found = self.compared
        k = (means.guarding_factor if early else means.one_sided_factor)(found.n, self.planned, alpha)
        if what == "relative":
            return self._ratios(k)
        centre, variance = (found.difference, found.variance) if what == "difference" else (found.b, found.variance_b)
        return centre - k * math.sqrt(variance), centre + k * math.sqrt(variance)

    def _ratios(self, k: float) -> tuple[float | None, float | None]:
        """The r for which b - (1 + r)a is within k standard errors of 0 (Fieller): control's uncertainty is in it.

        Each such r is tested by its own sequence, so the interval holds at every look, and it leaves out 0 exactly
        when that of the difference does. Where control may be 0, it has no upper end, and a lower one only where no
        value is below 0 (else the ratio may have either sign) and the treatment is above 0 for certain.
        """
        found = self.compared
        square, rest = found.a**2 - k * k * found.variance_a, found.b**2 - k * k * found.variance_b
        if square <= 0 and not (self.nonnegative and rest > 0):
            return None, None
        inner = k * math.sqrt(
            max(
                0.0,
                found.variance_a * found.b**2
                + found.a**2 * found.variance_b
                - k * k * found.variance_a * found.variance_b,
            )
        )
        if square <= 0:
            below = found.a * found.b + inner
            return (rest / below - 1 if below > 0 else None), None
        ends = sorted(((found.a * found.b - inner) / square - 1, (found.a * found.b + inner) / square - 1))
        return ends[0], ends[1]
