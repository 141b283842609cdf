"""What an endpoint and its variants are called now, and why. Pure; called by `plan` once everything else is decided."""

from __future__ import annotations

from dataclasses import replace

from tidegate.core.reconcile.fleet import EndpointFacts, EndpointStatus, Replica, VariantFacts, VariantStatus

ASLEEP = "asleep until a request comes"


def variant_status(
    variant: VariantFacts,
    wanted: int,
    replicas: list[Replica],
    waits_for: str = "",
    *,
    asleep: bool = False,
    says: str = "",
) -> VariantFacts:
    """Status and reason of one variant; `wanted` is 0 for a version without traffic, and for one that is `asleep`.

    `waits_for` is what a replica waits for before it can start at all; `says` what its engine says of the version, or
    that it says nothing: it is told where all replicas are ready, too.

    wanted | ready replicas | record of failures              | status
    -------|----------------|---------------------------------|---------------------------------------------
    0      | (asleep) any   | quarantined                     | failed: waking it would fail
    0      | (asleep) any   | clean                           | asleep
    0      | some live      |                                 | idle (kept for a rollback)
    0      | none           |                                 | stopping
    n      | n or more      |                                 | ready
    n      | some           | quarantined, or recent failures | degraded
    n      | some           | clean                           | starting (scaling up)
    n      | none           | quarantined                     | failed
    n      | none           |                                 | starting (the reason tells the last failure, if any)
    """
    ready = sum(replica.state == "ready" for replica in replicas)
    count = f"{ready} of {wanted} replicas ready"
    trouble, waits_for = _trouble(variant), waits_for or says
    status: VariantStatus
    if asleep:
        failed = variant.quarantined_generation is not None
        status, reason = ("failed", trouble) if failed else ("asleep", ASLEEP)
    elif wanted == 0:
        status = "idle" if any(replica.live for replica in replicas) else "stopping"
        reason = "has no traffic; kept for a while for a rollback" if status == "idle" else _stopping(replicas)
    elif ready >= wanted:
        status, reason = "ready", says
    elif ready > 0:
        why = f"{count}: {waits_for or trouble}" if waits_for or trouble else count
        status, reason = "degraded" if trouble else "starting", why
    elif variant.quarantined_generation is not None:
        status, reason = "failed", trouble
    else:
        status, reason = "starting", waits_for or trouble or "loading"
    return replace(variant, status=status, reason=reason)


def _stopping(replicas: list[Replica]) -> str:
    held = next((replica.reason for replica in replicas if replica.state == "draining" and replica.reason), "")
    return f"its replicas are stopping: {held}" if held else "its replicas are stopping"


def _trouble(variant: VariantFacts) -> str:
    if variant.quarantined_generation is not None:
        failures = max(variant.attempts, len(variant.crashes))
        after = f" after {failures} failures" if failures > 1 else ""
        return f"given up{after} until it is deployed again: {variant.cause}"
    if variant.attempts:
        return f"start failed {_times(variant.attempts)}, trying again: {variant.cause}"
    if variant.crashes:
        return f"crashed {_times(len(variant.crashes))} of late, being replaced: {variant.cause}"
    return ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def endpoint_status(endpoint: EndpointFacts, variants: dict[str, VariantFacts], ready: dict[str, int]) -> EndpointFacts:
    """Status and reason of the endpoint, once it is decided what is routed: whether the target has arrived.

    "serving" are the routed versions with a ready replica; "quarantined" is a version of the target that misses
    replicas and is in quarantine, "failed" one without a ready replica; "troubled" is one that misses replicas after
    failures.

    arrived         | serving | of the target            | status
    ----------------|---------|--------------------------|----------------------------------------------
    no              | none    | one is failed            | failed
    no              | some    | one is quarantined       | degraded: the old versions serve on
    no              | none    | none is failed           | deploying (one replica each is enough to begin with)
    no              | some    | none is quarantined      | deploying
    yes             | all     | every replica is there   | ready
    yes             | none    | all of it sleeps         | asleep
    yes             | all     | some missing, clean      | deploying (scaling up)
    yes             | all     | some missing, troubled   | degraded
    yes             | some    | troubled or quarantined  | degraded
    yes             | none    | troubled or quarantined  | failed
    yes             | not all | clean                    | deploying (the platform is starting)
    """
    target = endpoint.target
    statuses = {version: variants[version].status for version in target}
    serving = [version for version in endpoint.routed if ready.get(version, 0) > 0]
    failed = [version for version, status in statuses.items() if status == "failed"]
    troubled = [version for version in target if statuses[version] != "ready" and _trouble(variants[version])]
    quarantined = [version for version in troubled if variants[version].quarantined_generation is not None]
    status: EndpointStatus
    if not endpoint.arrived and serving:
        status = "degraded" if quarantined else "deploying"
    elif not endpoint.arrived:
        status = "failed" if failed else "deploying"
    elif statuses and all(state == "asleep" for state in statuses.values()):
        status = "asleep"
    elif all(state in ("ready", "asleep") for state in statuses.values()):
        status = "ready"
    elif troubled:
        status = "degraded" if serving else "failed"
    else:
        status = "deploying"
    return replace(endpoint, status=status, reason=_reason(endpoint, variants, serving))


def _reason(endpoint: EndpointFacts, variants: dict[str, VariantFacts], serving: list[str]) -> str:
    parts = [
        f"version {version}: {variants[version].reason or 'waiting for a replica'}"
        for version in endpoint.target
        if variants[version].status != "ready"
    ]
    if not endpoint.arrived and serving:
        parts.append(f"{_versions(serving)} on until then")
    return "; ".join(parts)


def _versions(versions: list[str]) -> str:
    if len(versions) == 1:
        return f"version {versions[0]} serves"
    return f"versions {' and '.join(versions)} serve"
