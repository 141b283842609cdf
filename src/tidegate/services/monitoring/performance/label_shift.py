"""The monitor of what labels say: whether classes, or the numbers that came true, are as frequent as they were.

Labels are counted when their block of performance ends, and judged over whole days, as drift is. Rows without a label
may all be of one class: as large a share as has none is added to what does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.services.monitoring.baselines import KnownBaseline
from tidegate.services.monitoring.data import pair
from tidegate.services.monitoring.performance.labels import Labelled
from tidegate.services.monitoring.place import Place
from tidegate.watch.baseline.rhythm import rows_by_hour
from tidegate.watch.drift.drift import DriftContext, DriftRule, evaluate
from tidegate.watch.histograms.histogram import Histogram
from tidegate.wire.monitoring.monitoring import MonitorResult

LABEL = "label"
RULE = DriftRule()
NEVER = 2.0
"""No rate changes by so much."""


@dataclass(frozen=True)
class LabelCounts:
    """Labels of a block so far: by bin of the baseline's labels, by hour since 1970 (UTC), and of how many rows."""

    baseline: float
    counts: tuple[int, ...] = ()
    hours: Mapping[int, int] = field(default_factory=dict)
    rows: int = 0

    @property
    def labelled(self) -> int:
        return sum(self.counts)

    def with_more(self, before: Histogram, rows: Labelled, at: float) -> LabelCounts:
        """With the rows of one block that are old enough, `at` being when its rows' ages were taken."""
        there = rows.matured & np.array([label is not None for label in rows.labels.tolist()], dtype=bool)
        more = Histogram.of(rows.labels[there], before.layout, LABEL).counts
        counts = tuple(sum(both) for both in zip(self.counts or (0,) * len(more), more, strict=True))
        hours = Counter(self.hours) + Counter(rows_by_hour(at - rows.ages_s[there]))
        return LabelCounts(self.baseline, counts, dict(hours), self.rows + int(rows.matured.sum()))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        hours = {str(hour): rows for hour, rows in self.hours.items()}
        return {"baseline": self.baseline, "counts": list(self.counts), "hours": hours, "rows": self.rows}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None, known: KnownBaseline) -> LabelCounts:
        """What `as_dict` wrote; nothing where it was counted in the bins of another baseline."""
        made_at = known.view.made_at
        if not plain or plain.get("baseline") != made_at:
            return cls(made_at)
        hours = {int(hour): int(rows) for hour, rows in plain["hours"].items()}
        return cls(made_at, tuple(plain["counts"]), hours, int(plain["rows"]))


def label_shift_result(
    known: KnownBaseline, before: Histogram, found: LabelCounts, place: Place, page_alpha: float
) -> MonitorResult:
    """Of a block that is full. `before`: the baseline's labels."""
    now = Histogram(before.layout, found.counts)
    missing = 1.0 - found.labelled / found.rows
    rates = RULE.rate_difference if missing <= RULE.rate_difference else NEVER  # a rare class may be what is missing
    clustering = known.baseline.expected(found.hours).losses
    drift = evaluate(
        {LABEL: before},
        {LABEL: now},
        DriftRule(margin=RULE.margin + missing, rate_difference=rates),
        DriftContext(page_alpha=page_alpha, clustering={LABEL: clustering}),
    )[LABEL]
    plain = drift.as_dict()
    for name in ("feature", "monitor", "state", "verdict"):
        plain.pop(name)
    shown = {"histograms": pair(before, now), "coverage": 1.0 - missing, "n_labelled": found.labelled}
    return place.result("label_shift", drift.state, drift.verdict, "medium", **shown, **plain)
