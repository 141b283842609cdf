"""Pictures of results: a column's two distributions, performance with its interval, labels that came, alerts.

Used by the report's page and by the console's, so that both show the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.draw import (
    Axis,
    Band,
    Bins,
    Line,
    Plot,
    PlotSize,
    TimelineSpan,
    histogram_pair,
    interval_series,
    series,
    timeline,
)
from tidegate.draw.markup import shortened
from tidegate.draw.scales import written
from tidegate.report.reading import about, filled
from tidegate.wire.monitoring.alerts import AlertView
from tidegate.wire.monitoring.monitoring import MonitorResult, Severity

PAIR = PlotSize(340.0, 150.0)
COURSE = PlotSize(560.0, 190.0)
COVERAGE = PlotSize(560.0, 120.0)
DAY_S = 86_400.0
NAME_CHARS_MAX, BIN_CHARS_MAX, VERDICT_CHARS_MAX = 80, 40, 250
"""What is shown of names and verdicts: some are written by whoever sends rows."""
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?"


@dataclass(frozen=True)
class Alarm:
    """An alert as pages show it; `until` is None while it goes on. Times are seconds since 1970."""

    about: str
    severity: Severity
    message: str
    since: float
    until: float | None = None


def alarm(one: AlertView) -> Alarm:
    """An alert, from when it fired on."""
    return Alarm(alert_about(one), one.severity, one.message, one.fired_at or one.since, one.ended_at)


def alert_about(one: AlertView) -> str:
    """What an alert is of, in words."""
    of = one.feature or (one.metric or "").replace("_", " ")
    if one.type == "errors":  # of which there is one share
        return "errors"
    return f"{one.type.replace('_', ' ')}{f' of {shortened(of)}' if of else ''}"


def distribution(one: MonitorResult, size: PlotSize = PAIR) -> Plot | None:
    """Reference and current rows over the bins that either has; None where no histograms were kept."""
    if one.histograms is None:
        return None
    pair = filled(one.histograms)
    return histogram_pair(
        f"{_name(one)}: reference and now",
        [_bin(name) for name in pair.names],
        Bins(f"reference, {sum(pair.reference):,} rows", pair.reference),
        Bins(f"now, {sum(pair.current):,} rows", pair.current),
        size,
        shortened(one.verdict, VERDICT_CHARS_MAX),
    )


def course(run: Sequence[MonitorResult], alarms: Sequence[Alarm] = (), size: PlotSize = COURSE) -> Plot:
    """One metric over time: its value, the interval that it lies in, the reference, and when alerts began."""
    last = run[-1]
    level = None if last.reference is None else ("reference", last.reference)
    axis = Axis(from_zero=False, level=level, events=[(one.about, one.since) for one in alarms])
    name = f"{_name(last)} of version {shortened(last.version)}" if last.version else _name(last)
    band = Band(name, [one.value for one in run], [one.lower for one in run], [one.upper for one in run])
    said = shortened(last.verdict, VERDICT_CHARS_MAX)
    return interval_series(f"{name} over time", [one.until for one in run], [band], axis, size, said)


def coverage(run: Sequence[MonitorResult], size: PlotSize = COVERAGE) -> Plot | None:
    """The share of predictions, old enough to have a label, that have one; None where it is not known of any."""
    shares = [None if one.coverage is None else 100 * one.coverage for one in run]
    if all(share is None for share in shares):
        return None
    line = Line("labels that came", shares)
    return series("Label coverage over time", [one.until for one in run], [line], Axis("%"), size)


def alarms_over_time(alarms: Sequence[Alarm], window: tuple[float, float]) -> Plot:
    """When each alert began and ended, the newest first."""
    begin, end = window
    if not begin < end:
        begin = end - DAY_S
    ordered = sorted(alarms, key=lambda one: -one.since)
    spans = [TimelineSpan(one.about, one.since, one.until, one.severity, one.message) for one in ordered]
    return timeline("Alerts over time", spans, (begin, end))


def _name(one: MonitorResult) -> str:
    return shortened(about(one), NAME_CHARS_MAX)


def _bin(name: str) -> str:
    """A bin of numbers with as many digits as people read; others as they are."""
    edges = re.fullmatch(rf"\(({_NUMBER}), ({_NUMBER})\]", name)
    if not edges:
        return shortened(name, BIN_CHARS_MAX)
    low, high = (written(_or_zero(float(edge))) for edge in edges.groups())
    if low == high == "0":
        return "0"
    return f"{low} to {high}" if low != high else shortened(name, BIN_CHARS_MAX)


def _or_zero(edge: float) -> float:
    """0 for the number just below 0, which is the open edge of a bin that has 0 in it."""
    return 0.0 if abs(edge) < sys.float_info.min else edge
