"""The monitor of performance over weeks: days are added up as their labels are judged, and looked at after two weeks
and after four. A drop that no single day can tell from chance is told then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tidegate.core.monitoring.columns import Array
from tidegate.services.monitoring.baselines import KnownBaseline
from tidegate.services.monitoring.performance.labels import CRITICAL_DROP, Labelled
from tidegate.services.monitoring.place import Place
from tidegate.store.monitoring import Block
from tidegate.watch.budget import DAY_S
from tidegate.watch.performance.long_run import DailyReference, DayLosses, evaluate_days
from tidegate.watch.performance.performance import MetricReading
from tidegate.wire.monitoring.monitoring import MonitorResult, Severity

HALF_DAYS, WHOLE_DAYS = 14, 28
GAP_DAYS_MAX = 2 * WHOLE_DAYS
"""After so long without a look another span begins."""


@dataclass(frozen=True)
class LongRun:
    """Days so far, by their number since the span began; of the baseline that was made at `baseline`."""

    baseline: float
    days: Mapping[int, DayLosses] = field(default_factory=dict)
    looked: int = 0

    def with_rows(self, losses: Array, ages_s: Array, span_s: float) -> LongRun:
        """With rows of one block, so long after the span began; NaN where a label has not come."""
        numbers = np.floor((span_s - ages_s) / DAY_S).astype(np.int64)
        made = dict(self.days)
        for number in np.unique(numbers[numbers >= 0]).tolist():
            its = losses[numbers == number]
            known = its[~np.isnan(its)]
            before = made.get(number, DayLosses(0, 0, 0.0))
            made[number] = DayLosses(
                before.rows + int(its.size), before.labelled + int(known.size), before.total + float(known.sum())
            )
        return replace(self, days=made)

    def after(self, days: int) -> LongRun:
        """What is left of it when its first days are over."""
        return LongRun(self.baseline, {number - days: one for number, one in self.days.items() if number >= days})

    def between(self, begin: int, end: int) -> list[DayLosses]:
        """Days of these numbers that have labels, in order."""
        return [
            self.days[number] for number in sorted(self.days) if begin <= number < end and self.days[number].labelled
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        days = {str(number): [day.rows, day.labelled, day.total] for number, day in self.days.items()}
        return {"baseline": self.baseline, "days": days, "looked": self.looked}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None, made_at: float) -> LongRun:
        """What `as_dict` wrote; nothing where it was of another baseline."""
        if not plain or plain.get("baseline") != made_at:
            return cls(made_at)
        days = {
            int(number): DayLosses(int(one[0]), int(one[1]), float(one[2])) for number, one in plain["days"].items()
        }
        return cls(made_at, days, int(plain["looked"]))


def add_up(
    known: KnownBaseline, rows: Labelled, block: Block, place: Place, alpha_a_day: float
) -> tuple[Block, list[MonitorResult]]:
    """The block with the rows of one that ended, and what its days say where two or four weeks are over.

    `alpha_a_day`: what a day is worth of the probability of a false page, of each of the two looks. A span is looked at
    once, so that all looks together spend the monitor's share of the budget.
    """
    truth, risk = known.truth, known.baseline.whole.risk
    if truth is None or risk is None or rows.selective or not rows.matured.any():
        return block, []
    ages_s = rows.ages_s[rows.matured]
    so_far, since = LongRun.from_dict(block.gathered, known.view.made_at), block.since
    if not so_far.days or place.until - since >= GAP_DAYS_MAX * DAY_S:
        so_far, since = LongRun(known.view.made_at), place.until - float(ages_s.max())
    so_far = so_far.with_rows(truth.losses(rows.columns, rows.labels)[rows.matured], ages_s, place.until - since)
    passed = int((place.until - since - float(ages_s.min())) // DAY_S)
    spans: list[tuple[int, int]] = []
    if so_far.looked < HALF_DAYS <= passed:
        spans.append((0, HALF_DAYS))
    if passed >= WHOLE_DAYS:
        spans += [(HALF_DAYS, WHOLE_DAYS), (0, WHOLE_DAYS)]
    reference = DailyReference(risk, known.baseline.rhythm.days)
    results = [
        _result(
            evaluate_days(so_far.between(*span), length, reference, truth.metric, alpha_a_day * length), length, place
        )
        for span in spans
        for length in (span[1] - span[0],)
    ]
    if passed >= WHOLE_DAYS:
        so_far, since = so_far.after(WHOLE_DAYS), since + WHOLE_DAYS * DAY_S
    elif spans:
        so_far = replace(so_far, looked=HALF_DAYS)
    return Block(since, max(place.until, block.judged_at), None, so_far.as_dict()), results


def _result(found: MetricReading, length: int, place: Place) -> MonitorResult:
    plain = found.as_dict()
    for name in ("metric", "state", "verdict", "current_accuracy", "baseline_accuracy"):
        plain.pop(name, None)
    drop = found.performance_drop
    severity: Severity = "critical" if drop is not None and drop >= CRITICAL_DROP else "high"
    return place.result(
        "performance", found.state, found.verdict, severity, metric=f"{found.metric}_{length}d", **plain
    )
