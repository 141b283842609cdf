"""Holds an experiment from outside: because of an alert it goes no step further, until a person resumes it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from tidegate.services.experiments import weights
from tidegate.store.endpoints.endpoints import add_note
from tidegate.store.endpoints.history import Entry
from tidegate.store.experiments import experiments as rows
from tidegate.store.tables import EndpointRow

WHY_CHARS_MAX = 300


def hold(tx: Session, endpoint: EndpointRow, why: str, now: float) -> str | None:
    """Hold the experiment that runs on an endpoint, in the caller's transaction; its name in words, None without one.

    Its ramp goes no step further and nothing is promoted by itself. What breaches a guardrail is rolled back all the
    same. One that is paused, or held already, stays as it is.
    """
    running = next((row for row in rows.of_endpoint(tx, endpoint.uid) if row.state in ("running", "paused")), None)
    if running is None or not weights.is_in_effect(endpoint, running):
        return None
    if running.state == "running" and not running.held:
        running.held, running.turn = why[:WHY_CHARS_MAX], running.turn + 1
        add_note(tx, endpoint, Entry(weights.KIND, now, weights.actor_of(running), note=f"held: {running.held}"))
    return weights.actor_of(running)
