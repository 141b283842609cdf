"""Queries on baselines, on how endpoints are monitored, and on what monitors found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tidegate.core.monitoring.settings import MonitorSettings
from tidegate.store.tables import BaselineRow, EndpointRow, MonitorBlockRow, MonitorResultRow, MonitorRow
from tidegate.wire.decoding import convert
from tidegate.wire.monitoring.monitoring import MonitorResult


@dataclass(frozen=True)
class Block:
    """Rows since `since` are not judged yet; of the time up to `judged_at` the budget is spent.

    `gathered`: what those up to `counted_to` came to (services.monitoring.gathered).
    """

    since: float
    judged_at: float
    counted_to: float | None = None
    gathered: dict[str, Any] | None = None


def baseline(tx: Session, model: str, version: str) -> BaselineRow | None:
    """The baseline of a version."""
    return tx.get(BaselineRow, (model, version))


def baseline_files(tx: Session) -> set[str]:
    """Names of the files that baselines have."""
    return set(tx.scalars(select(BaselineRow.file)))


def forget_baselines(tx: Session, model: str, version: str | None = None) -> None:
    """Of a version that is deleted, or of all of its model; the files are swept later."""
    query = delete(BaselineRow).where(BaselineRow.model == model)
    tx.execute(query if version is None else query.where(BaselineRow.version == version))


def monitor(tx: Session, endpoint: EndpointRow) -> MonitorRow | None:
    """The row of an endpoint; none where nobody set anything and nothing was evaluated yet."""
    return tx.get(MonitorRow, endpoint.uid)


def monitor_to_write(tx: Session, endpoint: EndpointRow) -> MonitorRow:
    """The row of an endpoint, made where there is none."""
    row = monitor(tx, endpoint)
    if row is None:
        row = MonitorRow(endpoint_uid=endpoint.uid, endpoint=endpoint.name, settings={})
        tx.add(row)
    return row


def settings_of(row: MonitorRow | None) -> MonitorSettings:
    """As people set it, else as by default."""
    return MonitorSettings() if row is None else MonitorSettings.from_dict(row.settings)


def monitored(tx: Session) -> list[tuple[EndpointRow, MonitorRow | None]]:
    """All endpoints that are not being deleted, by name."""
    query = select(EndpointRow, MonitorRow).join(MonitorRow, MonitorRow.endpoint_uid == EndpointRow.uid, isouter=True)
    found = tx.execute(query.where(EndpointRow.deleted_at.is_(None)).order_by(EndpointRow.name)).all()
    return [(endpoint, row) for endpoint, row in found]


def first_monitored(tx: Session) -> str | None:
    """Of the endpoints that are monitored, the first by name."""
    return next((endpoint.name for endpoint, row in monitored(tx) if settings_of(row).on), None)


def blocks_of(tx: Session, uid: str) -> dict[tuple[str, str], Block]:
    """An endpoint's blocks by version and kind."""
    rows = tx.scalars(select(MonitorBlockRow).where(MonitorBlockRow.endpoint_uid == uid))
    return {(row.version, row.kind): Block(row.since, row.judged_at, row.counted_to, row.gathered) for row in rows}


def write_blocks(tx: Session, uid: str, blocks: dict[tuple[str, str], Block]) -> None:
    """Put these in the place of what was written of them before."""
    for (version, kind), block in blocks.items():
        row = MonitorBlockRow(
            endpoint_uid=uid,
            version=version,
            kind=kind,
            since=block.since,
            judged_at=block.judged_at,
            counted_to=block.counted_to,
            gathered=block.gathered,
        )
        tx.merge(row)


def add_results(tx: Session, uid: str, results: Iterable[MonitorResult]) -> None:
    """Keep what was found."""
    for one in results:
        tx.add(
            MonitorResultRow(
                endpoint_uid=uid,
                monitor=one.monitor,
                feature=None if one.feature is None else one.feature[:255],
                evaluated_at=one.evaluated_at,
                body=msgspec.to_builtins(one),
            )
        )


@dataclass(frozen=True)
class ResultFilter:
    """Which results of an endpoint to read, newest first: older than the one of an id, since a moment, of a monitor."""

    rows_max: int
    before: int | None = None
    since: float | None = None
    monitor: str | None = None
    feature: str | None = None


def results(tx: Session, uid: str, wanted: ResultFilter) -> list[tuple[int, MonitorResult]]:
    """Results with their ids, newest first."""
    query = select(MonitorResultRow).where(MonitorResultRow.endpoint_uid == uid).order_by(MonitorResultRow.id.desc())
    if wanted.before is not None:
        query = query.where(MonitorResultRow.id < wanted.before)
    if wanted.since is not None:
        query = query.where(MonitorResultRow.evaluated_at >= wanted.since)
    if wanted.monitor is not None:
        query = query.where(MonitorResultRow.monitor == wanted.monitor)
    if wanted.feature is not None:
        query = query.where(MonitorResultRow.feature == wanted.feature)
    return [(row.id, convert(row.body, MonitorResult)) for row in tx.scalars(query.limit(wanted.rows_max))]


def newest_result(tx: Session) -> int:
    """The id of the newest result of any endpoint; 0 before the first."""
    return tx.scalar(select(func.max(MonitorResultRow.id))) or 0


def added_since(tx: Session, before: int) -> list[tuple[str, str, float]]:
    """Endpoints of which results were added after the one of an id: name, uid, and when the oldest was found."""
    added = func.min(MonitorResultRow.evaluated_at)
    query = select(MonitorRow.endpoint, MonitorRow.endpoint_uid, added).join(
        MonitorResultRow, MonitorResultRow.endpoint_uid == MonitorRow.endpoint_uid
    )
    found = tx.execute(query.where(MonitorResultRow.id > before).group_by(MonitorRow.endpoint, MonitorRow.endpoint_uid))
    return [(name, uid, at) for name, uid, at in found]


def results_between(tx: Session, uid: str, since: float, until: float) -> list[MonitorResult]:
    """What was found of an endpoint with `since` <= evaluated_at < `until`, oldest first."""
    of_it = (MonitorResultRow.endpoint_uid == uid, MonitorResultRow.evaluated_at >= since)
    query = select(MonitorResultRow).where(*of_it, MonitorResultRow.evaluated_at < until).order_by(MonitorResultRow.id)
    return [convert(row.body, MonitorResult) for row in tx.scalars(query)]


def newest_results(tx: Session, uid: str, monitors: Sequence[str], rows_max: int) -> list[MonitorResult]:
    """The newest evaluation's results of each of these monitors."""
    found: list[MonitorResult] = []
    for name in monitors:
        of_it = (MonitorResultRow.endpoint_uid == uid, MonitorResultRow.monitor == name)
        newest = tx.scalar(
            select(MonitorResultRow.evaluated_at).where(*of_it).order_by(MonitorResultRow.id.desc()).limit(1)
        )
        if newest is not None:
            query = select(MonitorResultRow).where(*of_it, MonitorResultRow.evaluated_at == newest)
            found += [convert(row.body, MonitorResult) for row in tx.scalars(query.limit(rows_max))]
    return found


@dataclass(frozen=True)
class Summary:
    """What is measured of an endpoint: the features that moved furthest, how many drifted, and metrics by version."""

    endpoint: str
    drift: dict[str, float]
    drifted: int
    quality: dict[str, dict[str, float]]


def summaries(tx: Session) -> list[Summary]:
    """Of every endpoint that was evaluated, from what its newest evaluations left."""
    found = []
    for endpoint, row in monitored(tx):
        if row is not None and row.summary and settings_of(row).on:
            found.append(Summary(endpoint.name, **row.summary))
    return found


def prune(tx: Session, before: float, rows_max: int) -> None:
    """Forget old results, all but the newest of many, and whatever is of endpoints that are gone."""
    tx.execute(delete(MonitorResultRow).where(MonitorResultRow.evaluated_at < before))
    newest = tx.scalar(select(func.max(MonitorResultRow.id)))
    if newest is not None and newest > rows_max:
        tx.execute(delete(MonitorResultRow).where(MonitorResultRow.id <= newest - rows_max))
    there = select(EndpointRow.uid)
    for table in (MonitorResultRow, MonitorBlockRow, MonitorRow):
        tx.execute(delete(table).where(table.endpoint_uid.not_in(there)))
