"""One look at a guard: what gateways say of a version that was deployed, and the way back to stable where it is bad.

Costs nothing but a few rows: gateways' counts are in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import part_of_platform
from tidegate.core.canary.guard import Ended, GuardFacts, by_itself, watch
from tidegate.sequential.exact import log_above
from tidegate.services.audit import endpoint_audited
from tidegate.services.canaries.changes import REASON_CHARS_MAX
from tidegate.services.endpoints.changes import SpecChange, apply
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import history
from tidegate.store.endpoints.automation import effective_of
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import canaries as rows
from tidegate.store.experiments import rollouts
from tidegate.store.models import models as model_rows
from tidegate.store.tables import EndpointRow
from tidegate.store.tables.canaries import CanaryRow
from tidegate.wire.parts import AnsweredView

log = logging.getLogger(__name__)

GUARD = part_of_platform("guard")
AnsweredSince = Callable[[str, str, float], AnsweredView | None]


@dataclass(frozen=True)
class GuardLooks:
    """`store` is the leader's; `answered` tells how requests to a version ended since a moment."""

    store: Store
    answered: AnsweredSince
    clock: Clock
    changed: Callable[[], None]

    def look(self, number: int) -> None:
        """At one guard. Raises what the store raises."""
        now = self.clock()
        with self.store.reading() as tx:
            guard = rows.get(tx, number)
            row = None if guard is None else get_endpoint(tx, guard.endpoint)
            if guard is None or guard.ended_at is not None:
                return
            watched = row is not None and _is_watched(guard, row)
            routed = row is not None and row.routed == {guard.version: 100.0}
            failed = rows.crashes(tx, guard.endpoint, guard.version, guard.started_at)
        if not watched:
            self._forget(number)
            return
        routed_at = guard.routed_at or (now if routed else None)
        if routed_at is not None and guard.routed_at is None:
            self._routed(number, routed_at)
        facts = GuardFacts(
            now=now,
            started_at=guard.started_at,
            routed_at=routed_at,
            ended=None if routed_at is None else _ended(self.answered(guard.endpoint, guard.version, routed_at)),
            before=Ended(**guard.requests),
            crashes=sum(by_itself(one.exit_code) for one in failed),
        )
        decision = watch(facts, guard.every_s, log_above)
        if decision.verdict == "done":
            self._forget(number)
        elif decision.verdict == "rollback":
            self._roll_back(number, decision.reason, now)

    def _forget(self, number: int) -> None:
        """It ends silently: nothing happened, or people changed the traffic."""
        with self.store.transaction() as tx:
            guard = rows.get(tx, number)
            if guard is not None and guard.ended_at is None:
                tx.delete(guard)

    def _routed(self, number: int, at: float) -> None:
        with self.store.transaction() as tx:
            guard = rows.get(tx, number)
            if guard is not None and guard.ended_at is None:
                guard.routed_at = at

    def _roll_back(self, number: int, why: str, now: float) -> None:
        with self.store.transaction() as tx:
            guard = rows.get(tx, number)
            row = None if guard is None else get_endpoint(tx, guard.endpoint)
            if guard is None or guard.ended_at is not None or row is None or not _is_watched(guard, row):
                return
            reason = _restore(tx, guard, row, why, now)
            guard.state, guard.ended_at, guard.looked_at = ("aborted" if not reason else "failed"), now, now
            guard.reason = f"{why}{reason}"[:REASON_CHARS_MAX]
            if not reason:
                rollouts.count(tx, row, "guard", "rolled_back")
        log.warning("%s: version %s is taken back: %s", row.name, guard.version, guard.reason)
        self.changed()


def _restore(tx: Session, guard: CanaryRow, row: EndpointRow, why: str, now: float) -> str:
    """Stable's traffic again, as a rollback by the platform; why not, where one of its versions was deleted."""
    gone = [version for version in guard.stable if model_rows.get_version(tx, row.model, version) is None]
    if gone:
        return f"; stable cannot be restored: version {', '.join(gone)} has been deleted"
    known = next((one.revision for one in history.intended(tx, row) if one.traffic == guard.stable), None)
    note = f"guard of version {guard.version}: {why}"
    change = SpecChange("rollback", dict(guard.stable), actor=GUARD.name, restores=known, note=note)
    with endpoint_audited(tx, row.name, "rollback", GUARD, lambda: now):
        apply(tx, row, change, now)
    return ""


def _is_watched(guard: CanaryRow, row: EndpointRow) -> bool:
    """Whether the deployment still stands: nobody has set the traffic since, and no automation does."""
    return (
        row.uid == guard.endpoint_uid
        and row.deleted_at is None
        and row.traffic_revision == guard.revision
        and effective_of(row).weights is None
    )


def _ended(view: AnsweredView | None) -> Ended | None:
    return None if view is None else Ended(view.requests, view.failed, view.timed_out, view.non_finite)
