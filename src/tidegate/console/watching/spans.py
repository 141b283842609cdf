"""Spans of time in forms: `90s`, `30m`, `24h`, `7d`, as the commands take them."""

from __future__ import annotations

import re

from tidegate.errors import InvalidArgument

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def span_s(text: str, field: str) -> float:
    """In seconds; a number alone is of seconds. Raises `InvalidArgument`."""
    given = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*([smhdw]?)", text.strip(), re.ASCII)
    if given is None:
        raise InvalidArgument(f"{field}: {text[:40]!r} is no span of time: give one like 30m, 24h or 7d", field=field)
    return float(given[1]) * _UNITS_S[given[2] or "s"]


def written(seconds: float) -> str:
    """The shortest that says the same."""
    for unit, one_s in (("d", 86_400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds and seconds % one_s == 0:
            return f"{seconds / one_s:.0f}{unit}"
    return f"{seconds:g}s"
