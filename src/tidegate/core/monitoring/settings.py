"""How an endpoint is monitored, as people set it, and what may be set."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any
from zoneinfo import ZoneInfo

from tidegate.errors import InvalidArgument

EVERY_S_MIN, WINDOW_S_MIN = 1.0, 1.0
SPAN_S_MAX = 90 * 86_400.0
BLOCK_S_MAX = 86_400.0
COLUMN_CHARS_MAX = 255


@dataclass(frozen=True)
class MonitorSettings:
    """See `wire.monitoring.monitoring.MonitorRequest`.

    `by`: None for no segments; `block_s`: None for as the baseline says.
    """

    on: bool = True
    every_s: float = 300.0
    window_s: float = 3600.0
    label_delay_s: float = 0.0
    block_s: float | None = None
    by: str | None = None
    timezone: str = "UTC"
    selective_labels: bool = False

    def with_changes(self, **given: Any) -> MonitorSettings:
        """These with what is given (not None) instead; raises `InvalidArgument` for what may not be."""
        changed = replace(self, **{name: value for name, value in given.items() if value is not None})
        changed = replace(changed, by=changed.by or None)
        for name, least in (("every_s", EVERY_S_MIN), ("window_s", WINDOW_S_MIN), ("label_delay_s", 0.0)):
            span = getattr(changed, name)
            if not (math.isfinite(span) and least <= span <= SPAN_S_MAX):
                raise InvalidArgument(
                    f"{name} is {span:g}: give from {least:g} s to {SPAN_S_MAX / 86_400:g} days", field=name
                )
        if changed.by is not None and len(changed.by) > COLUMN_CHARS_MAX:
            raise InvalidArgument(f"by names a column of more than {COLUMN_CHARS_MAX} characters", field="by")
        if changed.block_s is not None and not 0 <= changed.block_s <= BLOCK_S_MAX:
            raise InvalidArgument(f"block_s is {changed.block_s:g}: give from 0 s to a day", field="block_s")
        _check_timezone(changed.timezone)
        return changed

    def as_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> MonitorSettings:
        """What `as_dict` wrote, also of another release: what this one does not know is left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in plain.items() if name in known})


def _check_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        raise InvalidArgument(
            f"there is no time zone {name[:80]!r}: give one like UTC or Europe/Berlin", field="timezone"
        ) from None
