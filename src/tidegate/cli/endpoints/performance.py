"""`tidegate status ENDPOINT --since 24h` in words: what Prometheus knows of an endpoint. Called by `show`."""

from __future__ import annotations

import re

from tidegate.cli.output import moment, table
from tidegate.errors import InvalidArgument
from tidegate.wire.monitoring.performance import Performance, PerformanceFigures

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
UNKNOWN = "unknown"
_HEADERS = ("requests", "per s", "rows", "errors", "refused", "p50", "p95", "p99", "waited", "queue", "busy", "quality")


def seconds(text: str, option: str = "--since") -> float:
    """`90s`, `30m`, `24h`, `7d`, `2w`. Raises `InvalidArgument`."""
    given = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])", text.strip())
    if given is None:
        raise InvalidArgument(f"{option} {text!r} is no span of time: give one like 30m, 24h or 7d", field=option[2:])
    return float(given[1]) * UNITS_S[given[2]]


def render(found: Performance) -> str:
    """Each version as a whole, then the endpoint over time."""
    versions = [[part.version or "none chosen", *_cells(part.total)] for part in found.versions]
    rows = [*versions, ["all", *_cells(found.total)[:-2], "-", "-"]]
    over_time = [[moment(slot.since), *_cells(slot.figures)[:-2]] for slot in found.slots]
    return "\n".join(
        [
            f"endpoint {found.endpoint} from {moment(found.since)} to {moment(found.until)}{_missing(found)}",
            "",
            table(("version", *_HEADERS), rows, ""),
            "",
            table(("all versions from", *_HEADERS[:-2]), over_time, ""),
        ]
    )


def _missing(found: Performance) -> str:
    known_s = found.until - found.since
    if known_s > 0.98 * found.asked_s:
        return ""
    return f" (of the {_span(found.asked_s)} asked for, Prometheus knows {_span(known_s)})"


def _span(span_s: float) -> str:
    for unit in ("d", "h", "m"):
        if span_s >= 2 * UNITS_S[unit]:
            return f"{span_s / UNITS_S[unit]:.3g} {unit}"
    return f"{span_s:.0f} s"


def _cells(figures: PerformanceFigures) -> list[str]:
    f = figures
    errors = UNKNOWN if f.errors is None else str(f.errors)
    if f.error_ratio:
        errors += f" ({f.error_ratio:.2%})"
    queue = _whole(f.queue_rows_max) + (f"/{f.queue_rows_limit}" if f.queue_rows_limit else "")
    busy = UNKNOWN if f.busy is None else f"{f.busy:.0%}"
    quality = ", ".join(f"{name} {value:.4g}" for name, value in (f.quality or {}).items()) or UNKNOWN
    rate = UNKNOWN if f.rate_per_s is None else f"{f.rate_per_s:.3g}"
    durations = [_duration(value) for value in (f.p50_s, f.p95_s, f.p99_s, f.queue_s_mean)]
    return [_whole(f.requests), rate, _whole(f.rows), errors, _whole(f.refused), *durations, queue, busy, quality]


def _whole(count: int | None) -> str:
    return UNKNOWN if count is None else str(count)


def _duration(duration_s: float | None) -> str:
    if duration_s is None:
        return UNKNOWN
    return f"{duration_s * 1000:.3g} ms" if duration_s < 1 else f"{duration_s:.3g} s"
