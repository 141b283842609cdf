"""The routing snapshot of a fleet: which addresses gateways use for which version. Pure; called by loops/reconcile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from msgspec.structs import replace

from tidegate.core.endpoints.effective import Share, Split, shares_of
from tidegate.core.engines.capabilities import OF_A_HOST
from tidegate.core.reconcile.fleet import Fleet, Replica, VariantFacts
from tidegate.core.routing.targets import target_of
from tidegate.wire.gateways import snapshot as wire
from tidegate.wire.signature import Signature


@dataclass(frozen=True)
class VersionFacts:
    """What a gateway needs to know about a version to validate and batch for it."""

    digest: str
    signature: Signature
    example: Any
    label: str | None
    batchable: bool


def route(fleet: Fleet, salt: str, versions: Mapping[str, VersionFacts], host: str = "") -> wire.RoutedEndpoint:
    """The endpoint as gateways shall see it: every variant that has traffic, and versions that only pinned calls reach.

    `salt` is the endpoint's own; units are assigned by that of the experiment, while there is one. `host` is where the
    replicas run of engines that run them on one host.

    A routed version without a ready replica stays in, without targets: gateways answer 503 for its share, or, where it
    sleeps or wakes just now, wait for a replica, also where people have asked meanwhile that it never sleeps. One whose
    start failed is not waited for.
    """
    endpoint = fleet.endpoint
    shown = [share for share in _in_order(fleet) if share.version in versions]
    variants = tuple(_variant(fleet, share, versions[share.version], host) for share in shown)
    dead = list(dict.fromkeys(v.version for v in variants if v.weight > 0 and not v.targets))
    sleepers = {one.version for one in fleet.variants if one.waking} | (set(dead) if endpoint.may_sleep else set())
    waited_for = [version for version in dead if version in sleepers]
    failing = [one for one in fleet.variants if one.version in waited_for and _fails_to_start(one)]
    woken = set(waited_for) - {one.version for one in failing}
    return wire.RoutedEndpoint(
        name=endpoint.name,
        salt=salt,
        variants=tuple(replace(one, wakes=True) if one.version in woken else one for one in variants),
        reason=_reason(dead, failing, started=bool(variants)),
        **endpoint.settings,
        capture=None if endpoint.capture == wire.CaptureRules() else endpoint.capture,
        shadow=_shadow(fleet, versions, host),
        **_assignment(endpoint.routed_split),
    )


class _AssignmentOf(TypedDict, total=False):
    assignment_salt: str
    experiment: str
    phase: int | None
    coverage: float
    uncovered: str


def _assignment(split: Split | None) -> _AssignmentOf:
    """How units are assigned while an automation sets the weights."""
    if split is None:
        return {}
    partly = split.coverage < 1
    return {
        "assignment_salt": split.salt,
        "experiment": split.experiment,
        "phase": split.phase,
        "coverage": split.coverage if partly else 1.0,
        "uncovered": split.uncovered if partly else "",
    }


def _shadow(fleet: Fleet, versions: Mapping[str, VersionFacts], host: str) -> wire.Shadow | None:
    """The version that listens. Without a ready replica it stays in, and gateways count what it did not hear."""
    version, shadow = fleet.endpoint.listens, fleet.endpoint.shadow
    if version is None or shadow is None or version not in versions:
        return None
    return wire.Shadow(_variant(fleet, Share(version, version, 0.0), versions[version], host), shadow.share)


def _fails_to_start(variant: VariantFacts) -> bool:
    return variant.attempts > 0 or variant.quarantined_generation is not None


def _reason(dead: Sequence[str], failing: Sequence[VariantFacts], *, started: bool) -> str:
    """Why requests are answered with 503."""
    if failing:
        return "; ".join(f"version {variant.version}: {variant.reason}" for variant in failing)
    if dead:
        return f"no replica of version {', '.join(dead)} is ready"
    return "" if started else "it is starting"


def _in_order(fleet: Fleet) -> list[Share]:
    routed = shares_of(fleet.endpoint.routed, fleet.endpoint.routed_split)
    serving = {r.version for r in fleet.replicas if r.state in ("ready", "unready")}
    others = [Share(version, version, 0.0) for version in serving - {share.version for share in routed}]
    return sorted([*routed, *others], key=lambda share: (len(share.version), share.version, share.variant))


def _variant(fleet: Fleet, share: Share, facts: VersionFacts, host: str) -> wire.Variant:
    targets = targets_of([replica for replica in fleet.replicas if replica.version == share.version])
    split = fleet.endpoint.routed_split
    of_units = {} if split is None else {one.variant: one.weight for one in split.shares}
    part = of_units.get(share.variant, share.weight)
    return wire.Variant(
        name=share.variant,
        version=share.version,
        weight=share.weight,
        model=fleet.endpoint.model,
        digest=facts.digest,
        signature=facts.signature,
        example=facts.example,
        targets=tuple(_target(replica, host) for replica in targets),
        label=facts.label,
        batchable=facts.batchable,
        share=None if part == share.weight else part,
    )


def _target(replica: Replica, host: str) -> wire.Target:
    return target_of(replica.id, replica.address or "", host if replica.placement.backend in OF_A_HOST else "")


def targets_of(replicas: list[Replica]) -> list[Replica]:
    """The replicas to route to: the ready ones; where there is none, those that run but are silent.

    Silent may only mean busy, and sending nothing anywhere is surely worse.
    """
    addressed = sorted((r for r in replicas if r.address), key=lambda r: (r.created_at, r.id))
    ready = [replica for replica in addressed if replica.state == "ready"]
    return ready or [replica for replica in addressed if replica.state == "unready"]
