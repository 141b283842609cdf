"""Queries on aliases that are kept in step with promotions: wanted by services, written by loops/follow."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tidegate.store.tables.aliases import KeptAliasRow

PENDING_MAX = 100
"""Of one look at the registry; the others wait for the next."""


def get(tx: Session, model: str, alias: str) -> KeptAliasRow | None:
    """What is known of an alias; None where it is not kept."""
    return tx.get(KeptAliasRow, (model, alias))


def due(tx: Session, now: float) -> list[KeptAliasRow]:
    """Those that the registry is to be told of now, the longest waiting first."""
    query = select(KeptAliasRow).where(KeptAliasRow.pending, KeptAliasRow.retry_at <= now)
    return list(tx.scalars(query.order_by(KeptAliasRow.changed_at, KeptAliasRow.alias).limit(PENDING_MAX)))


def forget_all(tx: Session) -> None:
    """Keep none of them any more; in the registry they stay as they are."""
    tx.execute(delete(KeptAliasRow))
