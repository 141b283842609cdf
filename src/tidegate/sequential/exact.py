"""Tests of proportions that are exact at every count and every look, for rare events and the first minutes of a canary.

Two of them, neither of which needs the order in which units came:

- *By events.* Units go to arms by chance, so of those with an event, each was in the treatment with the probability
  q = s r / (s r + 1 - s): s the treatment's share of units, r the ratio of the rates. Exact whatever the rates are and
  however they move in time, for they cancel (Lindon and Malek, arXiv 2011.03567, who do this with a Dirichlet mixture).
- *By counts.* Two binomial samples of whatever sizes, where nothing is known of how units were assigned: a mixture over
  both rates against the best likelihood under the null hypothesis (universal inference; Wasserman, Ramdas and
  Balakrishnan, 2020). It is an e-process as well, for any margin between the rates. The e-variables of Turner, Ly and
  Grünwald (arXiv 2106.02693) are for the same tables in blocks; they need the order of the blocks, this does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tidegate.sequential.units import Floats

_HALVINGS = 50
_HALVINGS_END = 32
_ROUNDS = 6
_PLACES = 20
_LOG_RATIO_MAX = math.log(1e6)
_SMALL = 1e-12
_GROSS = 4.0
"""The weight of the other half of the mixture: it finds a gross difference early, at the cost of a factor of two."""
_LOG_2 = math.log(2)


def log_mixture(k: Floats | float, n: Floats | float, p: Floats | float, weight: float, side: int = 0) -> Floats:
    """The logarithm of the evidence that k of n did not come at the rate p: a Beta mixture of likelihood ratios.

    The mixture is Beta(weight p, weight (1 - p)); of `side` 1 its part above p alone, of -1 that below (then evidence
    that the rate is above, or below, p; a supermartingale for all rates on the other side).
    """
    rate = np.asarray(p, dtype=np.float64)
    return _log_beta(k, n, rate, (weight * rate, weight * (1 - rate)), side)


def log_above(k: Floats | float, n: Floats | float, p: Floats | float) -> float:
    """The evidence that events come at a rate above p: all rates above it weigh the same. It finds gross ones at once.

    A test martingale at p and a supermartingale below (Robbins 1970), so it passes 1/alpha with at most the probability
    alpha, at all looks together. 0 where there was no event.

    >>> round(log_above(5, 5, 0.02), 2), log_above(0, 100, 0.02)
    (17.79, 0.0)
    """
    return float(_log_beta(k, n, np.asarray(p, dtype=np.float64), (1.0, 1.0), 1)) if k else 0.0


def _log_beta(
    k: Floats | float, n: Floats | float, p: Floats, prior: tuple[Floats | float, Floats | float], side: int
) -> Floats:
    """A mixture of likelihood ratios against the rate p by a Beta prior, cut at p where there is a side."""
    from scipy.special import betainc, betaincc, betaln

    a, b = prior
    rest = np.asarray(n, dtype=np.float64) - k
    with np.errstate(divide="ignore", invalid="ignore"):
        log = betaln(a + k, b + rest) - betaln(a, b) - k * np.log(p) - rest * np.log1p(-p)
        if side:
            part = betaincc if side > 0 else betainc
            log = log + np.log(part(a + k, b + rest, p)) - np.log(part(a, b, p))
    return cast(Floats, np.where(np.isnan(log), -np.inf, log))


def log_mixed(k: Floats | float, n: Floats | float, p: float, weight: float, side: int = 0) -> Floats:
    """The same with half of the stake on a tuned mixture, and half on a wide one that finds gross differences early."""
    tuned, gross = (log_mixture(k, n, p, each, side) for each in (weight, _GROSS))
    return np.logaddexp(tuned, gross) - _LOG_2


def crossing(refuted: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where, between a place that is not refuted and one that is, that begins; the side that is not refuted."""
    if not refuted(outside):
        return outside
    for _ in range(_HALVINGS_END):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if refuted(middle) else (middle, outside)
    return inside


def crossing_by_grid(refuted: Callable[[Floats], NDArray[np.bool_]], inside: float, outside: float) -> float:
    """The same where many places are as cheap to try as one."""
    for _ in range(_ROUNDS):
        places = np.linspace(inside, outside, _PLACES + 1)[1:]
        bad = refuted(places)
        if not bool(bad.any()):
            return outside
        first = int(bad.argmax())
        inside, outside = (inside if first == 0 else float(places[first - 1])), float(places[first])
    return inside


@dataclass(frozen=True)
class ContingencyTable:
    """How many of how many had an event, by phase, in control (a) and treatment (b). Counts may be effective ones."""

    events_a: Floats
    n_a: Floats
    events_b: Floats
    n_b: Floats

    @classmethod
    def of(cls, events_a: float, n_a: float, events_b: float, n_b: float) -> ContingencyTable:
        """A table of one phase."""
        return cls(*(np.array([each], dtype=np.float64) for each in (events_a, n_a, events_b, n_b)))


def log_two_samples(table: ContingencyTable, difference: float, side: int, ratio: float = 1.0) -> float:
    """Evidence that p_b is above ratio p_a + difference (`side` 1), or below it (-1), by counts.

    Control's rate has a Beta(0.1, 1) before it (rates of errors are small, most often), the treatment's a Beta(½, ½).
    """
    return float(log_two_samples_by_phase(table, np.array([difference]), side, np.array([ratio])).sum())


def log_two_samples_by_phase(table: ContingencyTable, difference: Floats, side: int, ratio: Floats) -> Floats:
    """The same for each pair of difference and ratio (rows) and each phase (columns); those of phases add up."""
    from scipy.special import betaln

    seen = betaln(0.1 + table.events_a, 1 + table.n_a - table.events_a) - betaln(0.1, 1.0)
    seen = seen + betaln(0.5 + table.events_b, 0.5 + table.n_b - table.events_b) - betaln(0.5, 0.5)
    return cast(Floats, seen - _best_under_null(table, difference[:, None], side, ratio[:, None]))


def _best_under_null(table: ContingencyTable, difference: Floats, side: int, ratio: Floats) -> Floats:
    """The largest log-likelihood with p_b at most (`side` 1) or at least (-1) ratio p_a + difference, by phase."""
    rate_a = table.events_a / np.maximum(table.n_a, _SMALL)
    rate_b = table.events_b / np.maximum(table.n_b, _SMALL)
    free = _log_likelihood(table, rate_a, rate_b)
    shape = np.broadcast_shapes(difference.shape, rate_a.shape)
    left = np.broadcast_to(np.maximum(0.0, -difference / ratio), shape)
    right = np.broadcast_to(np.minimum(1.0, (1.0 - difference) / ratio), shape)
    for _ in range(_HALVINGS):  # the likelihood along that line is concave: its slope falls
        middle = (left + right) / 2
        slope = _slope(table.events_a, table.n_a, middle)
        up = slope + ratio * _slope(table.events_b, table.n_b, ratio * middle + difference) > 0
        left, right = np.where(up, middle, left), np.where(up, right, middle)
    tied = _log_likelihood(table, left, ratio * left + difference)
    allowed = side * (rate_b - ratio * rate_a) <= side * difference
    return np.where(allowed, free, np.minimum(free, tied))


def _log_likelihood(table: ContingencyTable, rate_a: Floats, rate_b: Floats) -> Floats:
    from scipy.special import xlog1py, xlogy

    total = xlogy(table.events_a, np.clip(rate_a, 0, 1)) + xlogy(table.events_b, np.clip(rate_b, 0, 1))
    total = total + xlog1py(table.n_a - table.events_a, -np.clip(rate_a, 0, 1))
    total = total + xlog1py(table.n_b - table.events_b, -np.clip(rate_b, 0, 1))
    return cast(Floats, total)


def _slope(events: Floats, n: Floats, rate: Floats) -> Floats:
    safe = np.clip(rate, _SMALL, 1 - _SMALL)
    return events / safe - (n - events) / (1 - safe)


def difference_bounds(table: ContingencyTable, alpha_low: float, alpha_high: float) -> tuple[float, float]:
    """One-sided bounds of p_b - p_a by counts, the lower at one alpha and the upper at another."""
    total_a, total_b = float(table.n_a.sum()), float(table.n_b.sum())
    if total_a <= 0 or total_b <= 0:
        return -1.0, 1.0
    found = float(table.events_b.sum()) / total_b - float(table.events_a.sum()) / total_a

    def refuted(at: Floats, side: int, alpha: float) -> NDArray[np.bool_]:
        return _enough(log_two_samples_by_phase(table, at, side, np.ones(at.size)), alpha)

    low = crossing_by_grid(lambda at: refuted(at, 1, alpha_low), found, -1 + _SMALL)
    return low, crossing_by_grid(lambda at: refuted(at, -1, alpha_high), found, 1 - _SMALL)


def ratio_bounds(table: ContingencyTable, alpha_low: float, alpha_high: float) -> tuple[float, float]:
    """One-sided bounds of p_b / p_a by counts, likewise; between a millionth and a million."""
    events_a, events_b = max(float(table.events_a.sum()), _SMALL), max(float(table.events_b.sum()), _SMALL)
    found = math.log(events_b / max(float(table.n_b.sum()), 1.0) / (events_a / max(float(table.n_a.sum()), 1.0)))
    found = min(max(found, -_LOG_RATIO_MAX), _LOG_RATIO_MAX)

    def refuted(at: Floats, side: int, alpha: float) -> NDArray[np.bool_]:
        return _enough(log_two_samples_by_phase(table, np.zeros(at.size), side, np.exp(at)), alpha)

    low = crossing_by_grid(lambda at: refuted(at, 1, alpha_low), found, -_LOG_RATIO_MAX)
    high = crossing_by_grid(lambda at: refuted(at, -1, alpha_high), found, _LOG_RATIO_MAX)
    return (0.0 if low <= -_LOG_RATIO_MAX else math.exp(low)), (math.inf if high >= _LOG_RATIO_MAX else math.exp(high))


def _enough(logs: Floats, alpha: float) -> NDArray[np.bool_]:
    return np.asarray(logs.sum(axis=1) >= math.log(1 / alpha))


def rate_bounds(events: float, n: float, alpha: float, weight: float = 1.0) -> tuple[float, float]:
    """One-sided bounds of a rate, each at alpha, at all looks."""
    if n <= 0:
        return 0.0, 1.0
    enough, found = math.log(1 / alpha), min(max(events / n, _SMALL), 1 - _SMALL)
    low = (
        0.0
        if events <= 0
        else crossing(lambda at: float(log_mixture(events, n, at, weight, 1)) >= enough, found, _SMALL)
    )
    high = (
        1.0
        if events >= n
        else crossing(lambda at: float(log_mixture(events, n, at, weight, -1)) >= enough, found, 1 - _SMALL)
    )
    return low, high


@dataclass(frozen=True)
class Exact:
    """What two arms' events say at this look. `share`: the treatment's of both arms' units; `weight`: how narrow the
    mixture is (tuned like rho: an eighth of the events that are planned).
    """

    table: ContingencyTable
    share: float
    weight: float
    a: float
    b: float

    @property
    def events(self) -> tuple[float, float]:
        """Of control and treatment, over all phases: shares of arms are the same in each."""
        return float(self.table.events_a.sum()), float(self.table.events_b.sum())

    def log_e(self, alpha: float) -> float:  # noqa: ARG002 - the mixture is tuned by its weight
        """Evidence that the rates differ."""
        return self._against(0.0, 0)

    def interval(self, alpha: float) -> tuple[float | None, float | None]:
        """Between what (b - a)/a is; the upper end is None where it may be anything."""
        return self._relative(alpha, two_sided=True)

    def apart(self, alpha: float) -> int:
        """1 where b is above a for certain, -1 where below, else 0; each with an error of alpha."""
        enough = math.log(1 / alpha)
        return 1 if self._against(0.0, 1) >= enough else -1 if self._against(0.0, -1) >= enough else 0

    def bounds(self, what: str, alpha: float, *, early: bool = False) -> tuple[float | None, float | None]:  # noqa: ARG002 - they always do
        """One-sided bounds of `relative` (by events), `difference` (by counts) or the treatment's `value`."""
        if what == "relative":
            return self._relative(alpha, two_sided=False)
        if what == "difference":
            return difference_bounds(self.table, alpha, alpha)
        return rate_bounds(self.events[1], float(self.table.n_b.sum()), alpha)

    def _against(self, log_ratio: float, side: int) -> float:
        in_a, in_b = self.events
        odds = self.share / (1 - self.share) * math.exp(log_ratio)
        return float(log_mixed(in_b, in_a + in_b, odds / (1 + odds), self.weight, side))

    def _relative(self, alpha: float, *, two_sided: bool) -> tuple[float | None, float | None]:
        in_a, in_b = self.events
        if in_a + in_b == 0:
            return None, None
        enough = math.log(1 / alpha)
        sides = (0, 0) if two_sided else (1, -1)
        found = math.log((in_b + _SMALL) / (in_a + _SMALL) * (1 - self.share) / self.share)
        found = min(max(found, -_LOG_RATIO_MAX), _LOG_RATIO_MAX)
        low = crossing(lambda at: self._against(at, sides[0]) >= enough, found, -_LOG_RATIO_MAX)
        high = crossing(lambda at: self._against(at, sides[1]) >= enough, found, _LOG_RATIO_MAX)
        return (
            -1.0 if low <= -_LOG_RATIO_MAX else math.expm1(low),
            None if high >= _LOG_RATIO_MAX else math.expm1(high),
        )
