"""How far a count may stray by chance: critical values and exact bounds, vectorised over bins.

Called by sizes and rates. Special functions alone (`scipy.special`, which scipy loads when it is first used).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import numpy as np
import scipy

from tidegate.watch.histograms.values import Floats

_NODES_MAX = 160
_CLOSE = 0.01
"""Cuts nearer than this on the bridge's own scale are one: their differences go the same way 99 times of 100."""


def _floats(values: Any) -> Floats:
    return cast(Floats, np.asarray(values, dtype=np.float64))


@lru_cache(maxsize=8192)
def bridge_quantile(cuts: tuple[float, ...], alpha: float) -> float:
    """What max over cuts of |B(t)| / sqrt(t(1 - t)) exceeds with probability alpha, B being a Brownian bridge.

    This is what the difference of two empirical distributions, each over its standard error, looks like at cuts of
    probability t. The standardised bridge is a stationary Gaussian Markov chain in s = ½ ln(t / (1 - t)), correlated
    by exp(-|s - s'|), so the probability of staying inside is a product of kernels on Gauss-Legendre nodes, with
    no simulation. For 19 cuts at the twentieths it is 2.81 at 5 % (Bonferroni would want 3.01).
    """
    steps = _steps(cuts)
    single = normal_quantile(alpha / 2)
    if not steps.size:
        return single
    return _root_of_log(
        lambda c: 1 - _stays_inside(steps, c), alpha, single, normal_quantile(alpha / 2 / (steps.size + 1))
    )


def _root_of_log(probability: Callable[[float], float], alpha: float, low: float, high: float) -> float:
    """Where a falling probability is alpha: false position on its logarithm, which is nearly straight."""
    above, below = math.log(probability(low) / alpha), math.log(probability(high) / alpha)
    for _ in range(20):
        middle = low + (high - low) * above / (above - below)
        missed = math.log(probability(middle) / alpha)
        if abs(missed) < 1e-3:
            return middle
        if missed > 0:
            low, above, below = middle, missed, below / 2  # halved, so that neither end stays for ever (Illinois)
        else:
            high, below, above = middle, missed, above / 2
    return high


def _steps(cuts: tuple[float, ...]) -> Floats:
    """Distances between neighbouring cuts on the scale where the standardised bridge is stationary."""
    inside = np.array(sorted(t for t in cuts if 0 < t < 1))
    places = 0.5 * np.log(inside / (1 - inside))
    kept: list[float] = []
    for place in places.tolist():
        if not kept or place - kept[-1] > _CLOSE:
            kept.append(place)
    return np.diff(np.array(kept))


def _stays_inside(steps: Floats, bound: float) -> float:
    correlations = np.exp(-steps)
    narrowest = math.sqrt(1 - float(correlations.max()) ** 2)
    nodes, weights = _legendre(int(min(_NODES_MAX, max(32, 6 * bound / narrowest))))
    x = bound * nodes
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    rho, variance = correlations[:, None, None], 1 - correlations[:, None, None] ** 2
    kernels = np.exp(-0.5 * (x[:, None] - rho * x) ** 2 / variance) * (
        weights * bound / np.sqrt(2 * math.pi * variance)
    )
    for kernel in kernels:
        density = kernel @ density
    return float(density @ weights * bound)


@lru_cache(maxsize=256)
def _legendre(nodes: int) -> tuple[Floats, Floats]:
    x, weights = np.polynomial.legendre.leggauss(nodes)
    return x, weights


def normal_quantile(alpha: float) -> float:
    """What a standard normal variable exceeds with probability alpha."""
    return float(-scipy.special.ndtri(alpha))


def quantile_past_margin(deviations: Floats, margin: float, alpha: float, at_least: float = 0.0) -> float:
    """The least c >= `at_least` such that without drift any |difference| - c·se > margin has a probability <= alpha.

    `deviations`: the standard errors without drift, one a cut. By the union bound: in tails this thin the cuts hardly
    overlap. The margin does most of the work, so that c rarely grows.
    """
    lead = margin / deviations[deviations > 0]

    def too_often(c: float) -> bool:
        return bool(2 * scipy.special.ndtr(-(c + lead)).sum() > alpha)

    if not too_often(at_least):
        return at_least
    low, high = at_least, max(at_least, 1.0) * 2
    while too_often(high):
        low, high = high, high * 2
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if too_often(middle) else (low, middle)
    return high


def binomial_lower(successes: Floats, trials: float, alpha: float) -> Floats:
    """Clopper and Pearson's lower bound of a proportion, above the truth with probability <= alpha. Exact."""
    k = _floats(successes)
    inside = scipy.special.betaincinv(np.maximum(k, 1), trials - np.maximum(k, 1) + 1, alpha)
    return _floats(np.where(k > 0, inside, 0.0))


def binomial_upper(successes: Floats, trials: float, alpha: float) -> Floats:
    """Clopper and Pearson's upper bound of a proportion, below the truth with probability <= alpha. Exact."""
    return 1.0 - binomial_lower(trials - _floats(successes), trials, alpha)


def rate_change_p(now: Floats, rows: Floats, before: Floats, rows_before: Floats, ratio: float) -> Floats:
    """Exact p-values of "the rate changed by no more than this ratio", up or down, one for each count.

    Given their sum, the count of now is binomial if both are Poisson; of binomial counts it strays less, so the test
    then errs on the safe side. Two-sided: twice the smaller, at most 1; 1 where nothing was counted.
    """
    x, y = _floats(now), _floats(before)
    total = x + y
    up = rows * ratio / (rows * ratio + rows_before)
    down = rows / (rows + ratio * rows_before)
    rose = np.where(x > 0, scipy.special.betainc(np.maximum(x, 1), y + 1, up), 1.0)  # P(Binomial(total, up) >= x)
    fell = np.where(
        y > 0, scipy.special.betainc(np.maximum(y, 1), x + 1, 1 - down), 1.0
    )  # P(Binomial(total, down) <= x)
    return _floats(np.where(total > 0, np.minimum(1.0, 2 * np.minimum(rose, fell)), 1.0))
