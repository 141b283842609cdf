"""Did a model get worse? Bounded losses decide, with a bound that stays honest while labels are late.

Rows whose labels had time to come (the matured cohort) are averaged; those of them that still have none count as right
for the risk's lower bound and as wrong for its upper one. Called by monitors and by the offline functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms import bounds
from tidegate.watch.histograms.clustering import INDEPENDENT, Clustering
from tidegate.watch.histograms.values import Floats
from tidegate.watch.performance import betting

MetricName = Literal["accuracy", "brier", "absolute_error"]
State = Literal["ok", "alert", "unknown"]

ROWS_MIN = 2
REFERENCE_ALPHA = 0.01
"""How often the reference's own bound may fail: once, when the reference is taken, not at every look."""
AGES_S = (0.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, float("inf"))


@dataclass(frozen=True)
class LossMetric:
    """What people read, and how it follows from a risk (a mean loss in [0, 1]): `accuracy` is 1 - risk.

    `scale`: what a loss of 1 is in the metric's own unit (the clip of an absolute error).
    """

    name: MetricName
    scale: float = 1.0

    @property
    def higher_is_better(self) -> bool:
        return self.name == "accuracy"

    def of(self, risk: float) -> float:
        return 1.0 - risk if self.higher_is_better else risk * self.scale


@dataclass(frozen=True)
class Reference:
    """The risk that a model had when it was fine: what was measured, its upper bound, and of how many rows."""

    risk: float
    upper: float
    rows: int

    @classmethod
    def of(cls, losses: Floats, clustering: Clustering = INDEPENDENT) -> Reference:
        """From the losses of a fixed sample; rows without labels are left out. `clustering`: of its blocks."""
        known = losses[~np.isnan(losses)]
        if not known.size:
            raise InvalidArgument(
                "The baseline has no labelled row: there is nothing to compare with.", field="baseline"
            )
        worth = clustering.of_losses(known, clustering.block_rows)
        is_counted = bool(np.all((known == 0) | (known == 1)))
        if is_counted:
            upper = float(bounds.binomial_upper(np.array([worth.sum()]), worth.size, REFERENCE_ALPHA)[0])
        else:
            upper = betting.mean_upper(worth, REFERENCE_ALPHA)
        return cls(float(known.mean()), upper, int(known.size))

    @classmethod
    def exactly(cls, risk: float) -> Reference:
        """A risk that is given as a number, without an interval."""
        if not 0 <= risk <= 1:
            raise InvalidArgument(
                f"A baseline's accuracy or loss is a number from 0 to 1, and {risk} was given.", field="baseline"
            )
        return cls(risk, risk, 0)


@dataclass(frozen=True)
class Cohort:
    """Rows in the order of their predictions. `losses`: NaN where no label has come. `ages_s`: since the prediction.

    `delay_s`: younger rows are not judged yet. Without ages all rows are old enough.
    """

    losses: Floats
    ages_s: Floats | None = None
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        if self.ages_s is not None and self.ages_s.shape != self.losses.shape:
            raise InvalidArgument(
                f"There are {self.losses.size} losses and {self.ages_s.size} ages: each row needs both.", field="ages_s"
            )
        known = self.losses[~np.isnan(self.losses)]
        if known.size and (known.min() < 0 or known.max() > 1):
            raise InvalidArgument(
                "Losses that decide must be from 0 to 1: divide them by their largest value.", field="losses"
            )

    @property
    def matured(self) -> Floats:
        return self.losses if self.ages_s is None else self.losses[self.ages_s >= self.delay_s]


@dataclass(frozen=True)
class Coverage:
    """Of the rows of an age, how many have labels."""

    age_from_s: float
    age_to_s: float | None
    rows: int
    labelled: int

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "coverage": self.labelled / self.rows}


@dataclass(frozen=True)
class PerformanceRule:
    """`tolerance`: a risk higher than the reference's upper bound by up to this does not matter. `alpha`: of one look.

    `selective`: labels come for rows that were chosen by their outcome or by the prediction (loans that were granted),
    so that no average of them says anything of all rows.
    """

    tolerance: float = 0.02
    alpha: float = 0.05
    selective: bool = False


@dataclass(frozen=True)
class MetricReading:
    """What one look says of a metric. None where nothing can be known; never NaN.

    `value`: of the matured rows that have labels. `lower`, `upper`: the metric lies there with confidence 1 - alpha at
    every look, whatever the labels that are missing will be. `performance_drop`: by how much it is worse than the
    reference. `coverage`: the share of matured rows that have labels. `final_lower`, `final_upper`: between these the
    average over all rows, young ones too, must end when every label has come.
    """

    metric: MetricName
    state: State
    verdict: str
    n: int
    n_labelled: int
    n_reference: int
    reference: float
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    performance_drop: float | None = None
    significant_drop: bool | None = None
    coverage: float | None = None
    final_lower: float | None = None
    final_upper: float | None = None
    coverage_by_age: tuple[Coverage, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; accuracy also by the names `current_accuracy` and `baseline_accuracy`."""
        plain = {**vars(self), "coverage_by_age": [each.as_dict() for each in self.coverage_by_age]}
        if self.metric == "accuracy":
            plain |= {"current_accuracy": self.value, "baseline_accuracy": self.reference}
        return plain


def evaluate(
    cohort: Cohort,
    reference: Reference,
    metric: LossMetric,
    rule: PerformanceRule = PerformanceRule(),
    page_alpha: float | None = None,
    clustering: Clustering = INDEPENDENT,
) -> MetricReading:
    """Whether the risk is above the reference's by more than the tolerance (Podkopaev and Ramdas 2022).

    `page_alpha`: the probability of a false page that the endpoint's budget leaves this block, which is then judged
    once: it is not to be passed of a sample that grows. `clustering`: how alike the losses of such a block are.
    """
    losses = cohort.matured
    pending = np.isnan(losses)
    labelled = int(losses.size - pending.sum())
    low, high = _final(cohort.losses, metric)
    result = MetricReading(
        metric=metric.name,
        state="unknown",
        verdict="",
        n=int(losses.size),
        n_labelled=labelled,
        n_reference=reference.rows,
        reference=metric.of(reference.risk),
        coverage=labelled / losses.size if losses.size else None,
        final_lower=low,
        final_upper=high,
        coverage_by_age=_by_age(cohort),
    )
    reason = _nothing_to_know(cohort, labelled, rule)
    if reason:
        return replace(result, verdict=f"unknown: {reason}")
    alpha = rule.alpha / 2 if page_alpha is None else min(page_alpha, rule.alpha / 2)
    risk = float(losses[~pending].mean())
    best, worst = np.where(pending, 0.0, losses), np.where(pending, 1.0, losses)
    if page_alpha is not None:
        best, worst = clustering.of_losses(best), clustering.of_losses(worst)
    lower, upper = betting.mean_lower(best, alpha), betting.mean_upper(worst, alpha)
    is_worse = lower > reference.upper + rule.tolerance
    edges = sorted((metric.of(lower), metric.of(upper)))
    drop = (risk - reference.risk) * metric.scale
    result = replace(result, state="alert" if is_worse else "ok", significant_drop=is_worse, performance_drop=drop)
    result = replace(result, value=metric.of(risk), lower=edges[0], upper=edges[1])
    return replace(result, verdict=_verdict(result, metric))


def _nothing_to_know(cohort: Cohort, labelled: int, rule: PerformanceRule) -> str | None:
    if not cohort.losses.size:
        return "the window is empty"
    if rule.selective:
        return "labels are selective here, so that those that came say nothing of the rest"
    if not cohort.matured.size:
        return f"no prediction is old enough yet: labels are given {cohort.delay_s:g} s to come"
    if labelled < ROWS_MIN:
        return f"{labelled} of {cohort.matured.size} predictions that are old enough have labels"
    return None


def _final(losses: Floats, metric: LossMetric) -> tuple[float | None, float | None]:
    """The average over all rows if every label that is still to come is right, and if it is wrong."""
    if not losses.size:
        return None, None
    pending = np.isnan(losses)
    best, worst = (float(np.where(pending, filled, losses).mean()) for filled in (0.0, 1.0))
    low, high = sorted((metric.of(best), metric.of(worst)))
    return low, high


def _by_age(cohort: Cohort) -> tuple[Coverage, ...]:
    if cohort.ages_s is None:
        return ()
    found = []
    for start, end in pairwise(AGES_S):
        inside = (cohort.ages_s >= start) & (cohort.ages_s < end)
        if inside.any():
            labelled = int((~np.isnan(cohort.losses[inside])).sum())
            found.append(Coverage(start, None if end == float("inf") else end, int(inside.sum()), labelled))
    return tuple(found)


def _verdict(result: MetricReading, metric: LossMetric) -> str:
    name = metric.name.replace("_", " ")
    between = f"between {result.lower:.3g} and {result.upper:.3g}"
    seen = f"{name} is {result.value:.3g} ({between}), and was {result.reference:.3g}"
    labels = "" if result.n_labelled == result.n else f"; {result.coverage:.0%} of the labels have come"
    if result.state == "alert":
        return f"worse: {seen}{labels}"
    return f"ok: {seen}; a drop that matters cannot be told from chance{labels}"
