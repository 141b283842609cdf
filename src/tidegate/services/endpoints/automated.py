"""What an automation of weights does to its endpoint: begins, takes a step, promotes a version, or gives way again.

Called by what decides experiments and canaries, in the transaction that also writes its own rows; the caller commits,
and wakes the reconcile loop. One automation sets an endpoint's weights at a time.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from tidegate.core.access import part_of_platform
from tidegate.core.endpoints.effective import AutomatedWeights, AutomationKind
from tidegate.errors import AutomationRunning, Conflict, UnknownVersion
from tidegate.services.audit import endpoint_audited
from tidegate.services.endpoints import kept_aliases
from tidegate.services.endpoints.changes import SpecChange, apply
from tidegate.store.endpoints import automation as rows
from tidegate.store.endpoints.automation import effective_of
from tidegate.store.endpoints.history import Entry
from tidegate.store.models import models as model_rows
from tidegate.store.tables import EndpointRow


def in_effect(row: EndpointRow, kind: AutomationKind, name: str) -> AutomatedWeights | None:
    """The weights of this automation, where they are what is in effect: people, or another, have not ended it."""
    running = effective_of(row).weights
    return running if running is not None and (running.kind, running.name) == (kind, name) else None


def check_free(row: EndpointRow, kind: AutomationKind, name: str) -> None:
    """Raises `AutomationRunning` where another automation sets the endpoint's weights."""
    running = effective_of(row).weights
    if running is not None and (running.kind, running.name) != (kind, name):
        raise AutomationRunning(
            f"{running.kind} {running.name!r} sets the traffic of endpoint {row.name!r}, and one automation at a time "
            f"may: wait for its end, or end it ('tidegate rollback {row.name}' restores what was stable)",
            endpoint=row.name,
            automation=running.kind,
            name=running.name,
        )


def begin_or_step(
    tx: Session, row: EndpointRow, weights: AutomatedWeights, *, action: str, note: str, now: float
) -> bool:
    """Put these weights in effect, the automation's first or its next ones; `row` is the endpoint as `tx` reads it.

    Where it begins, versions that were quarantined earlier are tried anew, as by a deployment. False where they come
    too late: people have set the traffic since the revision that `weights` began at, a version is gone, or the endpoint
    is going. Raises `AutomationRunning` where another automation runs, and `InvalidArgument`.
    """
    check_free(row, weights.kind, weights.name)
    begins = in_effect(row, weights.kind, weights.name) is None
    tried = {share.version for share in weights.split.shares} if begins else ()
    entry = Entry(action, now, f"{weights.kind} {weights.name}", note=note, retries=tried)
    written = rows.set_weights(tx, rows.seen_of(row), weights, entry)
    if written:
        kept_aliases.begins(tx, row, weights, action, now)
    return written


def promote(tx: Session, row: EndpointRow, version: str, *, by: str, note: str, now: float) -> None:
    """End the automation that runs by making its winner what people asked for: {version: 100}, a revision of its own.

    A rollback may return to it, and undoes it. `by` (such as "experiment NAME") and `note` say in the history who
    promoted it, and why. Raises `Conflict` where no automation runs any more, so a promotion that was decided on too
    late changes nothing, and `UnknownVersion` for a version that has been deleted.
    """
    if row.deleted_at is not None or effective_of(row).weights is None:
        raise Conflict(
            f"no automation sets the traffic of endpoint {row.name!r} any more: nothing is promoted", endpoint=row.name
        )
    if model_rows.get_version(tx, row.model, version) is None:
        raise UnknownVersion(f"version {version} of {row.model!r} has been deleted: it cannot be promoted")
    with endpoint_audited(tx, row.name, "promote", part_of_platform(by), lambda: now):
        apply(tx, row, SpecChange("promote", {version: 100.0}, actor=by, note=note), now)
        row.automated_weights = None
        tx.flush()


def restore(tx: Session, row: EndpointRow, *, by: str, note: str, now: float, action: str = "rollback") -> bool:
    """End the automation that runs: what people asked for is in effect again. False where it was not in effect."""
    kept_aliases.no_challenger(tx, row, action, now)
    return rows.end_weights(tx, rows.seen_of(row), Entry(action, now, by, note=note))
