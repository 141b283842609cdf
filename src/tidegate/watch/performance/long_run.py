"""Did a model get worse over weeks? Whole days are the sample: rows of a day have much in common, and a bad day alone
is no news. Called by monitors, with each day's mean loss; what one day says by itself is `performance`.

An alert is a mean that is higher than the baseline's by more than `PerformanceRule.tolerance`, and by more than chance:
the difference of the days' means over its standard error (Welch 1947), by Student's distribution. Neighbouring days may
have something in common: variances are inflated by (1 + r) / (1 - r), and days count as so many fewer, with r the
autocorrelation of both samples at a lag of one day, where it is above 0 (Bartlett 1946). Variances are at least what
independent rows would have. Of a baseline
that does not know its days the standard error follows from its upper bound. Asymptotic: how often it is wrong is in
`tests/statistics/test_long_run.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from tidegate.watch.histograms.clustering import BLOCKS_MIN
from tidegate.watch.histograms.values import Floats
from tidegate.watch.performance.performance import (
    REFERENCE_ALPHA,
    LossMetric,
    MetricReading,
    PerformanceRule,
    Reference,
)

DAYS_SHARE_MIN = 0.7
"""Of the days of a span, so many must have labels."""
CORRELATION_MAX = 0.9


@dataclass(frozen=True)
class DayLosses:
    """One day's rows whose labels had time to come: of `labelled` of them the losses add up to `total`."""

    rows: int
    labelled: int
    total: float


@dataclass(frozen=True)
class DailyReference:
    """The baseline's risk, and the mean loss of each of its days (none where it does not know when its rows were)."""

    risk: Reference
    days: Sequence[float] = ()

    @property
    def mean(self) -> float:
        """Of the days, each counting the same, as those of the span do."""
        return float(np.mean(self.days)) if len(self.days) >= BLOCKS_MIN else self.risk.risk

    def standard_error(self, inflation: float) -> float:
        if len(self.days) >= BLOCKS_MIN:
            return float(np.sqrt(np.var(self.days, ddof=1) / len(self.days) * inflation))
        return (self.risk.upper - self.risk.risk) / -float(scipy.special.ndtri(REFERENCE_ALPHA))


def evaluate_days(
    days: Sequence[DayLosses], span: int, reference: DailyReference, metric: LossMetric, page_alpha: float
) -> MetricReading:
    """Whether the mean risk of a span of days is above the reference's, by more than does not matter.

    `days`: those of the span that have labels, in order. Rows without a label count as right. `page_alpha`: the
    probability of a false page of this look, which is made once for these days.
    """
    rows, labelled = sum(day.rows for day in days), sum(day.labelled for day in days)
    result = MetricReading(
        metric=metric.name,
        state="unknown",
        verdict="",
        n=rows,
        n_labelled=labelled,
        n_reference=reference.risk.rows,
        reference=metric.of(reference.mean),
        coverage=labelled / rows if rows else None,
    )
    if len(days) < max(3, DAYS_SHARE_MIN * span):
        return replace(result, verdict=f"unknown: {len(days)} of the last {span} days have labels")
    best = np.array([day.total / day.rows for day in days])
    worst = np.array([(day.total + day.rows - day.labelled) / day.rows for day in days])
    risk = float(np.mean([day.total / day.labelled for day in days]))
    inflation = _inflation(best, np.asarray(reference.days, dtype=np.float64))
    own = [float(np.sqrt(_variance(means, rows) * inflation)) for means in (best, worst)]
    quantile = float(scipy.special.stdtrit(max(2.0, len(days) / inflation - 1), 1 - min(page_alpha, 0.5)))
    drop = float(best.mean()) - reference.mean
    is_chance = drop <= quantile * float(np.hypot(own[0], reference.standard_error(inflation)))
    is_worse = not is_chance and drop > PerformanceRule().tolerance
    bounds = max(0.0, float(best.mean()) - quantile * own[0]), min(1.0, float(worst.mean()) + quantile * own[1])
    lower, upper = sorted(map(metric.of, bounds))
    text = (
        f"over {span} days {metric.name.replace('_', ' ')} is {metric.of(risk):.3g} (between {lower:.3g} and "
        f"{upper:.3g}, as much as days differ), and was {result.reference:.3g}"
    )
    return replace(
        result,
        state="alert" if is_worse else "ok",
        verdict=f"worse: {text}" if is_worse else f"ok: {text}",
        value=metric.of(risk),
        lower=lower,
        upper=upper,
        significant_drop=is_worse,
        performance_drop=(risk - reference.mean) * metric.scale,
    )


def _variance(means: Floats, rows: int) -> float:
    """Of the mean of independent days; not less than of the mean of independent rows."""
    share = (float(means.mean()) * rows + 1) / (rows + 2)
    return max(float(means.var(ddof=1)) / means.size, share * (1 - share) / rows)


def _inflation(days: Floats, before: Floats) -> float:
    """Of a mean's variance, by what neighbouring days have in common, each sample around its own mean."""
    shared = total = 0.0
    for means in (days, before):
        if means.size > 2:
            centred = means - means.mean()
            shared += float((centred[1:] * centred[:-1]).sum())
            total += float((centred**2).sum())
    correlation = min(CORRELATION_MAX, max(0.0, shared / total)) if total > 0 else 0.0
    return (1 + correlation) / (1 - correlation)
