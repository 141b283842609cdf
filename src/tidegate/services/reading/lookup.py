"""Finds models, versions and endpoints by the names people use, or says what there is instead."""

from __future__ import annotations

import re

from sqlalchemy.orm import Session

from tidegate.core.endpoints.weights import check_weights
from tidegate.core.ports import Registry
from tidegate.errors import (
    Conflict,
    InvalidArgument,
    NotTakenIn,
    RegistryUnavailable,
    TidegateError,
    UnknownEndpoint,
    UnknownModel,
    UnknownVersion,
)
from tidegate.store.endpoints import endpoints as endpoint_rows
from tidegate.store.models import models as model_rows
from tidegate.store.tables import EndpointRow, ModelRow, VersionRow

NAMES_SHOWN_MAX = 20
_NUMBER = re.compile("[0-9]{1,9}")


def model_or_raise(tx: Session, name: str) -> ModelRow:
    """The model, or `UnknownModel` that lists the ones there are."""
    row = model_rows.get_model(tx, name)
    if row is None:
        known = model_rows.names(tx, NAMES_SHOWN_MAX + 1)
        raise UnknownModel(f"no model is named {name!r}: {_there_are(known)}", model=name)
    return row


def endpoint_or_raise(tx: Session, name: str) -> EndpointRow:
    """The endpoint, or `UnknownEndpoint` that lists the ones there are."""
    row = endpoint_rows.get_endpoint(tx, name)
    if row is None:
        known = endpoint_rows.names(tx, NAMES_SHOWN_MAX + 1)
        raise UnknownEndpoint(f"no endpoint is named {name!r}: {_there_are(known)}", endpoint=name)
    return row


def version_or_raise(tx: Session, model: str, reference: str | None) -> VersionRow:
    """The version of an existing model by number or label; None and "latest" are the newest.

    Aliases belong to the registry: callers resolve them before. Raises `UnknownModel`, `UnknownVersion`.
    """
    model_or_raise(tx, model)
    versions = model_rows.versions_of(tx, model)
    if reference in (None, "latest"):
        found = versions[0] if versions else None
    else:
        found = next((row for row in versions if reference in (row.version, row.label)), None)
    if found is None:
        wanted = f"no version {reference!r}" if reference else "no version yet"
        known = [f"{row.version} ({row.label})" if row.label else row.version for row in versions]
        raise UnknownVersion(f"model {model!r} has {wanted}: {_there_are(known)}", model=model, version=reference)
    return found


def by_number(tx: Session, model: str, weights: dict[str, float]) -> dict[str, float]:
    """Weights keyed by version number, without the zeros. Every version named must exist."""
    check_weights(weights)
    traffic: dict[str, float] = {}
    for reference, weight in weights.items():
        number = version_or_raise(tx, model, reference).version
        if number in traffic:
            raise InvalidArgument(f"version {number} is named twice (also as {reference!r})", field="traffic")
        traffic[number] = weight
    return {number: weight for number, weight in traffic.items() if weight > 0}


def in_registry(registry: Registry, model: str, reference: str | None, error: TidegateError) -> TidegateError:
    """`error`, which says that there is no such version here, or `NotTakenIn` where the registry has it.

    Called outside of transactions: a registry takes its time. Labels are ours, so the registry has none.
    """
    if not (reference in (None, "latest") or _NUMBER.fullmatch(str(reference))):
        return error
    try:
        number = _number_there(registry, model, reference)
    except UnknownVersion:
        return error
    except RegistryUnavailable as silent:
        return RegistryUnavailable(f"{error.message}; the registry may have it, but {silent.message}")
    if number is None:
        return error
    return NotTakenIn(
        f"version {number} of {model!r} is in the registry and was not taken in yet: "
        f"'tidegate register models:/{model}/{number} --name {model}' does, and so does "
        f"'tidegate deploy {model}:{number}'",
        model=model,
        version=number,
    )


def _number_there(registry: Registry, model: str, reference: str | None) -> str | None:
    if reference not in (None, "latest"):
        return registry.get_version(model, str(reference)).version
    versions = registry.versions(model)
    return versions[0].version if versions else None


def _there_are(names: list[str]) -> str:
    if not names:
        return "there is none"
    shown = ", ".join(names[:NAMES_SHOWN_MAX])
    return f"there are {shown}" + (", …" if len(names) > NAMES_SHOWN_MAX else "")


def live_or_raise(tx: Session, name: str) -> EndpointRow:
    """The row of an endpoint that is not being deleted. Raises `UnknownEndpoint`, `Conflict`."""
    row = endpoint_or_raise(tx, name)
    if row.deleted_at is not None:
        raise Conflict(f"endpoint {name!r} is being deleted: wait until it is gone", endpoint=name)
    return row


def check_same_model(row: EndpointRow, model: str) -> None:
    """Raise `Conflict` where the endpoint serves another model, or is being deleted."""
    if row.deleted_at is not None:
        raise Conflict(f"endpoint {row.name!r} is being deleted: wait until it is gone", endpoint=row.name)
    if row.model != model:
        raise Conflict(
            f"endpoint {row.name!r} serves model {row.model!r}: deploy {model!r} under another endpoint name, "
            f"or delete {row.name!r} first",
            endpoint=row.name,
            model=row.model,
        )
