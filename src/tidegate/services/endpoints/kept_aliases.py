"""`champion` and `challenger` in the registry, in step with promotions: wanted in their transaction, written later.

A registry that is away delays no promotion: what it is to be told waits in a row, and loops/follow tells it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import part_of_platform
from tidegate.core.backoff import Backoff
from tidegate.core.endpoints.effective import AutomatedWeights
from tidegate.core.endpoints.kept_aliases import (
    CHALLENGER,
    CHAMPION,
    challenger_of,
    champion_after,
    keeps_aliases,
    may_write,
)
from tidegate.core.ports import Registry
from tidegate.errors import TidegateError, UnknownModel, UnknownVersion
from tidegate.store import audit
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import kept_aliases as rows
from tidegate.store.tables import EndpointRow
from tidegate.store.tables.aliases import KeptAliasRow

_log = logging.getLogger(__name__)
AGAIN = Backoff(first_s=2.0, longest_s=300.0)


def after_change(tx: Session, row: EndpointRow, action: str, now: float) -> None:
    """People changed the traffic, or a promotion did: the champion follows, and nobody is tried any more."""
    if not keeps_aliases(row.name, row.model):
        return
    kept = rows.get(tx, row.model, CHAMPION)
    champion = champion_after(row.traffic, action, is_kept=kept is not None)
    if champion is not None:
        _want(tx, row, (CHAMPION, champion), action, now)
    no_challenger(tx, row, action, now)


def begins(tx: Session, row: EndpointRow, weights: AutomatedWeights, action: str, now: float) -> None:
    """An automation tries a version, or takes its next step with it."""
    if keeps_aliases(row.name, row.model) and (tried := challenger_of(weights)):
        _want(tx, row, (CHALLENGER, tried), action, now)


def no_challenger(tx: Session, row: EndpointRow, action: str, now: float) -> None:
    """No version is tried any more."""
    if rows.get(tx, row.model, CHALLENGER) is not None and keeps_aliases(row.name, row.model):
        _want(tx, row, (CHALLENGER, ""), action, now)


def _want(tx: Session, row: EndpointRow, named: tuple[str, str], action: str, now: float) -> None:
    alias, version = named
    kept = rows.get(tx, row.model, alias)
    if kept is not None and kept.version == version and action != "promote":
        return
    insisted = kept is not None and kept.pending and kept.insists
    if kept is None:
        kept = KeptAliasRow(model=row.model, alias=alias, written="")
        tx.add(kept)
    kept.endpoint, kept.version, kept.pending = row.name, version, True
    kept.insists = bool(version) and (insisted or action == "promote" or alias == CHALLENGER)
    kept.reason = f"{action} of endpoint {row.name}"
    kept.attempts, kept.retry_at, kept.trouble, kept.changed_at = 0, 0.0, "", now


def is_ours(tx: Session, model: str, alias: str, version: str) -> bool:
    """Whether the alias names this version because Tidegate moved it there."""
    kept = rows.get(tx, model, alias)
    return kept is not None and version in (kept.version, kept.written)


def let_go(tx: Session, model: str, alias: str) -> None:
    """Somebody else moved it: it is theirs until the next promotion."""
    kept = rows.get(tx, model, alias)
    if kept is not None and not kept.pending:
        tx.delete(kept)


@dataclass(frozen=True)
class _Due:
    """What the registry is to be told, as it was read."""

    model: str
    alias: str
    endpoint: str
    version: str
    written: str
    insists: bool
    reason: str
    changed_at: float


@dataclass(frozen=True)
class KeptAliases:
    """The use cases of loops/follow. `on` is false where the setting says that aliases are people's alone."""

    store: Store
    registry: Registry
    clock: Clock
    on: bool = True

    def write(self) -> None:
        """Tell the registry what is due. What goes wrong with one waits, and leaves the others alone."""
        now = self.clock()
        with self.store.reading() as tx:
            due = [_due(row) for row in rows.due(tx, now)]
        if not due:
            return
        if not self.on:
            with self.store.transaction() as tx:
                rows.forget_all(tx)
            return
        for one in due:
            self._write(one)

    def _write(self, one: _Due) -> None:
        try:
            was = self._named(one)
            if not may_write(was, one.written, insists=one.insists):
                _log.info("@%s of %s names %s by somebody else: it stays", one.alias, one.model, was or "nothing")
                return self._done(one, None)
            self._tell(one, was)
        except (UnknownModel, UnknownVersion) as error:  # it is gone there: nothing is left to be in step with
            _log.warning("@%s of %s is not moved: %s", one.alias, one.model, error.message)
            return self._done(one, None)
        except TidegateError as error:
            return self._again(one, error)
        return self._done(one, was)

    def _named(self, one: _Due) -> str:
        """The version that the alias names now; "" where there is no such alias."""
        aliases = {alias: entry.version for entry in self.registry.versions(one.model) for alias in entry.aliases}
        return aliases.get(one.alias, "")

    def _tell(self, one: _Due, was: str) -> None:
        if was == one.version:
            return
        if one.version:
            self.registry.set_alias(one.model, one.alias, one.version)
        else:
            self.registry.delete_alias(one.model, one.alias)

    def _done(self, one: _Due, was: str | None) -> None:
        """It was told, or (`was` None) it is not ours to move."""
        with self._still(one) as (tx, row):
            if row is None:
                return
            if was is None or not one.version:
                tx.delete(row)
            else:
                row.written, row.pending, row.trouble, row.attempts = one.version, False, "", 0
            if was is not None and was != one.version:
                values = {f"@{one.alias}": (was or None, one.version or None)}
                change = audit.AuditedChange("alias", "model", one.model, values, one.reason)
                audit.record(tx, part_of_platform(one.endpoint), self.clock(), change)

    def _again(self, one: _Due, error: TidegateError) -> None:
        _log.warning("@%s of %s cannot be moved now, and is later: %s", one.alias, one.model, error.message)
        with self._still(one) as (_, row):
            if row is not None:
                row.attempts += 1
                row.retry_at = self.clock() + AGAIN.delay_s(row.attempts, 0.0)
                row.trouble = error.message

    @contextmanager
    def _still(self, one: _Due) -> Iterator[tuple[Session, KeptAliasRow | None]]:
        """The row, unless it was changed meanwhile: then the next look tells the registry of that."""
        with self.store.transaction() as tx:
            row = rows.get(tx, one.model, one.alias)
            yield tx, row if row is not None and _due(row) == one else None


def _due(row: KeptAliasRow) -> _Due:
    return _Due(row.model, row.alias, row.endpoint, row.version, row.written, row.insists, row.reason, row.changed_at)
