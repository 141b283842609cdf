"""Queries on experiments and on what their looks found."""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tidegate.store.tables import EndpointRow, ExperimentLookRow, ExperimentRow
from tidegate.wire.decoding import convert
from tidegate.wire.experiments.experiments import ExperimentSpec, LookView, PhaseView

LOOKS_MAX = 400
"""Looks kept of an experiment: when there are more, every second one of the older half is forgotten."""
KEPT_MAX = 200
"""Experiments kept of an endpoint that have ended."""


def get(tx: Session, uid: str, name: str) -> ExperimentRow | None:
    """The experiment of this name on an endpoint."""
    return tx.scalar(select(ExperimentRow).where(ExperimentRow.endpoint_uid == uid, ExperimentRow.name == name))


def of_endpoint(tx: Session, uid: str) -> list[ExperimentRow]:
    """All of an endpoint, newest first."""
    query = select(ExperimentRow).where(ExperimentRow.endpoint_uid == uid)
    return list(tx.scalars(query.order_by(ExperimentRow.id.desc())))


def live(tx: Session) -> list[ExperimentRow]:
    """All that run or are paused, those first that were looked at longest ago."""
    query = select(ExperimentRow).where(ExperimentRow.state.in_(("running", "paused")))
    return list(tx.scalars(query.order_by(func.coalesce(ExperimentRow.looked_at, 0.0), ExperimentRow.id)))


def by_id(tx: Session, number: int) -> ExperimentRow | None:
    """The row as it is now."""
    return tx.get(ExperimentRow, number, populate_existing=True)


def spec_of(row: ExperimentRow) -> ExperimentSpec:
    """What was asked for. Raises `msgspec.ValidationError` for what another release wrote."""
    return convert(row.spec, ExperimentSpec)


def phases_of(row: ExperimentRow) -> list[PhaseView]:
    """Its splits so far."""
    return convert(row.phases, list[PhaseView])


def add_look(tx: Session, row: ExperimentRow, body: dict[str, object], at: float) -> None:
    """Keep what a look found, within the bound."""
    tx.add(ExperimentLookRow(experiment=row.id, at=at, body=body))
    tx.flush()
    mine = ExperimentLookRow.experiment == row.id
    ids = list(tx.scalars(select(ExperimentLookRow.id).where(mine).order_by(ExperimentLookRow.id)))
    if len(ids) > LOOKS_MAX:
        tx.execute(delete(ExperimentLookRow).where(ExperimentLookRow.id.in_(ids[1 : LOOKS_MAX // 2 : 2])))


def looks(tx: Session, row: ExperimentRow, rows_max: int = LOOKS_MAX) -> list[LookView]:
    """The newest so many, in order of time."""
    query = select(ExperimentLookRow.body).where(ExperimentLookRow.experiment == row.id)
    found = list(tx.scalars(query.order_by(ExperimentLookRow.id.desc()).limit(rows_max)))
    return [convert(body, LookView) for body in reversed(found)]


def forget_old(tx: Session, uid: str) -> None:
    """Forget the oldest of an endpoint's experiments that have ended, past the bound, with their looks."""
    ended = select(ExperimentRow.id).where(
        ExperimentRow.endpoint_uid == uid, ExperimentRow.state.in_(("decided", "stopped"))
    )
    _forget(tx, list(tx.scalars(ended.order_by(ExperimentRow.id.desc()).offset(KEPT_MAX))))


def forget_gone(tx: Session) -> None:
    """Forget whatever is of endpoints that are gone."""
    there = select(EndpointRow.uid)
    _forget(tx, list(tx.scalars(select(ExperimentRow.id).where(ExperimentRow.endpoint_uid.not_in(there)))))


def _forget(tx: Session, ids: list[int]) -> None:
    if ids:
        tx.execute(delete(ExperimentLookRow).where(ExperimentLookRow.experiment.in_(ids)))
        tx.execute(delete(ExperimentRow).where(ExperimentRow.id.in_(ids)))
