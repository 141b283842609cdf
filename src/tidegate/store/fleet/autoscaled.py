"""Endpoints whose replicas follow the load, as the autoscaler's loop reads them: what is asked for, what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import null, select
from sqlalchemy.orm import Session

from tidegate.core.endpoints.effective import AutomatedReplicas, Effective
from tidegate.core.engines.capabilities import OF_A_HOST, TIDEGATE
from tidegate.core.engines.placement import Placement, placed
from tidegate.core.ports import Handle
from tidegate.core.scaling.policy import Scaling
from tidegate.store.endpoints.automation import EndpointSeen, automated_of, effective_of, scaling_of, seen_of
from tidegate.store.endpoints.endpoints import replicas_by_endpoint, variants_by_endpoint
from tidegate.store.endpoints.shadows import shadow_of
from tidegate.store.fleet.fleet import placement_of, placement_request_of
from tidegate.store.tables import EndpointRow, ReplicaRow, VariantRow

_STARTS_LOOKED_AT = 5
_START_S_MAX = 900.0
"""Far longer than replicas take: the clock was set meanwhile, or it waited for an image."""


@dataclass(frozen=True)
class RunningVersion:
    """The ready replicas of one version by id, and how long such a one took to start; None where none has."""

    ready: dict[str, Handle]
    cold_start_s: float | None


@dataclass(frozen=True)
class Autoscaled:
    """`target` and `routed` are percent of the traffic by version, `counts` what the autoscaler wrote and is in effect.

    `previous` are versions without traffic that still run.
    """

    seen: EndpointSeen
    spec: Scaling
    now: Effective
    routed: dict[str, float]
    counts: dict[str, AutomatedReplicas]
    previous: tuple[str, ...]
    running: dict[str, RunningVersion]
    placement: Placement

    @property
    def target(self) -> dict[str, float]:
        return {version: percent for version, percent in self.now.traffic.items() if percent > 0}


def autoscaled(tx: Session, default: Placement, host: str) -> tuple[list[Autoscaled], dict[str, Exception]]:
    """All of them, but those that are being deleted or that an engine scales; and why one cannot be read, as after a
    newer release, by name.

    Of replicas that belong to one host those of this `host`.
    """
    wanted = select(EndpointRow).where(EndpointRow.scaling.is_not(null()), EndpointRow.deleted_at.is_(None))
    rows = list(tx.scalars(wanted.order_by(EndpointRow.name)))
    names = [row.name for row in rows]
    variants, replicas = variants_by_endpoint(tx, names), replicas_by_endpoint(tx, names)
    found, unread = [], {}
    for row in rows:
        here = [one for one in replicas.get(row.name, ()) if one.backend not in OF_A_HOST or one.host == host]
        try:
            spec, placement = scaling_of(row), placed(placement_request_of(row), default)
            if spec is not None and spec.autoscaler == TIDEGATE:
                found.append(_autoscaled(row, spec, placement, variants.get(row.name, ()), here))
        except Exception as error:
            unread[row.name] = error
    return found, unread


def _autoscaled(
    row: EndpointRow,
    spec: Scaling,
    placement: Placement,
    variants: Sequence[VariantRow],
    replicas: Sequence[ReplicaRow],
) -> Autoscaled:
    now, written = effective_of(row), automated_of(row).replicas
    active = {version for version, percent in (*now.traffic.items(), *row.routed.items()) if percent > 0}
    shadow = shadow_of(row)  # which has as many replicas as its share takes, and no load of its own
    versions = {*active, *(one.version for one in variants if shadow is None or one.version != shadow.version)}
    mine = [one for one in replicas if placement_of(one) == placement]
    return Autoscaled(
        seen=seen_of(row),
        spec=spec,
        now=now,
        routed={version: percent for version, percent in row.routed.items() if percent > 0},
        counts={version: written[version] for version in now.counts},
        previous=tuple(sorted(versions - active)),
        running={version: _running([one for one in mine if one.version == version]) for version in versions},
        placement=placement,
    )


def _running(replicas: Sequence[ReplicaRow]) -> RunningVersion:
    ready = [one for one in replicas if one.state == "ready"]
    newest = sorted(ready, key=lambda one: one.created_at)[-_STARTS_LOOKED_AT:]
    took = [one.ready_at - one.created_at for one in newest if one.ready_at is not None]
    sound = [seconds for seconds in took if 0 <= seconds <= _START_S_MAX]  # the clock may have been set meanwhile
    return RunningVersion(
        {one.id: Handle(one.backend, one.handle) for one in ready if one.handle}, median(sound) if sound else None
    )
