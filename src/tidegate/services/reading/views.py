"""Rows as the REST shapes that clients see; called inside the transaction that read the rows."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from sqlalchemy.orm import Session

from tidegate.core.endpoints.effective import AutomatedWeights, Effective, Share, shares_of
from tidegate.core.endpoints.serving import settings_of
from tidegate.core.endpoints.shadow import is_live, replicas_for
from tidegate.core.engines.capabilities import POOLED
from tidegate.core.engines.placement import Placement, placed
from tidegate.core.reconcile.fleet import LIVE
from tidegate.core.scaling.policy import Scaling
from tidegate.store.endpoints import endpoints as endpoint_rows
from tidegate.store.endpoints.automation import effective_of, readable_scaling_of
from tidegate.store.endpoints.shadows import shadow_of
from tidegate.store.fleet.fleet import engine_scaling_of, placement_of, placement_request_of, routed_split_of
from tidegate.store.models import models as model_rows
from tidegate.store.tables import (
    EndpointRow,
    FailedReplicaRow,
    FollowRow,
    HistoryRow,
    JobRow,
    ModelRow,
    ReplicaRow,
    VariantRow,
    VersionRow,
)
from tidegate.wire import rest
from tidegate.wire.endpoints.registering import FollowState
from tidegate.wire.experiments.shadows import ShadowSummary
from tidegate.wire.gateways.load import LoadView
from tidegate.wire.parts import AnsweredView, AutomationView

AnsweredOf = Callable[[str, str], AnsweredView | None]
LoadOf = Callable[[str, Sequence[str]], LoadView | None]


def version_view(row: VersionRow, aliases: Sequence[str] = (), *, in_short: bool = False) -> rest.Version:
    """One version; `aliases` come from the registry. `in_short` without what is large, and has a page of its own."""
    large = {} if in_short else _large(row)
    return rest.Version(
        version=row.version,
        label=row.label,
        digest=row.digest,
        status="ready",
        score=row.validation.get("score"),
        accelerated=row.acceleration.get("kept"),
        tags=row.tags,
        metric=row.validation.get("metric"),
        framework=row.framework,
        description=row.description,
        run_id=row.run_id,
        aliases=sorted(aliases),
        pickle_granted=row.pickle_granted,
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        **large,
    )


def _large(row: VersionRow) -> dict[str, Any]:
    return {
        "signature": row.signature,
        "validation": row.validation,
        "acceleration": row.acceleration,
        "example": row.example,
    }


def model_view(
    row: ModelRow, versions: Sequence[VersionRow], aliases: dict[str, tuple[str, ...]], *, in_short: bool = False
) -> rest.Model:
    """A model with these versions; `aliases` maps version numbers to the registry's aliases."""
    return rest.Model(
        name=row.name,
        versions=[version_view(one, aliases.get(one.version, ()), in_short=in_short) for one in versions],
        description=row.description,
        pickle_trusted=row.pickle_trusted,
        version_count=len(versions),
    )


@dataclass(frozen=True)
class EndpointParts:
    """What views of endpoints show beside the endpoints' own rows."""

    variants: Mapping[str, Sequence[VariantRow]]  # by endpoint
    replicas: Mapping[str, Sequence[ReplicaRow]]  # by endpoint
    labels: Mapping[tuple[str, str], str | None]  # by model and version
    examples: Mapping[tuple[str, str], Any]  # by model and version, of those that have most of an endpoint's traffic


def parts_of(tx: Session, rows: Sequence[EndpointRow]) -> EndpointParts:
    """For all of these endpoints, with one query each."""
    names, models = [row.name for row in rows], {row.model for row in rows}
    return EndpointParts(
        endpoint_rows.variants_by_endpoint(tx, names),
        endpoint_rows.replicas_by_endpoint(tx, names),
        model_rows.labels(tx, models),
        model_rows.examples(tx, ((row.model, main) for row in rows if (main := _main(effective_of(row))) is not None)),
    )


def _main(now: Effective) -> str | None:
    return max(now.traffic, key=now.traffic.__getitem__, default=None)


def endpoint_view(row: EndpointRow, parts: EndpointParts, gateway_url: str, default: Placement) -> rest.Endpoint:
    """An endpoint with its variants, heaviest first; `default` is where replicas run that nobody placed."""
    placement = placed(placement_request_of(row), default)
    status, reason = _status(row)
    now, (follows, unreadable) = effective_of(row), readable_scaling_of(row)
    return rest.Endpoint(
        name=row.name,
        url=f"{gateway_url}/predict/{row.name}",
        status=status,
        reason="; ".join(filter(None, (reason, unreadable))),
        traffic=row.routed,
        variants=_variants(row, now, parts, placement),
        target=now.traffic,
        asked=row.traffic,
        automation=None if now.weights is None else _automation_view(now.weights, row.revision),
        generation=row.generation,
        observed_generation=row.observed_generation,
        model=row.model,
        revision=row.revision,
        example=parts.examples.get((row.model, _main(now) or "")),
        created_at=row.created_at,
        backend=placement.backend,
        cpus=placement.cpus,
        memory_bytes=placement.memory_bytes,
        cpu_request=placement.cpu_request,
        memory_request_bytes=placement.memory_request_bytes,
        follow=None if row.follow is None else _follow_view(row.follow, row.traffic),
        scaling=None if follows is None else scaling_view(follows),
        shadow=shadow_summary(row, {one.version: one for one in parts.variants.get(row.name, ())}),
        **settings_of(row),
    )


def shadow_summary(row: EndpointRow, variants: Mapping[str, VariantRow]) -> ShadowSummary | None:
    """The version that listens, with its status; None where none does. `variants` are status rows by version."""
    shadow = shadow_of(row)
    if shadow is None:
        return None
    known = variants.get(shadow.version)
    status, reason = ("starting", "") if known is None else (known.status, known.reason)
    if status in ("idle", "stopping"):  # as it was before it listened: the loop has not looked yet
        status, reason = "starting", ""
    return ShadowSummary(shadow.version, shadow.share, shadow.since, status, reason)


def scaling_view(follows: Scaling) -> rest.ScalingView:
    """How replicas follow the load."""
    windows = follows.stable_s, follows.panic_s, follows.down_s, follows.idle_s
    bounds = follows.min_replicas, follows.max_replicas, follows.metric, follows.target
    return rest.ScalingView(*bounds, *windows, follows.autoscaler)


def with_traffic(view: rest.Endpoint, answered: AnsweredOf, load: LoadOf) -> rest.Endpoint:
    """The same with what gateways tell of its requests: of each version, and of the endpoint as a whole."""
    name = view.name
    variants = [
        replace(one, answered=answered(name, one.version), load=load(name, [one.version])) for one in view.variants
    ]
    return replace(view, variants=variants, load=load(name, ["", *(one.version for one in variants)]))


def _automation_view(weights: AutomatedWeights, revision: int) -> AutomationView:
    split = weights.split
    return AutomationView(
        kind=weights.kind,
        name=weights.name,
        revision=min(weights.revision, revision),
        stable=dict(weights.stable),
        shares={share.variant: share.weight for share in split.shares if share.weight > 0},
        coverage=split.coverage,
        uncovered=split.uncovered,
        phase=split.phase,
        salt=split.salt,
    )


def _follow_view(row: FollowRow, traffic: dict[str, float]) -> rest.FollowView:
    held = row.state == "current" and row.version not in traffic
    return rest.FollowView(
        alias=row.alias,
        version=row.version,
        state="held" if held else cast(FollowState, row.state),
        reason="rolled back since; moves on when the alias is moved" if held else row.reason,
        job=row.job,
        changed_at=row.changed_at,
        trouble=row.trouble,
    )


def _why_behind(row: EndpointRow) -> str:
    """Why an endpoint is not where the alias that it follows is."""
    follow = row.follow
    if follow is None:
        return ""
    if follow.reason:
        return f"does not follow @{follow.alias} to version {follow.version}: {follow.reason}"
    return f"@{follow.alias} cannot be followed now: {follow.trouble}" if follow.trouble else ""


def _status(row: EndpointRow) -> tuple[rest.EndpointStatus, str]:
    if row.deleted_at is not None:
        return "deleting", row.reason
    # The status row speaks of the generation the loop saw last; a newer one is being deployed, whatever that says.
    if row.observed_generation < row.generation:
        return "deploying", _why_behind(row)
    return cast(rest.EndpointStatus, row.status), row.reason or _why_behind(row)


def _variants(row: EndpointRow, now: Effective, parts: EndpointParts, placement: Placement) -> list[rest.VariantView]:
    """Those that are routed, those that shall be, and versions that still have a status row, each under its number."""
    known = {variant.version: variant for variant in parts.variants.get(row.name, ())}
    # Those that run where they no longer should serve until others do, and are not what was asked for.
    replicas = [one for one in parts.replicas.get(row.name, ()) if placement_of(one) == placement]
    routed = {_place(one): one.weight for one in shares_of(row.routed, routed_split_of(row))}
    target = {_place(one): one.weight for one in shares_of(now.traffic, now.split)}
    shown = routed | target
    others = known.keys() - {version for _, version in shown}
    views = [
        replace(
            _of_version(
                row,
                version,
                known.get(version),
                _wanted(row, now, version, replicas, placement),
                replicas,
            ),
            name=name,
            managed_by=placement.backend if placement.backend in POOLED else None,
            weight=routed.get((name, version), 0.0),
            target_weight=target.get((name, version), 0.0),
            label=parts.labels.get((row.model, version)),
        )
        for name, version in [*shown, *((version, version) for version in others)]
    ]
    return sorted(views, key=lambda view: (-view.weight, -view.target_weight, -int(view.version), view.name))


def _wanted(
    row: EndpointRow, now: Effective, version: str, replicas: Sequence[ReplicaRow], placement: Placement
) -> int:
    """As many as are shown when all are there: a pool shows one, and an engine that counts them itself what it has."""
    if placement.backend in POOLED:
        return 1
    if (by_engine := engine_scaling_of(row)) is not None:
        return max(by_engine.min, sum(one.version == version and one.state in LIVE for one in replicas))
    shadow = shadow_of(row)
    if shadow is None or version != shadow.version or is_live(version, row.routed, now.traffic):
        return now.wanted(version)
    return replicas_for(shadow.share, map(now.wanted, row.routed or now.traffic))


def _place(share: Share) -> tuple[str, str]:
    return share.variant, share.version


def _of_version(
    row: EndpointRow,
    number: str,
    variant: VariantRow | None,
    wanted: int,
    replicas: Sequence[ReplicaRow],
) -> rest.VariantView:
    """What all variants of a version share."""
    ready = sum(replica.version == number and replica.state == "ready" for replica in replicas)
    runs = row.deleted_at is None and (variant is None or variant.status != "stopping")
    return rest.VariantView(
        version=number,
        weight=0.0,
        status=cast(rest.VariantStatus, variant.status) if variant else "starting",
        reason=variant.reason if variant else "",
        replicas=rest.ReplicaCount(wanted if runs else 0, ready),
        restarts=variant.restarts if variant else 0,
        given_up=variant is not None and variant.quarantined_generation is not None,
    )


def history_view(row: HistoryRow) -> rest.HistoryEntry:
    """One change of an endpoint."""
    return rest.HistoryEntry(
        revision=row.revision,
        at=row.at,
        action=row.action,
        traffic=row.traffic,
        actor=row.actor,
        restores=row.restores,
        replicas=row.replicas,
        note=row.note,
        id=row.id,
        endpoint_id=row.endpoint_uid,
        generation=row.generation,
        automated=row.automated,
    )


def failure_view(row: FailedReplicaRow) -> rest.ReplicaFailure:
    """How a replica failed."""
    code = row.exit_code
    kind = cast(Literal["start", "crash"], row.kind)
    if code is not None and code < 0:
        return rest.ReplicaFailure(row.at, kind, row.cause, signal=_signal_name(-code))
    return rest.ReplicaFailure(row.at, kind, row.cause, exit_code=code)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def job_view(row: JobRow) -> rest.Job:
    """One job with its log."""
    return rest.Job(
        id=row.id,
        kind=cast(rest.JobKind, row.kind),
        state=cast(rest.JobState, row.state),
        progress=row.progress,
        message=row.message,
        subject=row.subject,
        result=row.result,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempts=row.attempts,
        log=row.log,
        asked_by=row.asked_by or "",
        cancelled_by=row.cancelled_by or "",
    )
