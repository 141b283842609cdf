"""Queries on endpoints' specs and history, written by services; status belongs to `store.fleet`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from tidegate.store.tables import EndpointRow, FailedReplicaRow, HistoryRow, ReplicaRow, VariantRow

ACTOR_CHARS_MAX = 64


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


@dataclass(frozen=True)
class Entry:
    """How history calls a change, and the versions that it asks to start anew where they were given up."""

    action: str
    at: float
    actor: str = ""
    restores: int | None = None
    note: str = ""
    retries: Collection[str] = ()


def add_revision(tx: Session, row: EndpointRow, entry: Entry) -> None:
    """A new revision of the endpoint's spec as it is in the row, with its entry in the history."""
    row.revision += 1
    kept = {version: at for version, at in row.retries.items() if version in row.traffic or version in row.routed}
    row.retries = kept | dict.fromkeys(entry.retries, row.revision)
    tx.flush()
    tx.add(
        HistoryRow(
            endpoint=row.name,
            revision=row.revision,
            at=entry.at,
            action=entry.action,
            actor=entry.actor[:ACTOR_CHARS_MAX],
            traffic=row.traffic,
            replicas=row.replicas,
            restores=entry.restores,
            note=entry.note,
        )
    )
    tx.flush()


def variants_of(tx: Session, endpoint: str) -> list[VariantRow]:
    """Status rows of an endpoint's versions."""
    return list(tx.scalars(select(VariantRow).where(VariantRow.endpoint == endpoint)))


def replicas_of(tx: Session, endpoint: str) -> list[ReplicaRow]:
    """An endpoint's replicas, oldest first."""
    query = select(ReplicaRow).where(ReplicaRow.endpoint == endpoint).order_by(ReplicaRow.created_at, ReplicaRow.id)
    return list(tx.scalars(query))


def failed_replicas_of(tx: Session, endpoint: str) -> list[FailedReplicaRow]:
    """An endpoint's replicas that failed of late, oldest first."""
    query = select(FailedReplicaRow).where(FailedReplicaRow.endpoint == endpoint).order_by(FailedReplicaRow.id)
    return list(tx.scalars(query))
