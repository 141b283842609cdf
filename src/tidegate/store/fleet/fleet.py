"""Rows of what runs, as the reconciler's values and back. Called by loops/reconcile alone, their only writer."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import cast

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.orm import Session

from tidegate.core.endpoints.effective import Split
from tidegate.core.endpoints.serving import settings_of
from tidegate.core.engines.capabilities import ENGINE
from tidegate.core.engines.placement import AMOUNTS, Placement, PlacementRequest, placed
from tidegate.core.ports import Handle
from tidegate.core.reconcile.fleet import (
    EndpointFacts,
    EndpointStatus,
    Fleet,
    Plan,
    Replica,
    ReplicaState,
    VariantFacts,
    VariantStatus,
)
from tidegate.core.routing.snapshot import VersionFacts
from tidegate.core.workloads import EngineScaling
from tidegate.store.endpoints import history
from tidegate.store.endpoints.automation import effective_of, readable_scaling_of
from tidegate.store.endpoints.shadows import shadow_of
from tidegate.store.tables import EndpointRow, FailedReplicaRow, ReplicaRow, SnapshotRow, VariantRow, VersionRow
from tidegate.wire.decoding import convert
from tidegate.wire.gateways.snapshot import CaptureRules
from tidegate.wire.signature import Signature

SNAPSHOT_ID = 1
REPLACED_BY = "reconcile"
"""Who history says it was that replaced replicas."""
FAILED_KEPT, FAILED_KEPT_OF_A_KIND = 20, 3
LINE_CHARS_MAX = 2000
PAIRS_AT_ONCE = 1000
"""In one query: databases take so many parameters and no more."""


@dataclass(frozen=True)
class LoadedFleet:
    """One endpoint as stored; `handles` has those of replicas that were started."""

    fleet: Fleet
    salt: str
    handles: dict[str, Handle]


def endpoint_of(row: EndpointRow, forms: dict[str, str], default: Placement) -> EndpointFacts:
    """`forms` has, by version of its model, the form that it is served in; `default` is where replicas run that nobody
    placed.
    """
    now, engine_scaling = effective_of(row), engine_scaling_of(row)
    return EndpointFacts(
        name=row.name,
        model=row.model,
        forms=forms,
        traffic=now.traffic,
        split=now.split,
        replicas=now.replicas,
        counts=now.counts,
        shares=None if row.scaling is None or engine_scaling is not None else now.shares,
        engine_scaling=engine_scaling,
        enough=now.enough,
        may_sleep=isinstance(row.scaling, dict) and row.scaling.get("min_replicas") == 0 and engine_scaling is None,
        generation=row.generation,
        retries=dict(row.retries),
        deleted=row.deleted_at is not None,
        status=cast(EndpointStatus, row.status),
        reason=row.reason,
        routed=dict(row.routed),
        routed_split=routed_split_of(row),
        observed_generation=row.observed_generation,
        settings=settings_of(row),
        capture=capture_rules_of(row),
        shadow=shadow_of(row),
        placement=placed(placement_request_of(row), default),
    )


def engine_scaling_of(row: EndpointRow) -> EngineScaling | None:
    """Within which bounds the engine counts the replicas; None where the platform does, or people fixed the number."""
    scaling = readable_scaling_of(row)[0]
    if scaling is None or scaling.autoscaler != ENGINE:
        return None
    return EngineScaling(scaling.min_replicas, scaling.max_replicas, scaling.metric, scaling.target)


def capture_rules_of(row: EndpointRow) -> CaptureRules:
    """What is recorded of its predictions, and for how long."""
    return convert(row.capture, CaptureRules)


def routed_split_of(row: EndpointRow) -> Split | None:
    """The named variants that gateways have; None where each version is one."""
    return convert(row.routed_split, Split) if row.routed_split else None


def placement_request_of(row: EndpointRow) -> PlacementRequest:
    """Where the endpoint is to run, as far as it says so."""
    return PlacementRequest(row.backend, **{name: getattr(row, name) for name in AMOUNTS})


def set_placement(row: EndpointRow | ReplicaRow, where: PlacementRequest | Placement) -> None:
    """Write where it runs."""
    for name in ("backend", *AMOUNTS):
        setattr(row, name, getattr(where, name))


def variant_of(row: VariantRow) -> VariantFacts:
    """The status of one version of an endpoint."""
    return VariantFacts(
        version=row.version,
        status=cast(VariantStatus, row.status),
        reason=row.reason,
        cause=row.cause,
        idle_since=row.idle_since,
        attempts=row.attempts,
        crashes=tuple(row.crashes),
        restarts=row.restarts,
        retry_at=row.retry_at,
        quarantined_generation=row.quarantined_generation,
        waking=bool(row.waking),
    )


def replica_of(row: ReplicaRow) -> Replica:
    """As it is written, before the engine was asked."""
    return Replica(
        id=row.id,
        version=row.version,
        state=cast(ReplicaState, row.state),
        created_at=row.created_at,
        ready_at=row.ready_at,
        unready_since=row.unready_since,
        draining_at=row.draining_at,
        drain_revision=row.drain_revision,
        stopping_at=row.stopping_at,
        address=row.address,
        reason=row.reason,
        form=row.form,
        placement=placement_of(row),
    )


def placement_of(row: ReplicaRow) -> Placement:
    """Where the replica was started, and with what limits."""
    return Placement(row.backend, **{name: getattr(row, name) for name in AMOUNTS})


def save_plan(tx: Session, plan: Plan, now: float, host: str = "") -> None:
    """Write status, variants and replicas as planned; new replicas get their rows before they start (on `host`)."""
    endpoint = plan.fleet.endpoint
    _remember_failed(tx, endpoint, plan)
    tx.execute(delete(ReplicaRow).where(ReplicaRow.id.in_(plan.gone)))
    row = tx.get(EndpointRow, endpoint.name)
    if row is None:
        return
    if plan.removed:
        tx.execute(delete(FailedReplicaRow).where(FailedReplicaRow.endpoint == endpoint.name))
        tx.delete(row)
        return
    row.status, row.reason = endpoint.status, endpoint.reason
    row.routed, row.observed_generation = endpoint.routed, endpoint.observed_generation
    row.routed_split = asdict(endpoint.routed_split) if endpoint.routed_split else {}
    _save_variants(tx, endpoint.name, plan.fleet.variants)
    if plan.replaced:
        note = "; ".join(one.words for one in plan.replaced)
        entry = history.Entry("replace", now, REPLACED_BY, note=note)
        history.add(tx, row, entry, automated=True, traffic=effective_of(row).traffic)
    for replica in plan.fleet.replicas:
        _save_replica(tx, endpoint, replica, host)


def _remember_failed(tx: Session, endpoint: EndpointFacts, plan: Plan) -> None:
    """Add those that failed, and forget older ones: a few of each version and kind, and of the endpoint, stay."""
    if not plan.failed:
        return
    for one in plan.failed:
        known = tx.get(ReplicaRow, one.replica)
        row = FailedReplicaRow(replica=one.replica, version=one.version, at=one.at, kind=one.kind)
        row.endpoint = endpoint.name
        row.cause, row.exit_code = one.cause, one.exit_code
        row.log = [line[:LINE_CHARS_MAX] for line in one.log_tail]
        row.backend, row.handle = (known.backend, dict(known.handle)) if known else (endpoint.placement.backend, {})
        tx.add(row)
    tx.flush()
    newest_first = select(FailedReplicaRow).where(FailedReplicaRow.endpoint == endpoint.name)
    kept: Counter[tuple[str, str]] = Counter()
    for row in tx.scalars(newest_first.order_by(FailedReplicaRow.id.desc())).all():
        if kept[row.version, row.kind] >= FAILED_KEPT_OF_A_KIND or kept.total() >= FAILED_KEPT:
            tx.delete(row)
        else:
            kept[row.version, row.kind] += 1


def _save_variants(tx: Session, endpoint: str, variants: tuple[VariantFacts, ...]) -> None:
    rows = {row.version: row for row in tx.scalars(select(VariantRow).where(VariantRow.endpoint == endpoint))}
    for variant in variants:
        row = rows.pop(variant.version, None)
        if row is None:
            row = VariantRow(endpoint=endpoint, version=variant.version)
            tx.add(row)
        row.status, row.reason, row.cause = variant.status, variant.reason, variant.cause
        row.idle_since, row.retry_at = variant.idle_since, variant.retry_at
        row.attempts, row.crashes, row.restarts = variant.attempts, list(variant.crashes), variant.restarts
        row.quarantined_generation, row.waking = variant.quarantined_generation, variant.waking
    for unwanted in rows.values():
        tx.delete(unwanted)


def _save_replica(tx: Session, endpoint: EndpointFacts, replica: Replica, host: str) -> None:
    row = tx.get(ReplicaRow, replica.id)
    if row is None:
        row = ReplicaRow(id=replica.id, endpoint=endpoint.name, model=endpoint.model, handle={})
        set_placement(row, replica.placement)
        row.host = host
        row.version, row.form = replica.version, replica.form
        tx.add(row)
    row.created_at = replica.created_at
    row.state, row.reason, row.address = replica.state, replica.reason, replica.address
    row.ready_at, row.unready_since = replica.ready_at, replica.unready_since
    row.draining_at, row.drain_revision = replica.draining_at, replica.drain_revision
    row.stopping_at = replica.stopping_at


def save_handle(tx: Session, replica_id: str, handle: Handle, started_at: float) -> bool:
    """Note how to find a started replica again; False when its row is gone."""
    row = tx.get(ReplicaRow, replica_id)
    if row is None:
        return False
    row.handle, row.created_at = dict(handle.data), started_at
    return True


def forget_replicas(tx: Session, replica_ids: list[str]) -> None:
    """Remove rows of replicas that ended while nobody watched."""
    tx.execute(delete(ReplicaRow).where(ReplicaRow.id.in_(replica_ids)))


def shift_waits(tx: Session, by_s: float) -> None:
    """Move the times that waits of replicas and variants count from, or end at: the clock was set by so much."""
    tx.execute(update(ReplicaRow).where(ReplicaRow.state == "starting").values(created_at=ReplicaRow.created_at + by_s))
    for row, columns in (
        (ReplicaRow, (ReplicaRow.unready_since, ReplicaRow.draining_at, ReplicaRow.stopping_at)),
        (VariantRow, (VariantRow.idle_since, VariantRow.retry_at)),
    ):
        for column in columns:
            tx.execute(update(row).where(column.is_not(None)).values({column: column + by_s}))


def lift_quarantines(tx: Session) -> None:
    """Clear every variant's record of failures: the machine may have changed since."""
    for row in tx.scalars(select(VariantRow)):
        row.attempts, row.crashes, row.retry_at, row.quarantined_generation = 0, [], None, None


def load_versions(tx: Session, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], VersionFacts]:
    """What gateways need to know of these (model, version) pairs."""
    found: dict[tuple[str, str], VersionFacts] = {}
    pairs = sorted(wanted)
    for some in (pairs[at : at + PAIRS_AT_ONCE] for at in range(0, len(pairs), PAIRS_AT_ONCE)):
        query = select(VersionRow).where(tuple_(VersionRow.model, VersionRow.version).in_(some))
        found |= {(row.model, row.version): _facts(row) for row in tx.scalars(query)}
    return found


def _facts(row: VersionRow) -> VersionFacts:
    return VersionFacts(
        digest=row.digest,
        signature=convert(row.signature, Signature),
        example=row.example,
        label=row.label,
        batchable=row.batchable,
    )


def load_snapshot(tx: Session) -> tuple[int, str]:
    """Revision and body of the newest routing snapshot; (0, "") before the first."""
    row = tx.get(SnapshotRow, SNAPSHOT_ID)
    return (row.revision, row.body) if row else (0, "")


def snapshot_revision(tx: Session) -> int:
    """The revision alone, which is cheap; 0 before the first."""
    return tx.scalar(select(SnapshotRow.revision).where(SnapshotRow.id == SNAPSHOT_ID)) or 0


def snapshot_host(tx: Session) -> str:
    """Whose sockets the newest snapshot names; "" where that is not known."""
    row = tx.get(SnapshotRow, SNAPSHOT_ID)
    return row.host if row else ""


def save_snapshot(tx: Session, revision: int, body: str, now: float, host: str = "") -> None:
    """Replace the snapshot by one whose sockets are on `host`."""
    row = tx.get(SnapshotRow, SNAPSHOT_ID)
    if row is None:
        row = SnapshotRow(id=SNAPSHOT_ID)
        tx.add(row)
    row.revision, row.body, row.written_at, row.host = revision, body, now, host
