"""Begins to watch a version that was deployed, in the transaction of the deployment. What it comes to: loops/canary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from tidegate.store.endpoints.automation import effective_of
from tidegate.store.experiments import canaries as rows
from tidegate.store.tables import EndpointRow
from tidegate.store.tables.canaries import CanaryRow
from tidegate.wire.parts import AnsweredView


@dataclass(frozen=True)
class Guarding:
    """`watch_s` is how long a version is watched, 0: not at all. `answered`: how requests to a version ended lately."""

    watch_s: float = 0.0
    answered: Callable[[str, str], AnsweredView | None] = lambda _endpoint, _version: None


def stable_of(row: EndpointRow) -> dict[str, float]:
    """What is stable now, which a guard would go back to: what an automation calls so, else people's traffic."""
    weights = effective_of(row).weights
    return dict(row.traffic if weights is None else weights.stable)


def begin_guard(tx: Session, row: EndpointRow, stable: Mapping[str, float], by: str, how: Guarding, now: float) -> None:
    """Watch the version that has all traffic of `row` from now on; nothing where there is nothing to go back to.

    Where the version that is watched is deployed again, its guard goes on: what was before it is still that.
    """
    (version,) = row.traffic
    if how.watch_s <= 0 or not stable:
        return
    if dict(stable) == dict(row.traffic):
        for running in rows.active_of(tx, row.uid):
            if running.kind == "guard" and running.version == version:
                running.revision = row.traffic_revision
        return
    before = [how.answered(row.name, one) for one in stable]
    known = [one for one in before if one is not None]
    rows.add(
        tx,
        CanaryRow(
            endpoint_uid=row.uid,
            endpoint=row.name,
            kind="guard",
            version=version,
            baseline="",
            stable=dict(stable),
            steps=[100.0],
            every_s=how.watch_s,
            guardrails=[],
            salt="",
            revision=row.traffic_revision,
            started_at=now,
            begun_by=by[:255],
            state="running",
            step=0,
            step_set_at=now,
            reason="it is watched",
            next="it is left alone when nothing happened",
            views=[],
            past=[],
            requests={
                "requests": sum(one.requests for one in known),
                "failed": sum(one.failed for one in known),
                "timed_out": sum(one.timed_out for one in known),
                "non_finite": sum(one.non_finite for one in known),
            },
        ),
    )
