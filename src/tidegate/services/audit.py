"""Who changed what: use cases record their changes with it, and it shows what was recorded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.endpoints.serving import settings_of
from tidegate.errors import DiskFull, StoreUnavailable
from tidegate.services.reading.pages import check_page
from tidegate.store import audit as rows
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.tables import AuditRow, EndpointRow, VersionRow
from tidegate.wire import audit as wire

_log = logging.getLogger(__name__)

_NOTHING: Mapping[str, Any] = {}


@contextmanager
def endpoint_audited(tx: Session, name: str, action: str, who: Principal, clock: Clock) -> Iterator[None]:
    """Record what the block makes of an endpoint's spec, in its transaction; nothing where nothing is another."""
    before = _spec(get_endpoint(tx, name))
    yield
    changes = rows.differing(before, _spec(get_endpoint(tx, name)))
    if changes:
        rows.record(tx, who, clock(), rows.AuditedChange(action, "endpoint", name, changes))


def _spec(row: EndpointRow | None) -> dict[str, Any]:
    """What people say an endpoint is to be; nothing of one that is not there."""
    if row is None:
        return {}
    return {
        "model": row.model,
        "revision": row.revision,
        "traffic": row.traffic,
        "replicas": row.replicas,
        "scaling": row.scaling,
        "backend": row.backend,
        "cpus": row.cpus,
        "memory_bytes": row.memory_bytes,
        "cpu_request": row.cpu_request,
        "memory_request_bytes": row.memory_request_bytes,
        **settings_of(row),
        "capture": row.capture or None,
        "shadow": {name: row.shadow[name] for name in ("version", "share")} if row.shadow else None,
        "follows": {"alias": row.follow.alias, **row.follow.options} if row.follow else None,
        "deleting": True if row.deleted_at else None,
    }


@contextmanager
def version_audited(tx: Session, row: VersionRow, action: str, who: Principal, clock: Clock) -> Iterator[None]:
    """Record what the block changes of a version, in its transaction; nothing where nothing is another."""
    before = version_facts(row)
    yield
    change = version_change(action, row, before, version_facts(row))
    if change.changes:
        rows.record(tx, who, clock(), change)


def version_change(
    action: str, row: VersionRow, before: Mapping[str, Any] = _NOTHING, after: Mapping[str, Any] = _NOTHING
) -> rows.AuditedChange:
    """What becomes of a version: of one that is new nothing was before, of one that is removed nothing is after."""
    return rows.AuditedChange(action, "version", f"{row.model}:{row.version}", rows.differing(before, after))


def version_facts(row: VersionRow) -> dict[str, Any]:
    """What the audit tells of a version."""
    kept = ("digest", "label", "tags", "description", "run_id", "pickle_granted")
    facts = {name: getattr(row, name) or None for name in kept}
    gate = {name: row.validation.get(name) for name in ("metric", "score", "min_score")}
    return facts | gate | {"form": row.acceleration.get("kept")}


@contextmanager
def outside_audited(store: Store, change: rows.AuditedChange, who: Principal, clock: Clock) -> Iterator[None]:
    """Record that a change outside the database was started, then whether it was done or failed."""
    outcome: wire.Outcome = "failed"
    with store.transaction() as tx:
        rows.record(tx, who, clock(), replace(change, outcome="started"))
    try:
        yield
        outcome = "done"
    finally:
        with store.transaction() as tx:
            rows.record(tx, who, clock(), replace(change, outcome=outcome))


@dataclass(frozen=True)
class Audit:
    """The use cases behind the API's audit: pages of what was recorded, and logins."""

    store: Store
    clock: Clock

    def page(
        self, limit: int, before: int | None = None, since_s: float | None = None, endpoint: str | None = None
    ) -> wire.AuditPage:
        """Up to `limit` entries, newest first, older than entry `before`.

        Of the last `since_s` seconds, and of one endpoint, where given. Raises `InvalidArgument`.
        """
        check_page(limit)
        since = None if since_s is None else self.clock() - since_s
        with self.store.reading() as tx:
            found = rows.entries(tx, rows.AuditFilter(limit + 1, before, since, endpoint))
        entries = [_entry(row) for row in found[:limit]]
        return wire.AuditPage(entries, entries[-1].id if len(found) > limit else None)

    def login_code(self, who: Principal) -> None:
        """Somebody made a code with which a browser can log in."""
        self._note(who, rows.AuditedChange("login_code", "session", "browser"))

    def login(self, session: str, request_id: str) -> None:
        """A browser logged in: its session begins."""
        self._note(
            Principal("session", session, request_id=request_id), rows.AuditedChange("login", "session", session)
        )

    def logout(self, who: Principal) -> None:
        """A browser's session was ended."""
        self._note(who, rows.AuditedChange("logout", "session", who.name))

    def _note(self, who: Principal, change: rows.AuditedChange) -> None:
        """Record what is kept in no row. While the database is away it is only logged: browsers must get in then."""
        try:
            with self.store.transaction() as tx:
                rows.record(tx, who, self.clock(), change)
        except (StoreUnavailable, DiskFull) as error:
            _log.warning("%s by %s %s is not in the audit: %s", change.action, who.kind, who.name, error)


def _entry(row: AuditRow) -> wire.AuditEntry:
    return wire.AuditEntry(
        id=row.id,
        at=row.at,
        who=wire.Who(cast(wire.PrincipalKind, row.who_kind), row.who),
        action=row.action,
        subject=wire.Subject(cast(wire.SubjectKind, row.subject_kind), row.subject),
        outcome=cast(wire.Outcome, row.outcome),
        changes=row.changes,
        note=row.note,
        request_id=row.request_id,
    )
