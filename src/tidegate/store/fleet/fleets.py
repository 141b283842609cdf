"""Every endpoint with what runs for it, read every pass: a table is read when it has changed, a row decoded then.

Owned by the reconcile loop. Whoever wrote a row, in whatever process, the next reading sees it by its stamp
(`store.tables.base.Stamped`). Each reading also takes one table in turn whatever its stamps say, so that what was
written without any (by hand, by a release that knew of none) is seen within as many readings as there are tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable
from itertools import cycle
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    cast,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from tidegate.core.engines.capabilities import OF_A_HOST
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Handle
from tidegate.core.reconcile.fleet import Fleet, Replica, VariantFacts
from tidegate.core.routing.snapshot import VersionFacts
from tidegate.store.fleet import fleet as rows
from tidegate.store.fleet.fleet import LoadedFleet
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
"""A decoded row: its attributes are those of the table's class, which `store.fleet.fleet` reads."""
_Parts = tuple[
    _Row, tuple[_Row, ...], tuple[_Row, ...], tuple[VariantFacts, ...], tuple[tuple[Replica, Handle | None], ...], Forms
]
"""An endpoint's row, automated weights and replicas, variants, replicas with their handles, and its model's forms."""

_ENDPOINTS, _WEIGHTS, _COUNTS, _VARIANTS, _REPLICAS, _VERSIONS = (
    row.metadata.tables[row.__tablename__]
    for row in (EndpointRow, AutomatedWeightsRow, AutomatedReplicasRow, VariantRow, ReplicaRow, VersionRow)
)


_MARKS = union_all(
    *(
        select(literal(table.name), func.count(), func.sum(table.c.stamp)).select_from(table)
        for table in (_ENDPOINTS, _WEIGHTS, _COUNTS, _VARIANTS, _REPLICAS, _VERSIONS)
    )
)
"""By table, what is another after any change of it."""


class _Rows(Generic[T]):
    """Rows of one table, grouped by one of its columns, as they were when they were read last."""

    def __init__(self, columns: Iterable[Column[Any]], group: str, decode: Callable[[_Row], T]) -> None:
        """The primary key comes first. JSON comes as text, to be decoded where it is another than before."""
        columns = tuple(columns)
        json_ = {column.name for column in columns if isinstance(column.type, JSON)}
        self.query: Select[Any] = select(*(cast(one, Text) if one.name in json_ else one for one in columns))
        self.table = columns[0].table.name
        self.groups: dict[str, tuple[T, ...]] = {}
        self._names = tuple(column.name for column in columns)
        self._json = json_
        self._group = self._names.index(group)
        self._key_columns = sum(column.primary_key for column in columns)
        self._decode = decode
        self._mark: Hashable = None
        self._raw: list[Raw] = []
        self._decoded: dict[Raw, tuple[Raw, T]] = {}

    def refresh(self, connection: Connection, mark: Hashable, *, anyway: bool) -> bool:
        """Read where the mark is another than at the last reading, or anyway; whether a row is another than then."""
        if mark == self._mark and not anyway:
            return False
        # As the driver has them: nothing here needs converting.
        raw: list[Raw] = list(connection.execute(self.query).cursor.fetchall())
        self._mark = mark
        if raw == self._raw:
            return False
        self._take(raw)
        return True

    def _take(self, raw: list[Raw]) -> None:
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
        here = _REPLICAS.c.backend.not_in(OF_A_HOST) | (_REPLICAS.c.host == host)
        self._endpoints = _table(_ENDPOINTS, "name", _as_it_is, [_ENDPOINTS.c.name])
        self._weights = _table(_WEIGHTS, "endpoint", _as_it_is, [])
        self._counts = _table(_COUNTS, "endpoint", _as_it_is, [_COUNTS.c.endpoint, _COUNTS.c.version])
        self._variants = _table(_VARIANTS, "endpoint", rows.variant_of, [_VARIANTS.c.id])
        self._replicas = _table(_REPLICAS, "endpoint", _replica, [_REPLICAS.c.created_at, _REPLICAS.c.id])
        self._replicas.query = self._replicas.query.where(here)
        named = ("id", "model", "version", "digest", "label", "created_at", "acceleration")
        self._versions = _Rows([_VERSIONS.c[name] for name in named], "model", _version)
        self._versions.query = self._versions.query.where(_VERSIONS.c.model.in_(select(_ENDPOINTS.c.model)))
        of_endpoints = self._endpoints, self._weights, self._counts, self._variants, self._replicas
        self._of_endpoints: tuple[_Rows[Any], ...] = of_endpoints
        self._turns = cycle(one.table for one in (*self._of_endpoints, self._versions))
        self._default = default
        self._forms: dict[str, Forms] = {}
        self._fleets: dict[str, tuple[_Parts, LoadedFleet]] = {}
        self._facts: dict[tuple[str, str], tuple[Any, VersionFacts]] = {}
        self.generation = 0
        """Grows when a version of a model that is served is new, gone or another than before."""

    def read(self, tx: Session) -> list[LoadedFleet]:
        """By name. What nothing has changed of is the very object that was returned before."""
        connection, due = tx.connection(), next(self._turns)
        marks = {table: (count, stamps) for table, count, stamps in connection.execute(_MARKS)}
        changed = [one.refresh(connection, marks[one.table], anyway=one.table == due) for one in self._of_endpoints]
        served = frozenset(row.model for (row,) in self._endpoints.groups.values())
        of_versions = marks[self._versions.table], served
        if self._versions.refresh(connection, of_versions, anyway=self._versions.table == due):
            self._note_forms()
            changed.append(True)
        if any(changed):
            self._fleets = {name: self._fleet(name, row) for name, (row,) in self._endpoints.groups.items()}
        return [fleet for _, fleet in self._fleets.values()]

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


def _table(table: Table, group: str, decode: Callable[[_Row], T], order: Iterable[ColumnElement[Any]]) -> _Rows[T]:
    others = [one for one in table.c if not one.primary_key and one is not table.c.stamp]
    found = _Rows([*table.primary_key.columns, *others], group, decode)
    found.query = found.query.order_by(*order)
    return found


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
