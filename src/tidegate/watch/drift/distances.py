"""Distances that people know (W1, Jensen-Shannon, PSI), each beside what it exceeds once in twenty times without drift.

They are shown, never decided by: a fixed threshold fires on most small windows and on no large one. Called by drift.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import scipy

from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.layout import Layout
from tidegate.watch.histograms.sizes import categories
from tidegate.watch.histograms.values import Floats

NULL_LEVEL = 0.95


@dataclass(frozen=True)
class Distances:
    """Each distance, then its 95 % quantile without drift at these numbers of rows. None where it says nothing.

    `wasserstein`: W1 within the reference's range, over its robust standard deviation. `jensen_shannon`: the distance
    (root of the divergence in bits). `psi`: the population stability index.
    """

    wasserstein: float | None = None
    wasserstein_null: float | None = None
    jensen_shannon: float | None = None
    jensen_shannon_null: float | None = None
    psi: float | None = None
    psi_null: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


def distances(reference: Histogram, current: Histogram) -> Distances:
    """All distances between two histograms of one layout, over the rows that have ordinary values."""
    p, q = (categories(each) if each.layout.kind == "category" else each.ordinary for each in (reference, current))
    rows_before, rows = float(p.sum()), float(q.sum())
    if not rows or not rows_before:
        return Distances()
    seen = p + q > 0
    p, q = p[seen], q[seen]
    noise = 1 / rows + 1 / rows_before
    chance = float(scipy.special.chdtri(max(p.size - 1, 1), 1 - NULL_LEVEL)) * noise if p.size > 1 else 0.0
    wasserstein, wasserstein_null = _wasserstein(reference, current)
    return Distances(
        wasserstein=wasserstein,
        wasserstein_null=wasserstein_null,
        jensen_shannon=_jensen_shannon(p / rows_before, q / rows),
        # The divergence is χ² / 8 in nats to second order; a symmetric distance, so with both samples' noise.
        jensen_shannon_null=math.sqrt(chance / 8 / math.log(2)),
        psi=_psi(p, q),
        psi_null=chance,
    )


def _jensen_shannon(p: Floats, q: Floats) -> float:
    middle = (p + q) / 2
    divergence = 0.5 * (scipy.special.rel_entr(p, middle).sum() + scipy.special.rel_entr(q, middle).sum()) / math.log(2)
    return math.sqrt(max(0.0, float(divergence)))


def _psi(p: Floats, q: Floats) -> float:
    """With half a row added to each bin, so that an empty one is not infinitely far."""
    p, q = (p + 0.5) / (p.sum() + 0.5 * p.size), (q + 0.5) / (q.sum() + 0.5 * q.size)
    return float(((q - p) * np.log(q / p)).sum())


def _wasserstein(reference: Histogram, current: Histogram) -> tuple[float | None, float | None]:
    layout = reference.layout
    if not layout.is_ordered or layout.spread <= 0 or len(layout.cuts) < 2:
        return None, None
    weights = _weights(layout)
    if not np.all(np.isfinite(weights)):
        return None, None
    rows_before, rows = reference.ordinary.sum(), current.ordinary.sum()
    gaps = np.abs(reference.below_cuts / rows_before - current.below_cuts / rows)
    with np.errstate(over="ignore"):
        distance = float(gaps @ weights)
    chance = _quantile_of_weighted_bridge(reference) * math.sqrt(1 / rows_before + 1 / rows)
    return (distance, chance) if math.isfinite(distance) and math.isfinite(chance) else (None, None)


@lru_cache(maxsize=4096)
def _weights(layout: Layout) -> Floats:
    """What a difference at each cut adds to the area between two distributions (trapezoids), in robust deviations."""
    with np.errstate(over="ignore"):
        widths = np.diff(layout.edges) / layout.spread
    return np.concatenate(([0.0], widths)) / 2 + np.concatenate((widths, [0.0])) / 2


@lru_cache(maxsize=4096)
def _quantile_of_weighted_bridge(reference: Histogram) -> float:
    """The 95 % quantile of Σ w|B(t)| at the cuts, by the gamma distribution with its exact mean and variance."""
    t, weights = reference.below_cuts / reference.ordinary.sum(), _weights(reference.layout)
    deviation = np.sqrt(t * (1 - t))
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.minimum(t[:, None], t[None, :]) - t[:, None] * t[None, :]
        rho = np.clip(np.nan_to_num(rho / (deviation[:, None] * deviation[None, :])), -1.0, 1.0)
    scaled = weights * deviation
    with np.errstate(over="ignore"):
        whole = float(scaled.sum())
    if not 0 < whole < math.inf:
        return whole
    scaled = scaled / whole  # else the variance of what lies far apart is infinite
    mean = math.sqrt(2 / math.pi)
    covariance = 2 / math.pi * (np.sqrt(1 - rho * rho) + rho * np.arcsin(rho) - 1)
    variance = float(scaled @ covariance @ scaled)
    if variance <= 0:
        return 0.0
    return whole * float(scipy.special.gammaincinv(mean * mean / variance, NULL_LEVEL)) * variance / mean
