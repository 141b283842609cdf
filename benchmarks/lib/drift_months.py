"""Months of traffic without drift, in blocks: how often monitors page for nothing. For benchmarks/drift.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.drifting import Floats, binned_ks_p, binned_normal, drawn, normal_layout
from tidegate.watch.budget import DAY_S, Budget
from tidegate.watch.clustering import Clustering
from tidegate.watch.drift import Drift, Look, evaluate
from tidegate.watch.histogram import Histogram

HOUR_S = 3_600.0
LAYOUT = normal_layout()
Means = Callable[[np.random.Generator, int], Floats]
"""Each hour's mean of one feature, in standard deviations."""


def steady(rng: np.random.Generator, hours: int) -> Floats:  # noqa: ARG001 - as the others
    """Rows are alike at all times."""
    return np.zeros(hours)


def diurnal(rng: np.random.Generator, hours: int) -> Floats:
    """A rhythm of a day: half a standard deviation up and down, each feature at its own hour."""
    means: Floats = 0.5 * np.sin(2 * np.pi * (np.arange(hours) / 24 + rng.random()))
    return means


def autocorrelated(rng: np.random.Generator, hours: int) -> Floats:
    """A mean that strolls: 0.1 standard deviations, forgotten within some hours."""
    means, steps = np.zeros(hours), rng.normal(size=hours) * 0.1 * np.sqrt(1 - 0.8**2)
    for hour in range(1, hours):
        means[hour] = 0.8 * means[hour - 1] + steps[hour]
    return means


TRAFFIC: dict[str, Means] = {"steady": steady, "diurnal": diurnal, "autocorrelated": autocorrelated}


@dataclass(frozen=True)
class Month:
    """Pages in 30 days: ours, ours allowing for clustering, and of a KS test at p < 0.05 on the same blocks."""

    blocks: int
    pages: int
    clustered_pages: int
    naive_pages: int


def month(rng: np.random.Generator, means: Means, rows_per_hour: int, features: int, budget: Budget) -> Month:
    """One month; the reference is of two weeks of the same traffic before it (at most 50,000 rows)."""
    hours = int(budget.horizon_s / HOUR_S)
    per_slot = max(1, round(rows_per_hour / 600)) if rows_per_hour > 600 else 1  # slots of a block at least
    step_h = 1 / per_slot if rows_per_hour > 600 else 1.0
    paths = [means(rng, hours + 336) for _ in range(features)]
    per_hour = max(1, min(rows_per_hour, 50_000 // 336))
    before, clustering = {}, {}
    for at, path in enumerate(paths):
        days = [_counted(rng, [(mean, per_hour) for mean in path[begun : begun + 24]]) for begun in range(0, 336, 24)]
        before[f"f{at}"], clustering[f"f{at}"] = days[0].merge(*days[1:]), Clustering.of(days)
    blocks = pages = clustered_pages = naive_pages = 0
    waiting: list[tuple[int, int]] = []
    begun_h = now_h = 0.0
    while now_h < hours - 1e-9:
        hour = int(now_h)
        now_h += step_h
        waiting.append((336 + hour, int(rng.poisson(rows_per_hour * step_h))))
        rows, block_s = sum(each for _, each in waiting), (now_h - begun_h) * HOUR_S
        if not budget.closes(rows, block_s):
            continue
        now = {
            f"f{at}": _counted(rng, [(path[place], each) for place, each in waiting]) for at, path in enumerate(paths)
        }
        alpha = budget.page_alpha("drift", block_s)
        pages += _pages(evaluate(before, now, look=Look(page_alpha=alpha)))
        clustered_pages += _pages(evaluate(before, now, look=Look(page_alpha=alpha, clustering=clustering)))
        naive_pages += any(binned_ks_p(before[name], each) < 0.05 for name, each in now.items() if each.rows)
        waiting, begun_h, blocks = [], now_h, blocks + 1
    return Month(blocks, pages, clustered_pages, naive_pages)


def _pages(found: dict[str, Drift]) -> bool:
    return any(each.drift_detected for each in found.values())


def _counted(rng: np.random.Generator, parts: list[tuple[float, int]]) -> Histogram:
    """Rows of several hours together; hours of the same mean are drawn at once."""
    by_mean: dict[float, int] = {}
    for mean, rows in parts:
        by_mean[float(mean)] = by_mean.get(float(mean), 0) + rows
    return Histogram.empty(LAYOUT).merge(
        *(drawn(rng, LAYOUT, rows, binned_normal(mean)) for mean, rows in by_mean.items())
    )


WHOLE_DAYS = Budget(block_s_min=DAY_S)
