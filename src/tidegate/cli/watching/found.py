"""What monitors found, in a terminal: what needs attention, then a table with small pictures, 80 columns wide.

Pure: results come in, text goes out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from tidegate.cli.output import WIDTH
from tidegate.draw import blocks
from tidegate.draw.markup import shortened
from tidegate.draw.scales import written
from tidegate.report import reading
from tidegate.wire.monitoring.monitoring import MonitorResult

COLUMNS_MAX, FIRST_MAX, OTHERS_MAX = 40, 20, 40
"""Columns, lines of what needs attention and rows of other checks; --json has all."""
_NAME, _PICTURE, _COURSE = 24, 11, 15
_ROOM_SHARE = 0.1
"""Of its highest value, the least that a course's picture spans: chance alone shall not look like a fall."""
_ASCII = str.maketrans({"…": "~", "−": "-", "–": "-"})  # noqa: RUF001
_GAP = "  "


def summary(found: Sequence[MonitorResult], history: Sequence[MonitorResult] = (), *, is_ascii: bool = False) -> str:
    """The newest results; `history` (theirs included) draws how performance went."""
    newest = reading.told(found)
    if not newest:
        return "nothing is known yet: no monitor has run"
    courses = reading.courses(history or found)
    parts = [
        _first([one for one in newest if one.against == "baseline"]),
        _performance(courses, is_ascii),
        _columns(reading.drifts(newest), is_ascii),
        _since_before(newest),
        _others([*reading.checks(newest), *reading.segments(newest)], reading.fine_columns(newest)),
    ]
    text = "\n\n".join(part for part in parts if part)
    return text.translate(_ASCII) if is_ascii else text


def takes_blocks(encoding: str | None) -> bool:
    """Whether an output of this encoding has characters for small pictures."""
    try:
        "▁█".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _first(newest: Sequence[MonitorResult]) -> str:
    found = reading.alerting(newest)
    unknown = sum(one.state == "unknown" for one in newest)
    if not found:
        also = f"; of {unknown} nothing can be known yet" if unknown else ""
        fine = len(newest) - unknown
        return f"no check needs attention: {fine} {'is' if fine == 1 else 'are'} fine{also}"
    lines = [f"{len(found)} of {len(newest)} checks need a look"]
    for one in found[:FIRST_MAX]:
        line = f"{one.severity or 'alert'}: {_about(one)}{_version(one)}: {shortened(one.verdict, 300)}"
        lines += textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join([*lines, *_left_out(len(found), FIRST_MAX)])


def _performance(courses: Sequence[Sequence[MonitorResult]], is_ascii: bool) -> str:
    rows = []
    for run in courses[:OTHERS_MAX]:
        last = run[-1]
        kind = "" if last.monitor == "performance" else " (estimated)"
        name = f"{reading.about(last)}{kind}{_version(last)}"
        between = "-" if last.lower is None or last.upper is None else f"{_number(last.lower)}..{_number(last.upper)}"
        rows.append([name, _state(last), _number(last.value), between, _share(last.coverage), _course(run, is_ascii)])
    widths = (_NAME - 3, 8, 6, 13, 6, _COURSE)
    return _table(("performance", "state", "value", "interval", "labels", "over time"), rows, widths)


def _course(run: Sequence[MonitorResult], is_ascii: bool) -> str:
    values = [one.value for one in run]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low = min(*known, max(known) - _ROOM_SHARE * abs(max(known)))
    return blocks(values, _COURSE, low=low, is_ascii=is_ascii)


def _columns(found: Sequence[MonitorResult], is_ascii: bool) -> str:
    rows = []
    for one in found[:COLUMNS_MAX]:
        pictures = ["", ""]
        if one.histograms is not None:
            pair = reading.filled(one.histograms)
            pictures = _pair(pair.reference, pair.current, is_ascii)
        rows.append(
            [
                f"{reading.about(one)}{_version(one)}",
                _state(one),
                _share(one.effect),
                _share(one.effect_lower),
                *pictures,
            ]
        )
    headers = ("column", "state", "moved", "at least", "reference", "now")
    table = _table(headers, rows, (_NAME, 8, 6, 8, _PICTURE, _PICTURE))
    return "\n".join([table, *_left_out(len(found), COLUMNS_MAX)]) if table else ""


def _since_before(newest: Sequence[MonitorResult]) -> str:
    """What moved since the block of rows before: shown, and no alarm."""
    found = reading.moved_since_before(newest)
    if not found:
        return ""
    lines = [f"{len(found)} moved since the block before (shown, alerts nobody)"]
    for one in found[:FIRST_MAX]:
        line = f"{reading.about(one)}{_version(one)}: {shortened(one.verdict, 300)}"
        lines += textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join([*lines, *_left_out(len(found), FIRST_MAX)])


def _pair(reference: Sequence[int], current: Sequence[int], is_ascii: bool) -> list[str]:
    """Both to one scale, as shares of their own rows."""
    shares = [[count / (sum(counts) or 1) for count in counts] for counts in (reference, current)]
    grouped = [[sum(every[at:to]) for at, to in _cuts(len(every))] for every in shares]
    high = max((share for every in grouped for share in every), default=0.0)
    return [blocks(every, _PICTURE, high=high, is_ascii=is_ascii) for every in grouped]


def _cuts(count: int) -> list[tuple[int, int]]:
    groups = min(count, _PICTURE)
    return [(index * count // groups, (index + 1) * count // groups) for index in range(groups)]


def _others(found: Sequence[MonitorResult], fine: int) -> str:
    rows = [
        [_about(one) + _version(one), _state(one), _number(_value(one)), _number(one.reference), f"{one.n:,}"]
        for one in found[:OTHERS_MAX]
    ]
    table = _table(("check", "state", "value", "reference", "rows"), rows, (38, 8, 8, 9, 9))
    lines = [f"data quality: {fine} more columns are fine"] if fine else []
    return "\n".join([*([table] if table else []), *_left_out(len(found), OTHERS_MAX), *lines])


def _about(one: MonitorResult) -> str:
    monitor = reading.MONITORS[one.monitor]
    about = reading.about(one)
    segment = f"{one.segment}: " if one.segment else ""
    return f"{segment}{about}" if about == monitor else f"{segment}{about} ({monitor})"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    """Columns of these widths at most; nothing where there are no rows."""
    if not rows:
        return ""
    lines = [[header.upper() for header in headers], *rows]
    cut = [[shortened(cell, width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    room = [max(len(line[at]) for line in cut) for at in range(len(widths))]
    return "\n".join(
        _GAP.join(cell.ljust(width) for cell, width in zip(line, room, strict=True)).rstrip() for line in cut
    )


def _left_out(count: int, shown: int) -> Iterable[str]:
    return [f"{count - shown} more are left out here: --json has them"] if count > shown else []


def _version(one: MonitorResult) -> str:
    return f" v{one.version}" if one.version else ""


def _state(one: MonitorResult) -> str:
    return one.severity or "alert" if one.state == "alert" else one.state


def _value(one: MonitorResult) -> float | None:
    return one.value if one.value is not None else one.effect


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _number(value: float | None) -> str:
    return "-" if value is None else written(value)
