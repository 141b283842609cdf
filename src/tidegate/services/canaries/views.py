"""Rows of canaries and guards as people see them."""

from __future__ import annotations

from typing import cast

from tidegate.store.experiments.canaries import past_of, views_of
from tidegate.store.tables.canaries import CanaryRow
from tidegate.wire.experiments.canary import CanaryKind, CanaryState, CanaryStep, CanaryView


def canary_view(row: CanaryRow) -> CanaryView:
    """Where it is, what was found at the last look, and the steps so far with the present one."""
    active = row.ended_at is None
    weight = float(row.steps[row.step])
    shown = past_of(row)
    if active and row.kind == "canary":
        shown.append(present_step(row, None))
    return CanaryView(
        endpoint=row.endpoint,
        kind=cast(CanaryKind, row.kind),
        version=row.version,
        stable=dict(row.stable),
        state=cast(CanaryState, row.state),
        step=row.step,
        steps=[float(step) for step in row.steps],
        weight=weight if active else 100.0 if row.state == "promoted" else 0.0,
        every_s=row.every_s,
        started_at=row.started_at,
        step_since=row.routed_at or row.step_set_at,
        next_at=row.next_at if active else None,
        reason=row.reason,
        next=row.next if active else "",
        guardrails=views_of(row),
        history=shown,
        looked_at=row.looked_at,
        ended_at=row.ended_at,
    )


def present_step(row: CanaryRow, until: float | None) -> CanaryStep:
    """The step that it is at, with what was counted at the last look."""
    return CanaryStep(
        weight=float(row.steps[row.step]),
        since=row.routed_at or row.step_set_at,
        until=until,
        requests=row.requests.get("requests", 0),
        requests_stable=row.requests.get("requests_stable", 0),
        reason=row.reason,
    )
