"""Every endpoint with what runs for it, read once a pass: one query a table, and a row is decoded once per change.

Owned by the reconcile loop. Whoever wrote a row, the next reading sees it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from sqlalchemy import JSON, Column, Connection, Select, Table, Text, cast, select
from sqlalchemy.orm import Session

from tidegate.core.fleet import Fleet, Replica, Variant
from tidegate.core.placement import OF_A_HOST, Placement
from tidegate.core.ports import Handle
from tidegate.core.routing import VersionFacts
from tidegate.store import fleet as rows
from tidegate.store.fleet import LoadedFleet
from tidegate.store.tables import (
    AutomatedReplicasRow,
    AutomatedWeightsRow,
    EndpointRow,
    ReplicaRow,
    VariantRow,
    VersionRow,
)

T = TypeVar("T")
Raw = tuple[Any, ...]
Forms = dict[str, str]
Facts = dict[str, VersionFacts]
_Row = Any
"""A decoded row: its attributes are those of the table's class, which `store.fleet` reads."""
_Parts = tuple[
    _Row, tuple[_Row, ...], tuple[_Row, ...], tuple[Variant, ...], tuple[tuple[Replica, Handle | None], ...], Forms
]
"""An endpoint's row, automated weights and replicas, variants, replicas with their handles, and its model's forms."""

_ENDPOINTS, _WEIGHTS, _COUNTS, _VARIANTS, _REPLICAS, _VERSIONS = (
    row.metadata.tables[row.__tablename__]
    for row in (EndpointRow, AutomatedWeightsRow, AutomatedReplicasRow, VariantRow, ReplicaRow, VersionRow)
)


class _Rows(Generic[T]):
    """Rows of one table, grouped by one of its columns, as they were when they were read last."""

    def __init__(
        self, columns: Iterable[Column[Any]], group: str, decode: Callable[[_Row], T], key_columns: int = 1
    ) -> None:
        self._columns = tuple(columns)
        self._key_columns = key_columns
        self._json = frozenset(column.name for column in self._columns if isinstance(column.type, JSON))
        self._names = tuple(column.name for column in self._columns)
        self._group = self._names.index(group)
        self._decode = decode
        self._raw: list[Raw] = []
        self._decoded: dict[Any, tuple[Raw, T]] = {}
        self.groups: dict[str, tuple[T, ...]] = {}

    def query(self) -> Select[Any]:
        """The primary key comes first; JSON comes as text, to be decoded where it is another than before."""
        return select(*(cast(one, Text) if one.name in self._json else one for one in self._columns))

    def read(self, connection: Connection, query: Select[Any]) -> bool:
        """Whether anything is another than before. Rows are as the driver has them: nothing here needs converting."""
        raw: list[Raw] = list(connection.execute(query).cursor.fetchall())
        if raw == self._raw:
            return False
        before, self._decoded = self._decoded, {}
        groups: dict[str, list[T]] = {}
        for one in raw:
            key = one[: self._key_columns]
            known = before.get(key)
            found = known if known is not None and known[0] == one else (one, self._decode(self._row(one)))
            self._decoded[key] = found
            groups.setdefault(one[self._group], []).append(found[1])
        self._raw = raw
        self.groups = {name: tuple(group) for name, group in groups.items()}
        return True

    def _row(self, raw: Raw) -> _Row:
        values = zip(self._names, raw, strict=True)
        return SimpleNamespace(
            **{name: json.loads(value) if name in self._json and value is not None else value for name, value in values}
        )


class Fleets:
    """`default` is where replicas run that nobody placed.

    Replicas that belong to another host than `host` are left out: what is known here of their engine is of this one.
    """

    def __init__(self, default: Placement, host: str) -> None:
        self._endpoints = _table(_ENDPOINTS, "name", _as_it_is)
        self._weights = _table(_WEIGHTS, "endpoint", _as_it_is)
        self._counts = _table(_COUNTS, "endpoint", _as_it_is)
        self._variants = _table(_VARIANTS, "endpoint", rows.variant_of)
        self._replicas = _table(_REPLICAS, "endpoint", _replica)
        named = ("id", "model", "version", "digest", "label", "created_at", "acceleration")
        self._versions = _Rows([_VERSIONS.c[name] for name in named], "model", _version)
        self._default = default
        self._host = host
        self._forms: dict[str, Forms] = {}
        self._fleets: dict[str, tuple[_Parts, LoadedFleet]] = {}
        self._facts: dict[tuple[str, str], tuple[Any, VersionFacts]] = {}
        self.generation = 0
        """Grows when a version of a model that is served is new, gone or another than before."""

    def read(self, tx: Session) -> list[LoadedFleet]:
        """By name. What nothing has changed of is the very object that was returned before."""
        connection = tx.connection()
        served = select(_ENDPOINTS.c.model)
        self._endpoints.read(connection, self._endpoints.query().order_by(_ENDPOINTS.c.name))
        self._weights.read(connection, self._weights.query())
        self._counts.read(connection, self._counts.query().order_by(_COUNTS.c.endpoint, _COUNTS.c.version))
        self._variants.read(connection, self._variants.query().order_by(_VARIANTS.c.id))
        here = _REPLICAS.c.backend.not_in(OF_A_HOST) | (_REPLICAS.c.host == self._host)
        order = _REPLICAS.c.created_at, _REPLICAS.c.id
        self._replicas.read(connection, self._replicas.query().where(here).order_by(*order))
        if self._versions.read(connection, self._versions.query().where(_VERSIONS.c.model.in_(served))):
            self._note_forms()
        loaded = {name: self._fleet(name, row) for name, (row,) in self._endpoints.groups.items()}
        self._fleets = loaded
        return [fleet for _, fleet in loaded.values()]

    def facts(self, tx: Session, wanted: set[tuple[str, str]]) -> dict[str, Facts]:
        """What gateways need to know of these (model, version) pairs, by model."""
        known = {(one.model, one.version): one.key for group in self._versions.groups.values() for one in group}
        kept = {pair: found for pair, found in self._facts.items() if known.get(pair) == found[0]}
        loaded = rows.load_versions(tx, {pair for pair in wanted if pair in known and pair not in kept})
        self._facts = kept | {pair: (known[pair], found) for pair, found in loaded.items()}
        by_model: dict[str, Facts] = {}
        for model, version in wanted & self._facts.keys():
            by_model.setdefault(model, {})[version] = self._facts[model, version][1]
        return by_model

    def _note_forms(self) -> None:
        self.generation += 1
        found = {model: {one.version: one.form for one in group} for model, group in self._versions.groups.items()}
        # The same object where nothing changed: another model's version makes no work for this one's endpoints.
        self._forms = {
            model: forms if (old := self._forms.get(model)) != forms else old for model, forms in found.items()
        }

    def _fleet(self, name: str, row: _Row) -> tuple[_Parts, LoadedFleet]:
        weights, counts = self._weights.groups.get(name, ()), self._counts.groups.get(name, ())
        variants, replicas = self._variants.groups.get(name, ()), self._replicas.groups.get(name, ())
        parts = row, weights, counts, variants, replicas, self._forms.get(row.model, {})
        known = self._fleets.get(name)
        return known if known is not None and known[0] == parts else (parts, _loaded(parts, self._default))


def _table(table: Table, group: str, decode: Callable[[_Row], T]) -> _Rows[T]:
    key = list(table.primary_key.columns)
    return _Rows([*key, *(one for one in table.c if not one.primary_key)], group, decode, len(key))


def _as_it_is(row: _Row) -> _Row:
    return row


def _replica(row: _Row) -> tuple[Replica, Handle | None]:
    return rows.replica_of(row), Handle(row.backend, row.handle) if row.handle else None


def _version(row: _Row) -> SimpleNamespace:
    key = row.id, row.digest, row.label, row.created_at
    return SimpleNamespace(model=row.model, version=row.version, key=key, form=row.acceleration.get("kept") or "")


def _loaded(parts: _Parts, default: Placement) -> LoadedFleet:
    row, weights, counts, variants, replicas, forms = parts
    with_automated: _Row = SimpleNamespace(
        **vars(row), automated_weights=weights[0] if weights else None, automated_replicas=counts
    )
    endpoint = rows.endpoint_of(with_automated, forms, default)
    fleet = Fleet(endpoint, variants, tuple(replica for replica, _ in replicas))
    return LoadedFleet(fleet, row.salt, {replica.id: handle for replica, handle in replicas if handle is not None})
