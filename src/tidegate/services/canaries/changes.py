"""What becomes of a canary's row and of its endpoint, in one transaction: it begins, takes a step, or ends.

Called for people (`use_cases`) and at the loop's looks (`looking`) alike.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from sqlalchemy.orm import Session

from tidegate.core.canary.split import step_weights
from tidegate.services.canaries.views import present_step
from tidegate.services.endpoints import automated
from tidegate.store.experiments import rollouts
from tidegate.store.experiments.canaries import parts_of
from tidegate.store.tables import EndpointRow
from tidegate.store.tables.canaries import CanaryRow
from tidegate.wire.experiments.canary import CanaryState

BY_PEOPLE = "aborted by"
"""How the reason begins where a person ended it."""
Outcome = Literal["promoted", "aborted", "failed", "ended"]
REASON_CHARS_MAX = 1000


def is_in_effect(canary: CanaryRow, row: EndpointRow | None) -> bool:
    """Whether the canary sets its endpoint's weights: people, or another automation, have not ended it."""
    if row is None or row.uid != canary.endpoint_uid or row.deleted_at is not None:
        return False
    return automated.in_effect(row, "canary", parts_of(canary).name) is not None


def set_step(tx: Session, canary: CanaryRow, row: EndpointRow, step: int, why: str, now: float) -> bool:
    """Put a step's weights in effect; False where that comes too late."""
    weights = step_weights(parts_of(canary), canary.steps[step], step)
    note = f"{canary.steps[step]:g} % of the traffic to version {canary.version}" + (f": {why}" if why else "")
    if not automated.begin_or_step(tx, row, weights, action="canary", note=note, now=now):
        return False
    if step != canary.step:
        canary.past = [*canary.past, asdict(present_step(canary, now))]
        before = canary.requests
        canary.requests = {
            "answered_before": before.get("answered_before", 0) + before.get("answered", 0),
            "affected_before": before.get("affected_before", 0) + before.get("affected", 0),
        }
    canary.step, canary.step_set_at, canary.routed_at = step, now, None
    return True


def promote(tx: Session, canary: CanaryRow, row: EndpointRow, *, by: str, why: str, now: float) -> None:
    """All traffic to the version, as if people had asked for it. Raises as `automated.promote`."""
    automated.promote(tx, row, canary.version, by=by, note=f"canary of version {canary.version}: {why}", now=now)
    rollouts.count(tx, row, "canary", "promoted")
    rollouts.write_guardrails(tx, row, ())
    end(canary, "promoted", why, now)


@dataclass(frozen=True)
class Ending:
    """How a canary ends that is not promoted, who ends it, and why."""

    outcome: Outcome
    by: str
    why: str


def restore(tx: Session, canary: CanaryRow, row: EndpointRow, ending: Ending, now: float) -> None:
    """Back to stable, whatever step it was at."""
    note = f"canary of version {canary.version} {ending.outcome}: {ending.why}"
    automated.restore(tx, row, by=ending.by, note=note, now=now)
    rollouts.count(tx, row, "canary", "rolled_back" if ending.outcome in ("aborted", "failed") else "stopped")
    rollouts.write_guardrails(tx, row, ())
    end(canary, ending.outcome, ending.why, now)


def end(canary: CanaryRow, outcome: Outcome, why: str, now: float) -> None:
    """It is over; its row is kept."""
    state: CanaryState = outcome
    canary.reason = why[:REASON_CHARS_MAX]
    if canary.kind == "canary":
        canary.past = [*canary.past, asdict(present_step(canary, now))]
    canary.state, canary.ended_at, canary.next, canary.next_at = state, now, "", None
