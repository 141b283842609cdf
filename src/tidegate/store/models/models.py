"""Queries on models and their versions; called inside a transaction by services, jobs and loops."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Integer, cast, func, select, tuple_
from sqlalchemy.orm import Session, defer

from tidegate.store.tables import EndpointRow, ModelRow, ReplicaRow, VersionRow


def get_model(tx: Session, name: str) -> ModelRow | None:
    """The model of this name."""
    return tx.get(ModelRow, name)


def names(tx: Session, rows_max: int) -> list[str]:
    """The first models by name."""
    return list(tx.scalars(select(ModelRow.name).order_by(ModelRow.name).limit(rows_max)))


def page(tx: Session, after: str, rows_max: int) -> list[ModelRow]:
    """Models by name, from the one after `after` on."""
    return list(tx.scalars(select(ModelRow).where(ModelRow.name > after).order_by(ModelRow.name).limit(rows_max)))


def count_models(tx: Session) -> int:
    """How many models there are."""
    return tx.scalar(select(func.count()).select_from(ModelRow)) or 0


def versions_of(tx: Session, model: str) -> list[VersionRow]:
    """A model's versions, newest first."""
    newest_first = cast(VersionRow.version, Integer).desc()
    return list(tx.scalars(select(VersionRow).where(VersionRow.model == model).order_by(newest_first)))


def version_counts(tx: Session, models: Collection[str]) -> dict[str, int]:
    """How many versions each of these models has; those without any are left out."""
    of_models = select(VersionRow.model, func.count()).where(VersionRow.model.in_(models))
    return {model: int(count) for model, count in tx.execute(of_models.group_by(VersionRow.model))}


def newest_by_model(
    tx: Session, models: Collection[str], newest: int, *, in_short: bool = False
) -> dict[str, list[VersionRow]]:
    """The `newest` versions of each of these models, newest first; `in_short` without their signatures and examples."""
    newest_first = cast(VersionRow.version, Integer).desc()
    place = func.row_number().over(partition_by=VersionRow.model, order_by=newest_first).label("place")
    placed = select(VersionRow.id, place).where(VersionRow.model.in_(models)).subquery()
    query = select(VersionRow).join(placed, placed.c.id == VersionRow.id).where(placed.c.place <= newest)
    if in_short:
        query = query.options(defer(VersionRow.signature), defer(VersionRow.example))
    found: dict[str, list[VersionRow]] = {}
    for row in tx.scalars(query.order_by(newest_first)):
        found.setdefault(row.model, []).append(row)
    return found


def labels(tx: Session, models: Collection[str]) -> dict[tuple[str, str], str | None]:
    """The label of each (model, version) of these models, without the rest of their rows."""
    query = select(VersionRow.model, VersionRow.version, VersionRow.label).where(VersionRow.model.in_(models))
    return {(model, version): label for model, version, label in tx.execute(query)}


def examples(tx: Session, versions: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """A row that each of these (model, version) pairs takes."""
    wanted = tuple_(VersionRow.model, VersionRow.version).in_(sorted(set(versions)))
    query = select(VersionRow.model, VersionRow.version, VersionRow.example).where(wanted)
    return {(model, version): example for model, version, example in tx.execute(query)}


def scored(tx: Session) -> list[VersionRow]:
    """The versions of models that an endpoint serves."""
    served = select(EndpointRow.model).distinct()
    return list(tx.scalars(select(VersionRow).where(VersionRow.model.in_(served))))


def get_version(tx: Session, model: str, number: str) -> VersionRow | None:
    """The version with this number."""
    return tx.scalar(select(VersionRow).where(VersionRow.model == model, VersionRow.version == number))


def version_by_label(tx: Session, model: str, label: str) -> VersionRow | None:
    """The version with this label."""
    return tx.scalar(select(VersionRow).where(VersionRow.model == model, VersionRow.label == label))


def version_by_digest(tx: Session, model: str, digest: str) -> VersionRow | None:
    """The version made of these bytes."""
    return tx.scalar(select(VersionRow).where(VersionRow.model == model, VersionRow.digest == digest))


def versions_by_digest(tx: Session, digest: str) -> list[VersionRow]:
    """The versions of all models that are made of these bytes."""
    return list(tx.scalars(select(VersionRow).where(VersionRow.digest == digest).order_by(VersionRow.id)))


def digest_in_use(tx: Session, digest: str) -> bool:
    """Whether a version of any model is made of these bytes."""
    return tx.scalar(select(VersionRow.id).where(VersionRow.digest == digest).limit(1)) is not None


def endpoints_of_model(tx: Session, model: str) -> list[EndpointRow]:
    """Endpoints that serve this model, those being deleted included."""
    return list(tx.scalars(select(EndpointRow).where(EndpointRow.model == model).order_by(EndpointRow.name)))


def replica_endpoints(tx: Session, model: str, number: str) -> set[str]:
    """Endpoints that have a replica of this version, whatever its state."""
    query = select(ReplicaRow.endpoint).where(ReplicaRow.model == model, ReplicaRow.version == number)
    return set(tx.scalars(query))
