"""The routing snapshot of a fleet: which addresses gateways use for which version. Pure; called by loops/reconcile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.core.fleet import Fleet, Replica
from tidegate.wire import snapshot as wire
from tidegate.wire.signature import Signature


@dataclass(frozen=True)
class VersionFacts:
    """What a gateway needs to know about a version to validate and batch for it."""

    digest: str
    signature: Signature
    example: Any
    label: str | None
    batchable: bool


def route(fleet: Fleet, salt: str, versions: Mapping[str, VersionFacts]) -> wire.Endpoint:
    """The endpoint as gateways shall see it: every version that has traffic, and those that only pinned calls reach.

    A routed version without a ready replica stays in, without targets: gateways answer 503 for its share.
    """
    endpoint = fleet.endpoint
    shown = [version for version in _in_order(fleet) if version in versions]
    variants = tuple(_variant(fleet, version, versions[version]) for version in shown)
    dead = [v.version for v in variants if v.weight > 0 and not v.targets]
    return wire.Endpoint(
        name=endpoint.name,
        salt=salt,
        variants=variants,
        reason=f"no replica of version {', '.join(dead)} is ready" if dead else "" if variants else "it is starting",
        cache_ttl_s=endpoint.cache_ttl_s,
        rate_limit_per_s=endpoint.rate_limit_per_s,
    )


def _in_order(fleet: Fleet) -> list[str]:
    serving = {r.version for r in fleet.replicas if r.state in ("ready", "unready")}
    return sorted(serving | set(fleet.endpoint.routed), key=lambda version: (len(version), version))


def _variant(fleet: Fleet, version: str, facts: VersionFacts) -> wire.Variant:
    targets = targets_of([replica for replica in fleet.replicas if replica.version == version])
    return wire.Variant(
        name=version,
        version=version,
        weight=fleet.endpoint.routed.get(version, 0.0),
        model=fleet.endpoint.model,
        digest=facts.digest,
        signature=facts.signature,
        example=facts.example,
        targets=tuple(wire.Target(replica.id, replica.address or "") for replica in targets),
        label=facts.label,
        batchable=facts.batchable,
    )


def targets_of(replicas: list[Replica]) -> list[Replica]:
    """The replicas to route to: the ready ones; where there is none, those that run but are silent.

    Silent may only mean busy, and sending nothing anywhere is surely worse.
    """
    addressed = sorted((r for r in replicas if r.address), key=lambda r: (r.created_at, r.id))
    ready = [replica for replica in addressed if replica.state == "ready"]
    return ready or [replica for replica in addressed if replica.state == "unready"]
