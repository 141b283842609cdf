"""Queries on endpoints' specs and history, written by services; status belongs to `store.fleet`."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from tidegate.store.tables import EndpointRow, HistoryRow, ReplicaRow, VariantRow


def get_endpoint(tx: Session, name: str) -> EndpointRow | None:
    """The endpoint of this name, also while it is being deleted."""
    return tx.get(EndpointRow, name)


def endpoints(tx: Session) -> list[EndpointRow]:
    """All endpoints by name, those being deleted included."""
    return list(tx.scalars(select(EndpointRow).order_by(EndpointRow.name)))


def history_of(tx: Session, endpoint: str) -> list[HistoryRow]:
    """An endpoint's changes, newest first."""
    query = select(HistoryRow).where(HistoryRow.endpoint == endpoint).order_by(HistoryRow.revision.desc())
    return list(tx.scalars(query))


def variants_of(tx: Session, endpoint: str) -> list[VariantRow]:
    """Status rows of an endpoint's versions."""
    return list(tx.scalars(select(VariantRow).where(VariantRow.endpoint == endpoint)))


def replicas_of(tx: Session, endpoint: str) -> list[ReplicaRow]:
    """An endpoint's replicas, oldest first."""
    query = select(ReplicaRow).where(ReplicaRow.endpoint == endpoint).order_by(ReplicaRow.created_at, ReplicaRow.id)
    return list(tx.scalars(query))
