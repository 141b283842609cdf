"""Queries on endpoints' specs, written by services with an entry in the history; status belongs to `store.fleet`."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from tidegate.store import history
from tidegate.store.automation import raise_generation
from tidegate.store.history import Entry
from tidegate.store.tables import EndpointRow, FailedReplicaRow, ReplicaRow, VariantRow


def get_endpoint(tx: Session, name: str) -> EndpointRow | None:
    """The endpoint of this name, also while it is being deleted."""
    return tx.get(EndpointRow, name)


def endpoints(tx: Session) -> list[EndpointRow]:
    """All endpoints by name, those being deleted included."""
    return list(tx.scalars(select(EndpointRow).order_by(EndpointRow.name)))


def add_revision(tx: Session, row: EndpointRow, entry: Entry) -> None:
    """A new revision of the endpoint's spec, as people made it in the row, with its entry in the history."""
    row.revision += 1
    raise_generation(row, entry.retries)
    tx.flush()
    history.add(tx, row, entry, automated=False)


def add_repair(tx: Session, row: EndpointRow, entry: Entry) -> None:
    """Have the loop start again what it gave up, without anybody having asked for anything else."""
    raise_generation(row, entry.retries)
    tx.flush()
    history.add(tx, row, entry, automated=True)


def add_note(tx: Session, row: EndpointRow, entry: Entry) -> None:
    """An entry in the history of what was not done: nothing changes."""
    history.add(tx, row, entry, automated=True)


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
