"""The history of endpoints: what people and automations changed. It outlives its endpoint, and is bounded.

Written with each change (`store.endpoints.endpoints`, `store.endpoints.automation`), read by services.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tidegate.store.tables import EndpointRow, HistoryRow

ACTOR_CHARS_MAX = 64
KEPT_OF_PEOPLE, KEPT_OF_AUTOMATIONS = 500, 500
"""Entries of an endpoint: however much an autoscaler does, it does not push out what a rollback goes back to."""
ENDPOINTS_GONE_MAX = 200
"""Endpoints that were deleted and whose history is still kept; the one that was deleted first is forgotten first."""


@dataclass(frozen=True)
class Entry:
    """How history calls a change, and the versions that it asks to start anew where they are quarantined."""

    action: str
    at: float
    actor: str = ""
    restores: int | None = None
    note: str = ""
    retries: Collection[str] = ()


def add(
    tx: Session, row: EndpointRow, entry: Entry, *, automated: bool, traffic: dict[str, float] | None = None
) -> None:
    """Write an entry at the endpoint's present revision and generation; `traffic` is the spec's where none is given."""
    tx.add(
        HistoryRow(
            endpoint=row.name,
            endpoint_uid=row.uid,
            revision=row.revision,
            generation=row.generation,
            automated=automated,
            at=entry.at,
            action=entry.action,
            actor=entry.actor[:ACTOR_CHARS_MAX],
            traffic=row.traffic if traffic is None else traffic,
            replicas=row.replicas,
            restores=entry.restores,
            note=entry.note,
        )
    )
    tx.flush()
    _forget_oldest(tx, row.uid, automated)


def _forget_oldest(tx: Session, uid: str, automated: bool) -> None:
    mine = (HistoryRow.endpoint_uid == uid) & (HistoryRow.automated == automated)
    kept = KEPT_OF_AUTOMATIONS if automated else KEPT_OF_PEOPLE
    newest_to_go = select(HistoryRow.id).where(mine).order_by(HistoryRow.id.desc()).offset(kept).limit(1)
    if (last := tx.scalar(newest_to_go)) is not None:
        tx.execute(delete(HistoryRow).where(mine, HistoryRow.id <= last))


def forget_gone(tx: Session) -> None:
    """Forget the history of endpoints that were deleted long ago, past `ENDPOINTS_GONE_MAX` of them."""
    gone = HistoryRow.endpoint_uid.not_in(select(EndpointRow.uid))
    by_age = select(HistoryRow.endpoint_uid).where(gone).group_by(HistoryRow.endpoint_uid)
    oldest = tx.scalars(by_age.order_by(func.max(HistoryRow.id).desc()).offset(ENDPOINTS_GONE_MAX)).all()
    if oldest:
        tx.execute(delete(HistoryRow).where(HistoryRow.endpoint_uid.in_(oldest)))


def page(tx: Session, name: str, uid: str | None, limit: int, before: int | None = None) -> list[HistoryRow]:
    """Up to `limit` entries, newest first, older than entry `before`; of this endpoint, or of all that had the name."""
    query = select(HistoryRow).where(HistoryRow.endpoint == name)
    if uid is not None:
        query = query.where(HistoryRow.endpoint_uid == uid)
    if before is not None:
        query = query.where(HistoryRow.id < before)
    return list(tx.scalars(query.order_by(HistoryRow.id.desc()).limit(limit)))


def newest_of(tx: Session, name: str) -> str | None:
    """The endpoint of this name that changed last, also if it is gone; None where no history speaks of one."""
    query = select(HistoryRow.endpoint_uid).where(HistoryRow.endpoint == name)
    return tx.scalar(query.order_by(HistoryRow.id.desc()).limit(1))


def intended(tx: Session, row: EndpointRow) -> list[HistoryRow]:
    """What people (or a promotion) made of this endpoint, newest first: what a rollback may go back to."""
    query = select(HistoryRow).where(HistoryRow.endpoint_uid == row.uid, HistoryRow.automated.is_(False))
    return list(tx.scalars(query.order_by(HistoryRow.id.desc())))
