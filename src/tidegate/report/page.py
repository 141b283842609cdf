"""The report's page: one HTML text of at most `BYTES_MAX`, whatever the number of columns, results and alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.draw import Plot
from tidegate.draw.markup import element, shortened, text
from tidegate.draw.times import moment
from tidegate.report import parts, reading
from tidegate.report.figures import (
    VERDICT_CHARS_MAX,
    Alarm,
    alarms_over_time,
    course,
    coverage,
    distribution,
)
from tidegate.wire.monitoring.monitoring import MonitorResult

BYTES_MAX = 2_000_000
CARDS_MAX, ROWS_MAX, COURSES_MAX, FIRST_MAX, ALARMS_MAX = 24, 250, 8, 30, 100
"""Columns with a picture, rows of a table, metrics with a picture, lines of what comes first, alerts."""
_TONES = {"alert": "bad", "ok": "ok", "unknown": "idle"}
_SEVERITY_TONES = {"critical": "bad", "high": "bad", "medium": "warn", "low": "warn"}


@dataclass(frozen=True)
class Report:
    """What a report is of: an endpoint's results over some time with the newest of each, and its alerts.

    `made_at` is when (seconds since 1970); `is_cut` says that there are older results than these.
    """

    endpoint: str
    made_at: float
    results: Sequence[MonitorResult]
    alarms: Sequence[Alarm] = ()
    is_cut: bool = False


def render(report: Report) -> str:
    """The whole page; it loads nothing and runs nothing."""
    newest = reading.told(report.results)
    title = f"{report.endpoint}: monitoring report"
    sections = [
        _header(report, newest),
        _first([one for one in newest if one.against == "baseline"]),
        _features(newest),
        _quality(reading.courses(report.results), report.alarms),
        _table("Segments", "segments", reading.segments(newest), "Segment"),
        _alarms(report),
        _table("Other checks", "checks", reading.checks(newest), "Check", _fine(newest)),
    ]
    return parts.page(title, sections, _HOW)


_HOW = (
    "A difference is an alert where it is larger than its margin with its uncertainty taken off. All monitors of an "
    "endpoint share one budget: at most one false page in 30 days, in expectation, at the defaults. Where nothing "
    "can be known, the state is unknown, which neither raises nor ends an alert."
)


def _header(report: Report, newest: Sequence[MonitorResult]) -> str:
    versions = ", ".join(f"v{one}" for one in reading.versions(newest)) or "no version yet"
    lines = [f"made {moment(report.made_at)}", versions]
    if report.results:
        begin, end = min(one.since for one in report.results), max(one.until for one in report.results)
        lines.insert(1, f"rows from {moment(begin)} to {moment(end)}")
    if report.is_cut:
        lines.append("older results are left out")
    return element("h1", f"{text(report.endpoint)} <small>monitoring</small>") + element(
        "p", text(" · ".join(lines)), class_="sub"
    )


def _first(newest: Sequence[MonitorResult]) -> str:
    found = reading.alerting(newest)
    if not newest:
        said = "Nothing is known yet: no monitor has run."
    elif not found:
        unknown = sum(one.state == "unknown" for one in newest)
        said = f"Nothing does. {len(newest) - unknown} checks are fine" + (
            f"; of {unknown} nothing can be known yet." if unknown else "."
        )
    else:
        said = f"{len(found)} of {len(newest)} checks need a look."
    rows = [
        element("li", parts.tag(one.severity or "alert", _SEVERITY_TONES.get(one.severity or "", "bad")) + _line(one))
        for one in found[:FIRST_MAX]
    ]
    more = parts.more(len(found), FIRST_MAX, "further down")
    return parts.section("Needs attention", "first", element("p", text(said)) + parts.bulleted(rows) + more, "first")


def _line(one: MonitorResult) -> str:
    where = f"{reading.MONITORS[one.monitor]}{f', version {one.version}' if one.version else ''}"
    named = f"{reading.about(one)}{f' in {one.segment}' if one.segment else ''}"
    return element(
        "span",
        f"{element('b', parts.name(named))}: {_verdict(one)} {element('span', text(f'({where})'), class_='sub')}",
    )


def _features(newest: Sequence[MonitorResult]) -> str:
    found, since_before = reading.drifts(newest), reading.since_before(newest)
    if not found:
        return parts.section("Features and predictions", "features", parts.aside("No column was compared yet."))
    cards = "".join(_card(one, since_before.get((one.version, one.feature))) for one in found[:CARDS_MAX])
    rest = found[CARDS_MAX:]
    also = (
        element("h3", text(f"The other {len(rest):,} columns")) + _drift_table(rest[:ROWS_MAX]) if rest else ""
    ) + parts.more(len(rest), ROWS_MAX, "left out")
    drifted = sum(one.state == "alert" for one in found)
    said = element("p", text(f"{drifted} of {len(found):,} drifted; those that moved most come first."), class_="sub")
    return parts.section("Features and predictions", "features", said + element("div", cards, class_="cards") + also)


def _card(one: MonitorResult, before: MonitorResult | None = None) -> str:
    plot = distribution(one)
    facts = [
        ("moved", parts.percent(one.effect)),
        ("at least", parts.percent(one.effect_lower)),
        *([("since before", parts.percent(before.effect))] if before is not None else []),
        ("p", parts.small(one.p_value)),
        ("PSI", parts.small(one.psi)),
    ]
    listed = "".join(element("div", element("dt", name) + element("dd", value)) for name, value in facts)
    version = element("span", text(f"v{one.version}"), class_="sub") if one.version else ""
    role = element("span", "prediction", class_="sub") if one.monitor == "prediction_drift" else ""
    head = element("h3", parts.name(reading.about(one))) + parts.tag(_word(one), _TONES[one.state]) + role + version
    body = element("header", head) + element("p", _verdict(one)) + element("dl", listed, class_="facts")
    return element("article", body + (plot.__html__() if plot else ""), class_="card")


def _drift_table(found: Sequence[MonitorResult]) -> str:
    rows = [
        [
            parts.name(reading.about(one)),
            parts.tag(_word(one), _TONES[one.state]),
            parts.percent(one.effect),
            parts.percent(one.effect_lower),
            f"{one.n:,}",
            _verdict(one),
        ]
        for one in found
    ]
    return parts.table(("Column", "State", "Moved", "At least", "Rows", "Verdict"), rows)


def _quality(courses: Sequence[Sequence[MonitorResult]], alarms: Sequence[Alarm]) -> str:
    if not courses:
        text = "No performance is known: send labels with feedback, and it shows here."
        return parts.section("Performance over time", "quality", parts.aside(text))
    drawn = element("div", "".join(_course(run, alarms) for run in courses[:COURSES_MAX]), class_="courses")
    return parts.section("Performance over time", "quality", drawn + parts.more(len(courses), COURSES_MAX, "left out"))


def _course(run: Sequence[MonitorResult], alarms: Sequence[Alarm]) -> str:
    last = run[-1]
    head = element("h3", parts.name(_titled(last))) + parts.tag(_word(last), _TONES[last.state])
    plots: list[Plot] = [course(run, alarms)]
    labels = coverage(run)
    if labels is not None:
        plots.append(labels)
    said = element("p", _verdict(last)) + _assumption(last)
    drawn = element("div", "".join(element("div", plot.__html__()) for plot in plots), class_="pair")
    return element("article", element("header", head) + said + drawn, class_="card wide" if labels else "card")


def _titled(one: MonitorResult) -> str:
    kind = "" if one.monitor == "performance" else f", {reading.MONITORS[one.monitor]}"
    return f"{reading.about(one)}{kind}{f' of version {one.version}' if one.version else ''}"


def _assumption(one: MonitorResult) -> str:
    return element("p", text(f"This estimate {one.assumption}."), class_="sub") if one.assumption else ""


def _fine(newest: Sequence[MonitorResult]) -> str:
    count = reading.fine_columns(newest)
    return parts.aside(f"Data quality of {count:,} more columns is fine.") if count else ""


def _table(title: str, id_: str, found: Sequence[MonitorResult], first: str, more: str = "") -> str:
    if not found and not more:
        return ""
    rows = [
        [
            parts.name(_where(one)),
            parts.tag(_word(one), _TONES[one.state]),
            parts.value(one.value if one.value is not None else one.effect),
            parts.value(one.reference),
            f"{one.n:,}",
            _verdict(one),
        ]
        for one in found[:ROWS_MAX]
    ]
    made = parts.table((first, "State", "Value", "Reference", "Rows", "Verdict"), rows) if rows else ""
    return parts.section(title, id_, made + parts.more(len(found), ROWS_MAX, "left out") + more)


def _where(one: MonitorResult) -> str:
    what = reading.MONITORS[one.monitor]
    of = "" if reading.about(one) == what else f", {reading.about(one)}"
    version = f", v{one.version}" if one.version else ""
    return f"{one.segment}: {what}{of}{version}" if one.segment else f"{what}{of}{version}"


def _alarms(report: Report) -> str:
    if not report.alarms:
        return parts.section("Alerts", "alerts", parts.aside("No alert was raised in this time."))
    begin = min([one.since for one in report.alarms] + [one.since for one in report.results])
    drawn = alarms_over_time(report.alarms[:ALARMS_MAX], (begin, report.made_at))
    lanes = element("div", drawn.__html__(), class_="lanes")
    return parts.section("Alerts", "alerts", lanes + parts.more(len(report.alarms), ALARMS_MAX, "left out"))


def _word(one: MonitorResult) -> str:
    return {"alert": one.severity or "alert", "ok": "ok", "unknown": "unknown"}[one.state]


def _verdict(one: MonitorResult) -> str:
    return text(shortened(one.verdict, VERDICT_CHARS_MAX))
