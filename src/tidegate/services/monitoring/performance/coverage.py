"""The monitor of labels themselves: how many predictions have got theirs, and whether fewer do than was usual.

What is usual is remembered with the block of labels: of each day the block of the lowest coverage. A block that alarms
is not remembered, so that labels that stay away never become the usual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.services.monitoring.performance.labels import Labelled
from tidegate.services.monitoring.place import Place
from tidegate.watch.budget import DAY_S
from tidegate.watch.histograms.bounds import rate_change_p
from tidegate.wire.monitoring.monitoring import MonitorResult

RATIO = 2.0
"""Coverage that is higher than the lowest that was usual by this ratio, the other way round, does not matter."""
DAYS_MIN, DAYS_KEPT = 7, 28
"""Before each day of the week was seen, nothing is usual."""
ROWS_MIN = 100
"""A block of fewer rows says too little to be remembered."""


@dataclass(frozen=True)
class Day:
    """Of one day (since 1970, UTC) the block that had the fewest labels: its rows, and how many of them had one."""

    day: int
    rows: int
    labelled: int

    @property
    def coverage(self) -> float:
        return self.labelled / self.rows


def days_of(gathered: Mapping[str, Any] | None) -> list[Day]:
    """What `remembered` wrote."""
    return [Day(*each) for each in (gathered or {}).get("coverage", [])]


def remembered(days: Sequence[Day], result: MonitorResult) -> dict[str, Any]:
    """The days with a closed block more; the same where it alarms, or is of few rows."""
    rows, labelled = result.n, result.n_labelled or 0
    by_day = {one.day: one for one in days}
    if result.state != "alert" and rows >= ROWS_MIN:
        new = Day(int(result.until // DAY_S), rows, labelled)
        by_day[new.day] = min((new, by_day.get(new.day, new)), key=lambda one: one.coverage)
    kept = sorted(by_day.values(), key=lambda one: one.day)[-DAYS_KEPT:]
    return {"coverage": [[one.day, one.rows, one.labelled] for one in kept]}


def coverage_result(rows: Labelled, place: Place, days: Sequence[Day] = (), alpha: float = 0.0) -> MonitorResult:
    """How many of the predictions that are old enough have labels; `alpha` 0: of a block that is not closed yet.

    An alert where that is less than half of the lowest coverage of the days before. While it is at least half, and
    labels come or stay away one by one, it is wrong with at most this probability (an exact test of two rates).
    """
    matured, labelled = int(rows.matured.sum()), rows.n_labelled
    if not matured:
        return place.unknown("label_coverage", "no prediction is old enough yet")
    share = labelled / matured
    fields: dict[str, Any] = {"n": matured, "n_labelled": labelled, "coverage": share}
    usual = _lowest(days, place)
    if usual is not None and alpha > 0:
        fields |= {"reference": usual.coverage, "n_reference": usual.rows}
        if share < usual.coverage / RATIO and _p_value(matured, labelled, usual) <= alpha:
            text = (
                f"labels stay away: {labelled} of {matured} predictions have one ({share:.0%}), and on no day of the "
                f"last {len(days)} were they fewer than {usual.coverage:.0%}"
            )
            return place.result("label_coverage", "alert", text, "medium", **fields, value=share)
    if not labelled:
        return place.unknown("label_coverage", f"none of {matured} predictions has a label yet", **fields)
    verdict = f"ok: {labelled} of {matured} predictions have labels ({share:.0%})"
    return place.result("label_coverage", "ok", verdict, **fields, value=share)


def _lowest(days: Sequence[Day], place: Place) -> Day | None:
    """Of the days before; None while they are too few."""
    before = [one for one in days if one.day < int(place.until // DAY_S)]
    return min(before, key=lambda one: one.coverage) if len(before) >= DAYS_MIN else None


def _p_value(rows: int, labelled: int, usual: Day) -> float:
    now, before = np.array([float(labelled)]), np.array([float(usual.labelled)])
    return float(rate_change_p(now, np.array([float(rows)]), before, np.array([float(usual.rows)]), RATIO)[0])
