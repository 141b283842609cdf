"""Months of traffic without drift, in blocks: how often monitors page for nothing. For benchmarks/drift.py.

The baseline is three weeks and more of the same traffic before the month; all monitors share one budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lib.drifting import Floats, binned_ks_p, binned_normal, drawn, normal_layout
from tidegate.watch.baseline.baseline import Baseline, BaselinePart, ExpectedBlock
from tidegate.watch.baseline.rhythm import Rhythm
from tidegate.watch.budget import Budget
from tidegate.watch.drift.drift import DriftContext
from tidegate.watch.drift.drift import evaluate as evaluate_drift
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.layout import Layout
from tidegate.watch.performance.performance import Cohort, LossMetric, Reference
from tidegate.watch.performance.performance import evaluate as evaluate_performance

HOUR_S = 3_600.0
WEEK_H = 168
LAYOUT = normal_layout()
LOSSES = Layout("category", "BYTES", values=("0", "1"))
ERROR, MISSING = 0.1, 0.01
BASELINE_ROWS_MAX = 200
"""Of an hour, on average: a baseline has so many rows at most, evenly of all, so that busy traffic is no slower."""
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


def both(rng: np.random.Generator, hours: int) -> Floats:
    """A rhythm of a day, and a mean that strolls about it."""
    return diurnal(rng, hours) + autocorrelated(rng, hours)


TRAFFIC: dict[str, Means] = {"steady": steady, "diurnal": diurnal, "autocorrelated": autocorrelated, "both": both}


@dataclass
class Month:
    """Pages in 30 days, by monitor; on the same blocks of a KS test at p < 0.05, and of a dummy on every block."""

    is_seasonal: bool
    blocks: int = 0
    drift: int = 0
    performance: int = 0
    any: int = 0
    naive: int = 0


@dataclass
class _Traffic:
    """Each feature's means, and the error's and missing values' rates, by the hour; `rows`: of each hour."""

    means: dict[str, Floats]
    errors: Floats
    missing: Floats
    rows: np.ndarray[tuple[int], np.dtype[np.int64]]

    @classmethod
    def of(cls, rng: np.random.Generator, means: Means, rows_per_hour: int, features: int, hours: int) -> _Traffic:
        """The number of rows goes up and down with the day where features do; the error and missing values too."""
        paths = {f"f{at}": means(rng, hours) for at in range(features)}
        errors, missing = (share * np.exp(means(rng, hours)) for share in (ERROR, MISSING))
        return cls(paths, errors, missing, rng.poisson(rows_per_hour * np.exp(diurnal(rng, hours)), hours))

    def column(self, rng: np.random.Generator, name: str, hour: int, rows: int) -> Histogram:
        """One hour's rows of a feature, some of which are missing."""
        absent = int(rng.binomial(rows, self.missing[hour]))
        found = drawn(rng, LAYOUT, rows - absent, binned_normal(float(self.means[name][hour])))
        return Histogram(LAYOUT, (absent, *found.counts[1:]))


def month(rng: np.random.Generator, means: Means, rows_per_hour: int, features: int, weeks: int) -> Month:
    """One month after a baseline of so many weeks."""
    before_h, hours = weeks * WEEK_H, 720
    traffic = _Traffic.of(rng, means, rows_per_hour, features, before_h + hours)
    baseline = _baseline(rng, traffic, before_h)
    budget, found = baseline.budget(Budget()), Month(bool(baseline.rhythm.seasons))
    waiting: dict[int, int] = {}
    begun = before_h
    for hour in range(before_h, before_h + hours):
        waiting[hour] = int(traffic.rows[hour])
        if budget.closes(sum(waiting.values()), (hour + 1 - begun) * HOUR_S):
            _judge(rng, traffic, baseline, waiting, found)
            waiting, begun = {}, hour + 1
    return found


def _baseline(rng: np.random.Generator, traffic: _Traffic, hours: int) -> Baseline:
    kept = min(1.0, BASELINE_ROWS_MAX / float(traffic.rows[:hours].mean()))
    rows = np.rint(traffic.rows[:hours] * kept).astype(int).tolist()
    columns = {
        name: {hour: traffic.column(rng, name, hour, rows[hour]) for hour in range(hours)} for name in traffic.means
    }
    wrong = {hour: _wrong(rng, traffic, hour, rows[hour]) for hour in range(hours)}
    rhythm = Rhythm.of(columns, {hour: _losses(each) for hour, each in wrong.items()})
    whole = {name: Histogram.empty(LAYOUT).merge(*each.values()) for name, each in columns.items()}
    risk = Reference.of(np.concatenate(list(wrong.values())), rhythm.losses[24])
    return Baseline(BaselinePart(sum(rows), whole, risk=risk), rhythm=rhythm)


def _wrong(rng: np.random.Generator, traffic: _Traffic, hour: int, rows: int) -> Floats:
    return np.asarray(rng.random(rows) < traffic.errors[hour], dtype=np.float64)


def _losses(wrong: Floats) -> Histogram:
    errors = int(wrong.sum())
    return Histogram(LOSSES, (0, 0, 0, 0, wrong.size - errors, errors))


def _judge(
    rng: np.random.Generator, traffic: _Traffic, baseline: Baseline, rows_by_hour: Mapping[int, int], into: Month
) -> None:
    budget, expected = Budget(), baseline.expected(rows_by_hour)
    block_s = len(rows_by_hour) * HOUR_S
    now = {
        name: Histogram.empty(LAYOUT).merge(
            *(traffic.column(rng, name, hour, rows) for hour, rows in rows_by_hour.items())
        )
        for name in traffic.means
    }
    look = DriftContext({"f0"}, page_alpha=budget.page_alpha("drift", block_s), clustering=expected.clustering)
    found = evaluate_drift(expected.part.columns, now, look=look)
    moved = any(each.drift_detected for each in found.values())
    worse = _performance(rng, traffic, expected, rows_by_hour, budget.page_alpha("performance", block_s))
    into.blocks += 1
    into.drift += moved
    into.performance += worse
    into.any += moved or worse
    into.naive += any(binned_ks_p(baseline.whole.columns[name], each) < 0.05 for name, each in now.items() if each.rows)


def _performance(
    rng: np.random.Generator,
    traffic: _Traffic,
    expected: ExpectedBlock,
    rows_by_hour: Mapping[int, int],
    page_alpha: float,
) -> bool:
    wrong = np.concatenate([_wrong(rng, traffic, hour, rows) for hour, rows in rows_by_hour.items()])
    if expected.part.risk is None:
        raise ValueError("a baseline of labelled rows has a risk")
    found = evaluate_performance(
        Cohort(wrong), expected.part.risk, LossMetric("accuracy"), page_alpha=page_alpha, clustering=expected.losses
    )
    return bool(found.significant_drop)
