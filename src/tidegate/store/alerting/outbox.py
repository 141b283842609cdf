"""The outbox: what is to be sent or done because of alerts, written in the transaction that decides so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from tidegate.store.tables.alerts import OutboxRow

PENDING_MAX = 1_000
"""Messages of one notifier that wait; past them the oldest are dead."""
DONE_KEPT_MAX = 2_000
ACTIONS = ("rollback", "hold", "webhook")


@dataclass(frozen=True)
class NewDelivery:
    """What is to be sent or done."""

    kind: str
    target: str
    endpoint: str
    payload: Mapping[str, Any]
    alerts: Sequence[str] = ()


@dataclass(frozen=True)
class DeliveryFilter:
    """Which rows to read, newest first: in a state, for a target, older than `before`, if given."""

    rows_max: int
    state: str | None = None
    target: str | None = None
    before: int | None = None


def add(tx: Session, new: NewDelivery, now: float) -> OutboxRow:
    """Queue it."""
    row = OutboxRow(
        kind=new.kind,
        target=new.target,
        endpoint=new.endpoint,
        payload=dict(new.payload),
        alerts=list(new.alerts),
        state="pending",
        attempts=0,
        created_at=now,
        next_at=now,
        done_at=None,
        outcome="",
    )
    tx.add(row)
    tx.flush()
    return row


def heads(tx: Session, now: float, busy: Collection[str]) -> list[OutboxRow]:
    """Of each target that is not busy the message that waits longest, where it is due: messages keep their order."""
    query = select(OutboxRow).where(OutboxRow.id.in_(_firsts()), OutboxRow.next_at <= now)
    return [row for row in tx.scalars(query.order_by(OutboxRow.id)) if row.target not in busy]


def get(tx: Session, delivery_id: int) -> OutboxRow | None:
    """One of them."""
    return tx.get(OutboxRow, delivery_id)


def next_at(tx: Session) -> float | None:
    """When the first of some target's messages is due, before which no other of it is; None where nothing waits."""
    return tx.scalar(select(func.min(OutboxRow.next_at)).where(OutboxRow.id.in_(_firsts())))


def _firsts() -> Select[int]:
    """Of each target the message that waits longest."""
    return select(func.min(OutboxRow.id)).where(OutboxRow.state == "pending").group_by(OutboxRow.target)


def page(tx: Session, wanted: DeliveryFilter) -> list[OutboxRow]:
    """Rows, newest first."""
    query = select(OutboxRow).order_by(OutboxRow.id.desc()).limit(wanted.rows_max)
    if wanted.state is not None:
        query = query.where(OutboxRow.state == wanted.state)
    if wanted.target is not None:
        query = query.where(OutboxRow.target == wanted.target)
    if wanted.before is not None:
        query = query.where(OutboxRow.id < wanted.before)
    return list(tx.scalars(query))


def last_actions(tx: Session, endpoint: str) -> dict[str, float]:
    """When each action of an endpoint was last asked for, whatever came of it but a refusal."""
    query = (
        select(OutboxRow.target, func.max(OutboxRow.created_at))
        .where(OutboxRow.endpoint == endpoint, OutboxRow.kind.in_(ACTIONS), OutboxRow.state != "refused")
        .group_by(OutboxRow.target)
    )
    return {row[0]: row[1] for row in tx.execute(query)}


def actions_of(tx: Session, endpoint: str, rows_max: int = 100) -> list[OutboxRow]:
    """What was done because of an endpoint's alerts, newest first."""
    query = select(OutboxRow).where(OutboxRow.endpoint == endpoint, OutboxRow.kind.in_(ACTIONS))
    return list(tx.scalars(query.order_by(OutboxRow.id.desc()).limit(rows_max)))


def figures(tx: Session) -> tuple[dict[tuple[str, str], int], float | None]:
    """How many rows there are by target and state, and since when the oldest one waits."""
    query = select(OutboxRow.target, OutboxRow.state, func.count()).group_by(OutboxRow.target, OutboxRow.state)
    oldest = tx.scalar(select(func.min(OutboxRow.created_at)).where(OutboxRow.state == "pending"))
    return {(target, state): number for target, state, number in tx.execute(query)}, oldest


def dead_letter_oldest(tx: Session, target: str, now: float, why: str) -> int:
    """Make what a target has too much of dead letters; returns how many."""
    mine = (OutboxRow.target == target) & (OutboxRow.state == "pending")
    last = tx.scalar(select(OutboxRow.id).where(mine).order_by(OutboxRow.id.desc()).offset(PENDING_MAX).limit(1))
    if last is None:
        return 0
    gone = update(OutboxRow).where(mine, OutboxRow.id <= last).values(state="dead", done_at=now, outcome=why)
    return tx.execute(gone).rowcount  # type: ignore[attr-defined,no-any-return]


def drop_target(tx: Session, target: str) -> None:
    """Nothing more goes to a notifier that was deleted."""
    tx.execute(delete(OutboxRow).where(OutboxRow.target == target, OutboxRow.kind.in_(("notice", "test"))))


def forget_done(tx: Session) -> None:
    """Keep the newest of what was sent, done or dead."""
    done = OutboxRow.state != "pending"
    last = tx.scalar(select(OutboxRow.id).where(done).order_by(OutboxRow.id.desc()).offset(DONE_KEPT_MAX).limit(1))
    if last is not None:
        tx.execute(delete(OutboxRow).where(done, OutboxRow.id <= last))
