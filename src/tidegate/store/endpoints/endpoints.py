"""Queries on endpoints' specs, written by services with an entry in the history; status belongs to `store.fleet`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy.orm import Session, selectinload

from tidegate.store.endpoints import history
from tidegate.store.endpoints.automation import effective_of, raise_generation
from tidegate.store.endpoints.history import Entry
from tidegate.store.endpoints.shadows import end_where_live
from tidegate.store.tables import EndpointRow, FailedReplicaRow, FollowRow, ReplicaRow, VariantRow

OfEndpoint = TypeVar("OfEndpoint", VariantRow, ReplicaRow)


def get_endpoint(tx: Session, name: str) -> EndpointRow | None:
    """The endpoint of this name, also while it is being deleted."""
    return tx.get(EndpointRow, name)


def names(tx: Session, rows_max: int) -> list[str]:
    """The first endpoints by name."""
    return list(tx.scalars(select(EndpointRow.name).order_by(EndpointRow.name).limit(rows_max)))


def page(tx: Session, after: str, rows_max: int, model: str | None = None) -> list[EndpointRow]:
    """Endpoints by name, of one model if given, those being deleted included, from the one after `after` on."""
    query = select(EndpointRow).where(EndpointRow.name > after).order_by(EndpointRow.name).limit(rows_max)
    if model is not None:
        query = query.where(EndpointRow.model == model)
    return list(tx.scalars(query.options(selectinload(EndpointRow.follow))))


def _status() -> ColumnElement[str]:
    """As people read it (`services.reading.views`): the status row speaks of the generation that the loop saw last."""
    unseen = EndpointRow.observed_generation < EndpointRow.generation
    return case((EndpointRow.deleted_at.is_not(None), "deleting"), (unseen, "deploying"), else_=EndpointRow.status)


def count_by_status(tx: Session) -> dict[str, int]:
    """How many endpoints are in each status; those that none is in are left out."""
    status = _status().label("status")
    counts = tx.execute(select(status, func.count()).group_by(status))
    return {row[0]: row[1] for row in counts}


def exceptions(tx: Session, rows_max: int) -> list[EndpointRow]:
    """Endpoints that are not as they were asked to be, or not where the alias that they follow is; the worst first."""
    status = _status()
    behind = EndpointRow.name.in_(
        select(FollowRow.endpoint).where(or_(FollowRow.reason != "", FollowRow.trouble != ""))
    )
    urgency = case({"failed": 0, "degraded": 1, "deploying": 2, "deleting": 3}, value=status, else_=4)
    query = (
        select(EndpointRow).where(or_(status.not_in(("ready", "asleep")), behind)).order_by(urgency, EndpointRow.name)
    )
    return list(tx.scalars(query.limit(rows_max).options(selectinload(EndpointRow.follow))))


def add_revision(tx: Session, row: EndpointRow, entry: Entry) -> None:
    """A new revision of the endpoint's spec, as people made it in the row, with its entry in the history."""
    row.revision += 1
    entry = end_where_live(row, effective_of(row).traffic, entry)
    raise_generation(row, entry.retries)
    tx.flush()
    history.add(tx, row, entry, automated=False)


def add_repair(tx: Session, row: EndpointRow, entry: Entry) -> None:
    """Have the loop lift quarantines, without anybody having asked for anything else."""
    raise_generation(row, entry.retries)
    tx.flush()
    history.add(tx, row, entry, automated=True)


def add_note(tx: Session, row: EndpointRow, entry: Entry) -> None:
    """An entry in the history of what was not done: nothing changes."""
    history.add(tx, row, entry, automated=True)


def variants_by_endpoint(tx: Session, endpoints: Collection[str]) -> dict[str, list[VariantRow]]:
    """Status rows of these endpoints' versions."""
    return _by_endpoint(tx.scalars(select(VariantRow).where(VariantRow.endpoint.in_(endpoints))))


def replicas_by_endpoint(tx: Session, endpoints: Collection[str]) -> dict[str, list[ReplicaRow]]:
    """These endpoints' replicas."""
    return _by_endpoint(tx.scalars(select(ReplicaRow).where(ReplicaRow.endpoint.in_(endpoints))))


def _by_endpoint(rows: Iterable[OfEndpoint]) -> dict[str, list[OfEndpoint]]:
    found: dict[str, list[OfEndpoint]] = {}
    for row in rows:
        found.setdefault(row.endpoint, []).append(row)
    return found


def replicas_of(tx: Session, endpoint: str) -> list[ReplicaRow]:
    """An endpoint's replicas, oldest first."""
    query = select(ReplicaRow).where(ReplicaRow.endpoint == endpoint).order_by(ReplicaRow.created_at, ReplicaRow.id)
    return list(tx.scalars(query))


def failed_replicas_of(tx: Session, endpoint: str) -> list[FailedReplicaRow]:
    """An endpoint's replicas that failed recently, oldest first."""
    query = select(FailedReplicaRow).where(FailedReplicaRow.endpoint == endpoint).order_by(FailedReplicaRow.id)
    return list(tx.scalars(query))
