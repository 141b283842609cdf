"""Rows of canaries and guards. Written by services/canaries (and begun with a deployment by services/endpoints)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tidegate.core.canary.split import CanaryParts
from tidegate.store.tables import EndpointRow, FailedReplicaRow, ReplicaRow, VariantRow
from tidegate.store.tables.canaries import CanaryRow
from tidegate.wire.decoding import convert
from tidegate.wire.experiments.canary import CanaryStep
from tidegate.wire.experiments.experiments import GuardrailView

ACTIVE = ("running", "paused")
KEPT_OF_AN_ENDPOINT = 20
NAME = "{version}-{id}"


def active(tx: Session) -> list[CanaryRow]:
    """All that run or are paused, oldest first."""
    return list(tx.scalars(select(CanaryRow).where(CanaryRow.state.in_(ACTIVE)).order_by(CanaryRow.id)))


def get(tx: Session, number: int) -> CanaryRow | None:
    """One of them."""
    return tx.get(CanaryRow, number)


def active_of(tx: Session, uid: str) -> list[CanaryRow]:
    """An endpoint's that run or are paused."""
    query = select(CanaryRow).where(CanaryRow.endpoint_uid == uid, CanaryRow.state.in_(ACTIVE))
    return list(tx.scalars(query.order_by(CanaryRow.id.desc())))


def newest_of(tx: Session, uid: str, kind: str | None = None) -> CanaryRow | None:
    """An endpoint's newest, whether or not it has ended; of a kind, where one is named."""
    query = select(CanaryRow).where(CanaryRow.endpoint_uid == uid)
    if kind is not None:
        query = query.where(CanaryRow.kind == kind)
    return tx.scalar(query.order_by(CanaryRow.id.desc()).limit(1))


def add(tx: Session, row: CanaryRow) -> CanaryRow:
    """A new one; the oldest of the endpoint that have ended are forgotten."""
    tx.add(row)
    tx.flush()
    mine = (CanaryRow.endpoint_uid == row.endpoint_uid) & CanaryRow.state.not_in(ACTIVE)
    newest_to_go = select(CanaryRow.id).where(mine).order_by(CanaryRow.id.desc()).offset(KEPT_OF_AN_ENDPOINT).limit(1)
    if (last := tx.scalar(newest_to_go)) is not None:
        tx.execute(delete(CanaryRow).where(mine, CanaryRow.id <= last))
    return row


def forget_gone(tx: Session) -> None:
    """Forget those of endpoints that are gone."""
    tx.execute(delete(CanaryRow).where(CanaryRow.endpoint_uid.not_in(select(EndpointRow.uid))))


def parts_of(row: CanaryRow) -> CanaryParts:
    """What stays the same in all of its steps. Its name is also that of the automation that sets the weights."""
    name = NAME.format(version=row.version, id=row.id)
    return CanaryParts(name, row.version, row.baseline, dict(row.stable), row.salt, row.revision)


def views_of(row: CanaryRow) -> list[GuardrailView]:
    """What was found at the last look."""
    return convert(row.views, list[GuardrailView])


def past_of(row: CanaryRow) -> list[CanaryStep]:
    """Its steps so far."""
    return convert(row.past, list[CanaryStep])


def ready_times(tx: Session, endpoint: str, versions: Sequence[str]) -> list[float]:
    """When the replicas of these versions, that are there now, became ready."""
    query = select(ReplicaRow.ready_at).where(ReplicaRow.endpoint == endpoint, ReplicaRow.version.in_(versions))
    return [at for at in tx.scalars(query) if at is not None]


def crashes(tx: Session, endpoint: str, version: str, since: float) -> list[FailedReplicaRow]:
    """Replicas of a version that had been ready and ended since; as many of them as are kept."""
    query = select(FailedReplicaRow).where(
        FailedReplicaRow.endpoint == endpoint,
        FailedReplicaRow.version == version,
        FailedReplicaRow.kind == "crash",
        FailedReplicaRow.at >= since,
    )
    return list(tx.scalars(query))


def variant(tx: Session, endpoint: str, version: str) -> VariantRow | None:
    """The status of a version of an endpoint."""
    return tx.scalar(select(VariantRow).where(VariantRow.endpoint == endpoint, VariantRow.version == version))
