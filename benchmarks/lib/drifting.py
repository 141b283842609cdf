"""Columns with and without drift, and what is commonly done about them, for benchmarks/drift.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.spatial import distance

from tidegate.watch.drift.drift import Drift, evaluate
from tidegate.watch.histograms.histogram import Histogram, reference
from tidegate.watch.histograms.layout import Layout

Floats = NDArray[np.float64]
Shape = Callable[[Floats], NDArray[np.generic]]

FACTORS = 5
"""Columns are half of their own making and half of so many factors that they share."""
CATEGORIES = 50

SHAPES: dict[str, Shape] = {
    "normal": lambda z: z,
    "lognormal": np.exp,
    "ties": lambda z: np.maximum(z, 0.5).round(1),  # seven in ten are the same
    f"{CATEGORIES} categories": lambda z: np.floor(special.ndtr(z) * CATEGORIES).astype(int).astype("U3"),
    "scale 1e-6": lambda z: z * 1e-6,
    "constant": np.zeros_like,
}


def correlated(rng: np.random.Generator, rows: int, columns: int, mixing: Floats) -> Floats:
    """Standard normal columns that share factors."""
    shared = rng.normal(size=(rows, FACTORS)) @ mixing
    z: Floats = (shared / np.linalg.norm(mixing, axis=0) + rng.normal(size=(rows, columns))) / np.sqrt(2)
    return z


@dataclass(frozen=True)
class Naive:
    """What commonly decides, on the raw values: None where it does not apply. `psi` has ten bins at the deciles."""

    p_below_05: bool
    psi_above_01: bool | None
    distance_above_01: bool


def naive(before: NDArray[np.generic], now: NDArray[np.generic]) -> Naive:
    """A KS test (χ² for categories), PSI, and Wasserstein in standard deviations (Jensen-Shannon for categories)."""
    if before.dtype.kind == "U":
        names = np.unique(np.concatenate((before, now)))
        x, y = (np.array([(each == name).sum() for name in names]) for each in (before, now))
        p = float(stats.chi2_contingency(np.stack((x, y)), correction=False).pvalue) if names.size > 1 else 1.0
        return Naive(p < 0.05, psi(x, y) > 0.1, float(distance.jensenshannon(x, y)) >= 0.1)
    edges = np.unique(np.quantile(before.astype(np.float64), np.arange(1, 10) / 10))
    x, y = (np.bincount(np.searchsorted(edges, each), minlength=edges.size + 1) for each in (before, now))
    spread = float(before.std())
    far = float(stats.wasserstein_distance(before, now)) / spread >= 0.1 if spread else False
    return Naive(float(stats.ks_2samp(before, now).pvalue) < 0.05, psi(x, y) > 0.1, far)


def psi(x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """As it is commonly computed: shares of bins, 0.0001 where a bin is empty."""
    p, q = np.maximum(x / x.sum(), 1e-4), np.maximum(y / y.sum(), 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def ours(before: NDArray[np.generic], now: NDArray[np.generic]) -> dict[str, Drift]:
    """One evaluation over all columns."""
    references = {str(at): reference(column) for at, column in enumerate(before.T)}
    current = {str(at): Histogram.of(column, references[str(at)].layout) for at, column in enumerate(now.T)}
    return evaluate(references, current)


# -- so many rows that only their counts are drawn ---------------------------------------------------------------------


def binned_normal(shift: float = 0.0, bins: int = 20) -> Floats:
    """The shares of a shifted standard normal variable between the standard one's quantiles."""
    edges = special.ndtri(np.arange(1, bins) / bins)
    shares: Floats = np.diff(np.concatenate(([0.0], special.ndtr(edges - shift), [1.0])))
    return shares


def normal_layout(bins: int = 20) -> Layout:
    """The layout that goes with `binned_normal`."""
    edges = special.ndtri(np.arange(1, bins) / bins).tolist()
    return Layout("numeric", "FP64", cuts=(-6.0, *edges, 6.0), spread=1.0)


def drawn(rng: np.random.Generator, layout: Layout, rows: int, shares: Floats) -> Histogram:
    """A histogram of so many rows."""
    return Histogram(layout, (0, 0, 0, *rng.multinomial(rows, shares).tolist(), 0))


def binned_ks_p(before: Histogram, now: Histogram) -> float:
    """The KS test's asymptotic p-value at the bins' edges alone, where it errs towards silence."""
    n, m = now.rows, before.rows
    gap = float(np.abs(before.below_cuts / m - now.below_cuts / n).max())
    return float(special.kolmogorov(gap / np.sqrt(1 / n + 1 / m)))
