"""Silences: of which alerts nobody is to be told for a while."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.alerting.model import LABELS
from tidegate.errors import Conflict, InvalidArgument, UnknownSilence
from tidegate.services.alerting.views import silence_view
from tidegate.store import audit
from tidegate.store.alerting import alerts as rows
from tidegate.store.database.engine import Store
from tidegate.store.tables.alerts import SilenceRow
from tidegate.wire.monitoring import alerts as wire

DURATION_S_MAX = 366 * 86_400.0
COMMENT_CHARS_MAX, VALUE_CHARS_MAX = 500, 200
MATCHED = (*LABELS, "severity", "id")


@dataclass(frozen=True)
class Silences:
    """The use cases. `changed` wakes the notify loop."""

    store: Store
    clock: Clock
    changed: Callable[[], None]

    def all(self) -> list[wire.SilenceView]:
        """Every silence that is kept, the last to end first."""
        now = self.clock()
        with self.store.reading() as tx:
            return [silence_view(row, now) for row in rows.silences(tx)]

    def add(self, request: wire.SilenceRequest, who: Principal) -> wire.SilenceView:
        """From now on. Raises `InvalidArgument`, and `Conflict` where there are too many."""
        _check(request)
        now = self.clock()
        with self.store.transaction() as tx:
            if rows.count_silences(tx, now) >= rows.SILENCES_KEPT_MAX:
                raise Conflict(f"there are {rows.SILENCES_KEPT_MAX} silences: end some that are not needed any more")
            row = SilenceRow(
                id=uuid4().hex[:12],
                matchers=dict(request.matchers),
                starts_at=now,
                ends_at=now + request.duration_s,
                comment=request.comment,
                created_by=who.name or who.kind,
                created_at=now,
            )
            tx.add(row)
            values = {"matchers": (None, row.matchers), "ends_at": (None, row.ends_at)}
            audit.record(tx, who, now, audit.AuditedChange("silence", "silence", row.id, values, note=row.comment))
            view = silence_view(row, now)
        self.changed()
        return view

    def end(self, silence_id: str, who: Principal) -> wire.SilenceView:
        """End it now: what still fires is told. Raises `UnknownSilence`."""
        now = self.clock()
        with self.store.transaction() as tx:
            row = rows.get_silence(tx, silence_id)
            if row is None:
                raise UnknownSilence(f"no silence has the id {silence_id!r}", silence=silence_id)
            if row.ends_at > now:
                values = {"ends_at": (row.ends_at, now)}
                audit.record(tx, who, now, audit.AuditedChange("end_silence", "silence", row.id, values))
                row.ends_at = now
            view = silence_view(row, now)
        self.changed()
        return view


def _check(request: wire.SilenceRequest) -> None:
    if not request.matchers:
        raise InvalidArgument(
            "a silence needs a matcher, such as endpoint=churn: without one it would mute everything", field="matchers"
        )
    unknown = [name for name in request.matchers if name not in MATCHED]
    if unknown:
        raise InvalidArgument(f"{unknown[0]!r} is no label of alerts: {', '.join(MATCHED)} are", field="matchers")
    if any(len(value) > VALUE_CHARS_MAX for value in request.matchers.values()):
        raise InvalidArgument(f"a matcher has at most {VALUE_CHARS_MAX} characters", field="matchers")
    if not (math.isfinite(request.duration_s) and 0 < request.duration_s <= DURATION_S_MAX):
        raise InvalidArgument(
            f"duration_s must be more than 0 and at most {DURATION_S_MAX / 86_400:g} days, "
            f"not {request.duration_s / 86_400:g}",
            field="duration_s",
        )
    if len(request.comment) > COMMENT_CHARS_MAX:
        raise InvalidArgument(f"the comment has more than {COMMENT_CHARS_MAX} characters", field="comment")
