"""What monitors found of an endpoint, as its Monitoring page shows it: the same readings and figures as in a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.console import words
from tidegate.draw import Plot
from tidegate.draw.markup import shortened
from tidegate.draw.scales import written
from tidegate.report import reading
from tidegate.report.figures import NAME_CHARS_MAX, VERDICT_CHARS_MAX, Alarm, alarm, course, coverage, distribution
from tidegate.wire.monitoring.alerts import AlertView
from tidegate.wire.monitoring.monitoring import MonitorResult

CARDS, ROWS_MAX, COURSES_MAX, FIRST_MAX = 12, 200, 6, 12
_TONES = {"critical": "bad", "high": "bad", "medium": "warn", "low": "info"}


@dataclass(frozen=True)
class ShownResult:
    """One result as a card or a row. `word` and `tone` are of its tag."""

    about: str
    what: str
    word: str
    tone: str
    verdict: str
    version: str
    segment: str
    facts: Sequence[tuple[str, str]]
    plot: Plot | None = None


@dataclass(frozen=True)
class Course:
    """A metric over time."""

    title: str
    word: str
    tone: str
    verdict: str
    assumption: str
    plots: Sequence[Plot]


def overview(
    history: Sequence[MonitorResult], alerts: Sequence[AlertView], version: str | None, skip: int
) -> dict[str, Any]:
    """Of one version, or of all; `skip` so many columns before the first card."""
    of = [one for one in history if version is None or one.version in (version, None)]
    newest = reading.told(of)
    columns, before = reading.drifts(newest), reading.since_before(newest)
    alerting, courses = reading.alerting(newest), reading.courses(of)
    segments, checks = reading.segments(newest), reading.checks(newest)
    alarms = [alarm(one) for one in alerts if one.fired_at is not None]
    return {
        "versions": reading.versions(history),
        "alerting": [row(one) for one in alerting[:FIRST_MAX]],
        "alerting_total": len(alerting),
        "total": len(newest) - len(before),
        "unknown_total": sum(one.state == "unknown" for one in newest if one.against == "baseline"),
        "columns": [card(one, before.get((one.version, one.feature))) for one in columns[skip : skip + CARDS]],
        "columns_total": len(columns),
        "drifted_total": sum(one.state == "alert" for one in columns),
        "courses": [_course(run, alarms) for run in courses[:COURSES_MAX]],
        "courses_total": len(courses),
        "segments": [row(one) for one in segments[:ROWS_MAX]],
        "segments_total": len(segments),
        "checks": [row(one) for one in checks[:ROWS_MAX]],
        "checks_total": len(checks),
        "fine_columns": reading.fine_columns(newest),
    }


def card(one: MonitorResult, before: MonitorResult | None = None) -> ShownResult:
    """With its two distributions, and how far it moved since the block of rows before."""
    facts = [("moved", _percent(one.effect)), ("at least", _percent(one.effect_lower)), ("p", _number(one.p_value))]
    if before is not None:
        facts.append(("since before", _percent(before.effect)))
    return _shown(one, facts, distribution(one))


def row(one: MonitorResult) -> ShownResult:
    """With its value, what it is compared with, and of how many rows."""
    value = one.value if one.value is not None else one.effect
    return _shown(one, [("value", _number(value)), ("reference", _number(one.reference)), ("rows", f"{one.n:,}")], None)


def _shown(one: MonitorResult, facts: Sequence[tuple[str, str]], plot: Plot | None) -> ShownResult:
    tone = _TONES.get(one.severity or "", "bad") if one.state == "alert" else {"ok": "ok"}.get(one.state, "idle")
    word = (one.severity or "alert") if one.state == "alert" else one.state
    about, verdict = shortened(reading.about(one), NAME_CHARS_MAX), shortened(one.verdict, VERDICT_CHARS_MAX)
    segment = shortened(one.segment, NAME_CHARS_MAX) if one.segment else ""
    return ShownResult(
        about, reading.MONITORS[one.monitor], word, tone, verdict, one.version or "", segment, facts, plot
    )


def _course(run: Sequence[MonitorResult], alarms: Sequence[Alarm]) -> Course:
    last = _shown(run[-1], [], None)
    title = last.about if run[-1].monitor == "performance" else f"{last.about}, estimated"
    version = f" of version {last.version}" if last.version else ""
    labels = coverage(run)
    plots = [course(run, alarms), *([labels] if labels is not None else [])]
    return Course(f"{title}{version}", last.word, last.tone, last.verdict, run[-1].assumption or "", plots)


def _percent(share: float | None) -> str:
    return words.UNKNOWN if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    if value is None:
        return words.UNKNOWN
    return written(value) if value == 0 or abs(value) >= 1e-4 else f"{value:.0e}"
