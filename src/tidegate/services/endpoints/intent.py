"""People's changes beside automations: what a change ends, what a rollback goes back to, and what history tells.

Called by `services.endpoints.lifecycle`, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from tidegate.errors import AutomationRunning, Conflict
from tidegate.services.reading.lookup import endpoint_or_raise
from tidegate.store.endpoints import history as history_rows
from tidegate.store.endpoints.automation import effective_of
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.models import models as model_rows
from tidegate.store.tables import EndpointRow, HistoryRow

HISTORY_PAGE = 100


@dataclass(frozen=True)
class Restored:
    """Traffic to go back to, and the revision that had it, where history still has that."""

    traffic: dict[str, float]
    revision: int | None


def ended_by(row: EndpointRow, *, end: bool) -> str:
    """The automation of weights that a change of traffic ends, for its history; "" where none is in effect.

    Raises `AutomationRunning` where one is and the caller did not say that it may be ended.
    """
    running = effective_of(row).weights
    if running is None:
        return ""
    if not end:
        raise AutomationRunning(
            f"{running.kind} {running.name!r} sets the traffic of endpoint {row.name!r}: it is ended, and this change "
            "made, with --end-automation (REST: end_automation); 'tidegate rollback' ends it and restores what was "
            "stable",
            endpoint=row.name,
            automation=running.kind,
            name=running.name,
        )
    return f"ends {running.kind} {running.name}"


def to_restore(row: EndpointRow, history: Sequence[HistoryRow], to: int | None) -> Restored:
    """What a rollback re-applies, of `history` that people made, newest first.

    Revision `to`; without one what is stable while an automation sets the weights, else the newest earlier traffic that
    differs. Raises `Conflict` where there is none.
    """
    if to is not None:
        return _revision(row, history, to)
    running = effective_of(row).weights
    if running is not None:
        return _stable(running.stable, history)
    found = next((entry for entry in history if entry.traffic != row.traffic), None)
    if found is None:
        raise Conflict(
            f"endpoint {row.name!r} has nothing to roll back to: its traffic never changed", endpoint=row.name
        )
    return Restored(found.traffic, found.revision)


def _stable(stable: Mapping[str, float], history: Sequence[HistoryRow]) -> Restored:
    known = next((entry.revision for entry in history if entry.traffic == stable), None)
    return Restored(dict(stable), known)


def _revision(row: EndpointRow, history: Sequence[HistoryRow], to: int) -> Restored:
    found = next((entry for entry in history if entry.revision == to), None)
    if found is None:
        oldest = history[-1].revision if history else row.revision
        raise Conflict(
            f"endpoint {row.name!r} has no revision {to}: it has {oldest} to {row.revision}", endpoint=row.name, to=to
        )
    return Restored(found.traffic, found.revision)


def check_versions_there(tx: Session, row: EndpointRow, back: Restored) -> None:
    """Raises `Conflict` where a version was deleted that the traffic to go back to needs."""
    gone = [number for number in back.traffic if model_rows.get_version(tx, row.model, number) is None]
    if gone:
        what = "what was stable" if back.revision is None else f"revision {back.revision}"
        raise Conflict(
            f"{what} of endpoint {row.name!r} used version {', '.join(gone)} of {row.model!r}, "
            "which has been deleted: name another revision with `to`, or set the traffic",
            endpoint=row.name,
        )


def uid_of(tx: Session, name: str) -> str:
    """Which endpoint a name stands for in history: the one there is, else the last one that had it.

    Raises `UnknownEndpoint` where history remembers none.
    """
    present = get_endpoint(tx, name)
    uid = history_rows.newest_of(tx, name) if present is None else present.uid
    return uid or endpoint_or_raise(tx, name).uid
