"""Rows of automations: weights (and what is stable) of loops/experiment and of people who act on an experiment or
canary, replicas by version of loops/scaling. People's spec stays as it is; `core.endpoints.effective` says what is in
effect of both.

Loops call it in transactions of the leader's fenced store. Where the endpoint `seen` is gone,
is another one by now, or people have changed what the automation sets since it began, nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import cast

import msgspec
from sqlalchemy.orm import Session

from tidegate.core.endpoints.effective import (
    Automated,
    AutomatedReplicas,
    AutomatedWeights,
    AutomationKind,
    Effective,
    Share,
    Spec,
    Split,
    check_automated,
    check_counts,
    effective,
)
from tidegate.core.scaling.policy import Scaling
from tidegate.store.endpoints import history
from tidegate.store.endpoints.history import Entry
from tidegate.store.endpoints.shadows import end_where_live, shadow_of
from tidegate.store.models import models
from tidegate.store.tables import AutomatedReplicasRow, AutomatedWeightsRow, EndpointRow
from tidegate.wire.decoding import convert


@dataclass(frozen=True)
class EndpointSeen:
    """An endpoint as a loop saw it: which one of its name, and up to which word of people (`word_of`)."""

    endpoint: str
    uid: str
    revision: int


def seen_of(row: EndpointRow) -> EndpointSeen:
    """What a loop has to remember of an endpoint that it decides on."""
    return EndpointSeen(row.name, row.uid, word_of(row))


def word_of(row: EndpointRow) -> int:
    """People's latest word: the revision, or later where they have since confirmed what was so already.

    That is no revision, and yet ends what an automation decided before it.
    """
    return max(row.revision, row.traffic_revision, row.replicas_revision)


def effective_of(row: EndpointRow) -> Effective:
    """What is in effect of an endpoint's spec and of what automations set."""
    return effective(_spec(row), automated_of(row))


def scaling_of(row: EndpointRow) -> Scaling | None:
    """What people ask of the autoscaler; None where they fixed the number of replicas.

    Raises `msgspec.ValidationError` for what another release wrote, or nobody should have.
    """
    return None if row.scaling is None else convert(row.scaling, Scaling)


def readable_scaling_of(row: EndpointRow) -> tuple[Scaling | None, str]:
    """As `scaling_of`, and in words why it cannot be read, with what to do; then it is None."""
    try:
        return scaling_of(row), ""
    except msgspec.ValidationError as error:
        return None, (
            f"how its replicas follow the load cannot be read ({error}), so their number stays as it is: "
            f"set it anew with 'tidegate scale {row.name} --replicas N', or --min A --max B --target concurrency=X"
        )


def versions_used(row: EndpointRow) -> set[str]:
    """Versions that an endpoint routes, would go back to, or has an arm for, and the one that shadows it."""
    shadow, running = shadow_of(row), effective_of(row).weights
    arms = set() if running is None else {share.version for share in running.split.shares}
    return versions_routed(row) | arms | (set() if shadow is None else {shadow.version})


def versions_routed(row: EndpointRow) -> set[str]:
    """Those of them that answer: all but the one that shadows it, and arms that get nothing just now."""
    now = effective_of(row)
    stable = () if now.weights is None else now.weights.stable
    return {*row.traffic, *row.routed, *now.traffic, *stable}


def raise_generation(row: EndpointRow, retries: Collection[str]) -> None:
    """Have the reconcile loop look at the endpoint, and start these versions again where it gave them up."""
    row.generation += 1
    used = versions_used(row)
    kept = {version: at for version, at in row.retries.items() if version in used}
    row.retries = kept | dict.fromkeys(retries, row.generation)


def _spec(row: EndpointRow) -> Spec:
    return Spec(row.traffic, row.replicas, row.traffic_revision, row.replicas_revision)


def automated_of(row: EndpointRow) -> Automated:
    """What automations wrote last, whether or not it is still in effect."""
    counts = {
        one.version: AutomatedReplicas(one.replicas, one.revision, one.reason, one.share, one.enough)
        for one in row.automated_replicas
    }
    return Automated(None if row.automated_weights is None else _weights(row.automated_weights), counts)


def _weights(row: AutomatedWeightsRow) -> AutomatedWeights:
    split = Split(
        row.salt,
        convert(row.shares, tuple[Share, ...]),
        coverage=row.coverage,
        uncovered=row.uncovered,
        phase=row.phase,
    )
    return AutomatedWeights(cast(AutomationKind, row.kind), row.name, row.revision, split, dict(row.stable))


def set_weights(tx: Session, seen: EndpointSeen, weights: AutomatedWeights, entry: Entry) -> bool:
    """Begin an automation of weights, or take its next step. True when it is written, False when it comes too late.

    It is too late also where one of its versions has been deleted. `weights.revision` is the one at which it began and
    stays with it. Raises `InvalidArgument` for weights that make no sense.
    """
    check_automated(weights)
    row = _still(tx, seen)
    if row is None or weights.revision < row.traffic_revision or _are_gone(tx, row, weights):
        return False
    if automated_of(row).weights != weights:
        split = weights.split
        mine = row.automated_weights or AutomatedWeightsRow(endpoint=row.name)
        mine.kind, mine.name, mine.revision = weights.kind, weights.name, weights.revision
        mine.salt, mine.stable = split.salt, dict(weights.stable)
        mine.shares = [asdict(share) for share in split.shares]
        mine.coverage, mine.uncovered, mine.phase = split.coverage, split.uncovered, split.phase
        row.automated_weights = mine
        _changed(tx, row, entry)
    return True


def end_weights(tx: Session, seen: EndpointSeen, entry: Entry) -> bool:
    """End an automation of weights: people's own are in effect again. False where people have ended it before."""
    row = _still(tx, seen)
    if row is None or row.automated_weights is None:
        return False
    was_in_effect = effective_of(row).weights is not None
    row.automated_weights = None
    if was_in_effect:
        _changed(tx, row, entry)
    return was_in_effect


def set_replicas(tx: Session, seen: EndpointSeen, counts: Mapping[str, AutomatedReplicas], entry: Entry) -> bool:
    """Set the number of replicas of these versions, and of no other. True when it is written, False when too late.

    Nothing is counted as a change that leaves the numbers as they are: a reason may be said anew at every look.
    Raises `InvalidArgument` for fewer replicas than none.
    """
    check_counts(counts)
    row = _still(tx, seen)
    if row is None or any(one.revision < row.replicas_revision for one in counts.values()):
        return False
    before = effective_of(row)
    known = {one.version: one for one in row.automated_replicas}
    row.automated_replicas = [
        _count(known.get(version) or AutomatedReplicasRow(endpoint=row.name, version=version), one)
        for version, one in counts.items()
    ]
    tx.flush()
    after = effective_of(row)
    if any(before.wanted(version) != after.wanted(version) for version in {*before.counts, *after.counts}):
        _changed(tx, row, entry)
    return True


def _count(row: AutomatedReplicasRow, one: AutomatedReplicas) -> AutomatedReplicasRow:
    row.replicas, row.revision, row.reason = one.replicas, one.revision, one.reason
    row.share, row.enough = one.share, one.enough
    return row


def _still(tx: Session, seen: EndpointSeen) -> EndpointRow | None:
    """The endpoint that was seen, unless it is gone, or going."""
    row = tx.get(EndpointRow, seen.endpoint)
    return row if row is not None and row.uid == seen.uid and row.deleted_at is None else None


def _are_gone(tx: Session, row: EndpointRow, weights: AutomatedWeights) -> bool:
    wanted = {*weights.stable, *(share.version for share in weights.split.shares)}
    return any(models.get_version(tx, row.model, version) is None for version in wanted)


def _changed(tx: Session, row: EndpointRow, entry: Entry) -> None:
    """Have the reconcile loop look at it, and history tell of it; people's revision stays."""
    entry = end_where_live(row, effective_of(row).traffic, entry)
    raise_generation(row, entry.retries)
    tx.flush()
    history.add(tx, row, entry, automated=True, traffic=effective_of(row).traffic)
