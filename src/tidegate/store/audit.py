"""The audit: who changed what. A row is added in the transaction of its change and never altered; the oldest go.

Services write it. It refers to nothing, so it outlives what it is about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tidegate.core.access import Principal
from tidegate.core.texts import made_storable
from tidegate.store.tables import AuditRow
from tidegate.wire.audit import Outcome, SubjectKind

NAME_CHARS_MAX = 255
TEXT_CHARS_MAX = 1000
"""Of a text among the values; what is longer is cut, and says how long it was."""
JSON_CHARS_MAX = 10_000
"""Of a whole value, as JSON; of a larger one the beginning is kept, as a text."""
Values = Mapping[str, Any]


@dataclass(frozen=True)
class AuditedChange:
    """What was done to which subject. `changes` has the values before and after of what became another."""

    action: str
    kind: SubjectKind
    subject: str
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    note: str = ""
    outcome: Outcome = "done"


def record(tx: Session, who: Principal, at: float, change: AuditedChange) -> None:
    """Add the row of a change that this transaction makes."""
    tx.add(
        AuditRow(
            at=at,
            who_kind=who.kind,
            who=made_storable(who.name)[:NAME_CHARS_MAX],
            request_id=who.request_id,
            action=change.action,
            subject_kind=change.kind,
            subject=made_storable(change.subject)[:NAME_CHARS_MAX],
            changes={_text(name): [_value(one) for one in values] for name, values in change.changes.items()},
            note=_text(change.note),
            outcome=change.outcome,
        )
    )


def _value(value: Any) -> Any:
    """A value as it is kept: whatever it is, of a bounded size, and of characters that can be stored."""
    kept = _storable(value)
    if isinstance(kept, str):
        return kept
    whole = json.dumps(kept, ensure_ascii=False)
    return kept if len(whole) <= JSON_CHARS_MAX else _text(whole)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(name): _storable(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(one) for one in value]
    return value


def _text(text: str) -> str:
    kept = made_storable(text[:TEXT_CHARS_MAX])
    return kept if len(text) <= TEXT_CHARS_MAX else f"{kept}… ({len(text)} characters)"


def differing(before: Values, after: Values) -> dict[str, tuple[Any, Any]]:
    """The values that are not the same before and after; one that is not there is None."""
    names = [*after, *(name for name in before if name not in after)]
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class AuditFilter:
    """Which rows to read: below an id, since a moment, of one endpoint, where given."""

    rows_max: int
    before: int | None = None
    since: float | None = None
    endpoint: str | None = None


def entries(tx: Session, wanted: AuditFilter) -> list[AuditRow]:
    """Rows, newest first."""
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(wanted.rows_max)
    if wanted.before is not None:
        query = query.where(AuditRow.id < wanted.before)
    if wanted.since is not None:
        query = query.where(AuditRow.at >= wanted.since)
    if wanted.endpoint is not None:
        query = query.where(AuditRow.subject_kind == "endpoint", AuditRow.subject == wanted.endpoint)
    return list(tx.scalars(query))


def prune(tx: Session, rows_max: int) -> None:
    """Forget all but the newest rows: by their numbers, which only a change that was rolled back leaves a gap in."""
    newest = tx.scalar(select(func.max(AuditRow.id)))
    if newest is not None and newest > rows_max:
        tx.execute(delete(AuditRow).where(AuditRow.id <= newest - rows_max))
