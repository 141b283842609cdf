"""Holds a canary from outside: because of an alert it stays at its step, until a person resumes it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from tidegate.services.canaries.changes import REASON_CHARS_MAX, is_in_effect
from tidegate.store.endpoints.endpoints import add_note
from tidegate.store.endpoints.history import Entry
from tidegate.store.experiments import canaries as rows
from tidegate.store.tables import EndpointRow


def hold(tx: Session, endpoint: EndpointRow, why: str, now: float) -> str | None:
    """Pause the canary that runs on an endpoint, in the caller's transaction; its name in words, None without one.

    Its guardrails are watched on, and abort it all the same. One that is paused stays as it is.
    """
    canary = next((one for one in rows.active_of(tx, endpoint.uid) if one.kind == "canary"), None)
    if canary is None or not is_in_effect(canary, endpoint):
        return None
    name = f"canary {rows.parts_of(canary).name}"
    if canary.state == "running":
        canary.state, canary.reason = "paused", f"held: {why}"[:REASON_CHARS_MAX]
        add_note(tx, endpoint, Entry("canary", now, name, note=canary.reason))
    return name
