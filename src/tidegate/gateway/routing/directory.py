"""From routing snapshots to the `Directory` that edges ask: which version answers this request.

A snapshot is taken whole: versions that did not change keep their queue and their connections, new ones are connected
before they get traffic, and those that are gone finish what they have.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tidegate.core.routing.assign import Allocation, Arm, Decider
from tidegate.dataplane.calls.call import Destination, Identity
from tidegate.dataplane.pipeline.assignment import NAME_CHARS_SHOWN
from tidegate.errors import NoReadyReplica, UnknownEndpoint, UnknownVersion
from tidegate.gateway.control.follower import SnapshotRefused
from tidegate.gateway.routing.version_pool import PoolParts, VersionPool, replica_of
from tidegate.gateway.shadow.copies import Listening
from tidegate.gateway.upstream.target import UpstreamTarget, wait_until_tried
from tidegate.wire.gateways.decision import AssignmentContext, Role

if TYPE_CHECKING:
    from tidegate.dataplane.calls.call import Call
    from tidegate.dataplane.calls.directory import Service
    from tidegate.dataplane.pipeline.metrics import MetricState
    from tidegate.wire.gateways.decision import Decision
    from tidegate.wire.gateways.snapshot import RoutedEndpoint, Shadow, Snapshot, Target, Variant
    from tidegate.wire.signature import Signature

CONNECT_WAIT_S = 2.0
RETRY_AFTER_S = 1.0

log = logging.getLogger(__name__)


class PoolKey(NamedTuple):
    """What must stay the same for a version to keep its queue and connections; label, weight and example need not.

    Nor need the variant's name: variants of one version share a pool, and batches, and nothing is connected anew when
    an experiment or a canary begins.
    """

    endpoint: str
    version: str
    model: str
    digest: str
    batchable: bool
    signature: Signature
    role: Role


class EndpointService:
    """One endpoint as one snapshot describes it. Immutable but for which of its pools are available now."""

    def __init__(self, endpoint: RoutedEndpoint, pools: list[VersionPool], revision: int) -> None:
        self.name = endpoint.name
        self._reason = endpoint.reason
        self._waking = frozenset(variant.name for variant in endpoint.variants if variant.wakes)
        self._pools = {variant.name: pool for variant, pool in zip(endpoint.variants, pools, strict=True)}
        self._all = {
            variant.name: Destination(
                _identity(endpoint, variant), variant.signature, variant.example, pool.admission(endpoint, variant)
            )
            for variant, pool in zip(endpoint.variants, pools, strict=True)
        }
        self._weights = {variant.name: variant.weight for variant in endpoint.variants}
        self._decider = Decider(_allocation(endpoint, revision))
        self.refresh()

    def refresh(self) -> None:
        """Work out again who may answer, after a pool became available or stopped being so."""
        names = self._decider.names
        # A version that wakes is waited for: others are not asked instead.
        self._available = frozenset(name for name in names if name in self._waking or self._pools[name].available)

    def decide(self, context: AssignmentContext) -> Decision | None:
        """By weights, with the variants that have a replica now; None where no variant has weight."""
        decision = self._decider.decide(context, self._available)
        if decision is None and context.pinned is not None:
            raise self._unknown(context.pinned)
        return decision

    def destination(self, decision: Decision | None) -> Destination:
        """The variant that answers; raises `NoReadyReplica` where nobody can."""
        if decision is None or decision.variant is None:
            raise self._none_ready()
        return self._all[decision.variant]

    def _none_ready(self) -> NoReadyReplica:
        reason = self._reason or "no replica is connected"
        return NoReadyReplica(
            f"endpoint {self.name!r} has no replica ready to answer: {reason}", retry_after_s=RETRY_AFTER_S
        )

    def pinned(self, version: str) -> Destination:
        """The running version with this number, label or variant name."""
        arm = self._decider.pinned(version)
        if arm is None:
            raise self._unknown(version)
        return self._all[arm.variant]

    def _unknown(self, version: str) -> UnknownVersion:
        running = list(dict.fromkeys(_shown(destination.identity) for destination in self._all.values()))
        running += [name for name, one in self._all.items() if name != one.identity.version]
        return UnknownVersion(
            f"version or variant {version[:NAME_CHARS_SHOWN]!r} of endpoint {self.name!r} is not running; "
            + (f"running: {', '.join(running)}" if running else "none is"),
            running=running,
        )

    def destinations(self) -> list[Destination]:
        """All variants of running versions, the one with the most traffic first."""
        return sorted(self._all.values(), key=lambda one: -self._weights[one.identity.variant])


@dataclass(frozen=True)
class RoutingPlan:
    """A snapshot put into objects, none of them in use yet: what can go wrong with it has gone wrong before."""

    snapshot: Snapshot
    pools: dict[PoolKey, VersionPool] = field(default_factory=dict)
    listed: dict[PoolKey, tuple[Target, ...]] = field(default_factory=dict)
    newcomers: dict[PoolKey, list[UpstreamTarget]] = field(default_factory=dict)
    services: dict[str, EndpointService] = field(default_factory=dict)
    waking: set[PoolKey] = field(default_factory=set)
    shadows: dict[str, Listening] = field(default_factory=dict)

    def places(self) -> set[tuple[str, str]]:
        """Endpoints with their versions, and with none: what counts are kept of."""
        endpoints = self.snapshot.endpoints
        versions = {(endpoint.name, variant.version) for endpoint in endpoints for variant in endpoint.variants}
        return versions | {(endpoint.name, "") for endpoint in endpoints}


class Router:
    """The gateway's `Directory`. `take` is its only way to change: by a snapshot that `plan` found to be sound."""

    def __init__(self, parts: PoolParts, shadow_parts: PoolParts | None = None) -> None:
        """`shadow_parts` are those of the pools of shadows, which share nothing with live ones."""
        self._parts, self._shadow_parts = parts, shadow_parts or parts
        self._pools: dict[PoolKey, VersionPool] = {}
        self._services: dict[str, Service] = {}
        self._draining: dict[asyncio.Task[None], tuple[PoolKey, VersionPool]] = {}
        self.revision: int | None = None

    def services(self) -> Mapping[str, Service]:
        """What is served, by endpoint name."""
        return self._services

    def only(self) -> None:
        """None: on a gateway every path names its endpoint."""
        return

    def plan(self, snapshot: Snapshot) -> RoutingPlan:
        """Make all that routing by this snapshot takes, and change nothing yet; raises `SnapshotRefused`."""
        plan = RoutingPlan(snapshot)
        for endpoint in snapshot.endpoints:
            try:
                self._plan_endpoint(plan, endpoint)
            except Exception as error:
                why = f"endpoint {endpoint.name!r} cannot be routed by it: {type(error).__name__}: {error}"
                raise SnapshotRefused(why) from error
        return plan

    def _plan_endpoint(self, plan: RoutingPlan, endpoint: RoutedEndpoint) -> None:
        pools = []
        for variant in endpoint.variants:
            key = _pool_key(endpoint, variant)
            pool = plan.pools.get(key) or self._pools.get(key) or self._new_pool(endpoint, variant)
            plan.pools[key] = pool
            plan.listed[key] = variant.targets
            if variant.wakes:
                plan.waking.add(key)
            plan.newcomers[key] = pool.newcomers(variant.targets)
            pools.append(pool)
        plan.services[endpoint.name] = EndpointService(endpoint, pools, plan.snapshot.revision)
        if endpoint.shadow is not None:
            self._plan_shadow(plan, endpoint, endpoint.shadow, pools)

    def _plan_shadow(
        self, plan: RoutingPlan, endpoint: RoutedEndpoint, shadow: Shadow, live: list[VersionPool]
    ) -> None:
        variant = shadow.variant
        key = _pool_key(endpoint, variant, "shadow")
        pool = self._pools.get(key) or VersionPool(endpoint.name, variant, self._shadow_parts, lambda: None)
        plan.pools[key], plan.listed[key] = pool, variant.targets
        plan.newcomers[key] = pool.newcomers(variant.targets)
        there = Destination(_identity(endpoint, variant), variant.signature, variant.example, pool.batcher)
        behind = tuple(one.batcher for one in live)
        plan.shadows[endpoint.name] = Listening(there, endpoint.salt, shadow.share, plan.snapshot.revision, behind)

    def _new_pool(self, endpoint: RoutedEndpoint, variant: Variant) -> VersionPool:
        return VersionPool(endpoint.name, variant, self._parts, self._refresh)

    async def take(self, plan: RoutingPlan) -> None:
        """Route by this plan, the latest one made. Returns when it is in force; what it left out finishes what it has.

        Then the control plane hears that the revision is in force, and of those left out which are still `in_use`.
        """
        for key, newcomers in plan.newcomers.items():
            plan.pools[key].connect(newcomers)
        self._pools |= plan.pools
        live = [one for key, newcomers in plan.newcomers.items() if key.role == "live" for one in newcomers]
        await wait_until_tried(live, CONNECT_WAIT_S)
        self._services = dict(plan.services)
        self._refresh()
        for key, listed in plan.listed.items():
            self._pools[key].keep_only(listed, wakes=key in plan.waking)
        gone = {key: self._pools.pop(key) for key in list(self._pools) if key not in plan.pools}
        self._settle_waiting(plan, gone)
        self.revision = plan.snapshot.revision
        log.info("routing by revision %d: %s", self.revision, _summary(plan.snapshot))
        self._drain(gone)

    def not_woken(self, endpoint: str, why: str) -> None:
        """Answer the requests that wait for this endpoint: nothing starts a replica of it now."""
        for key, pool in self._pools.items():
            if key.endpoint == endpoint:
                pool.waiting.fail(why)

    def _settle_waiting(self, plan: RoutingPlan, gone: Mapping[PoolKey, VersionPool]) -> None:
        """Requests that wait for a version which this snapshot does not wake, or does not have."""
        for endpoint in plan.snapshot.endpoints:
            for variant in endpoint.variants:
                if not (variant.wakes or variant.targets):
                    self._pools[_pool_key(endpoint, variant)].waiting.fail(endpoint.reason)
        for key, pool in gone.items():
            pool.waiting.move_to(partial(self._chosen_again, key.endpoint))

    def _chosen_again(self, endpoint: str, call: Call) -> Destination:
        """Where a call goes whose version was replaced before it woke. Raises `NoReadyReplica`, `UnknownEndpoint`."""
        service = self._services.get(endpoint)
        if service is None:
            raise UnknownEndpoint(f"endpoint {endpoint!r} was deleted before it woke", endpoint=endpoint)
        if not (call.decision is not None and call.decision.pinned):
            decision = service.decide(AssignmentContext(service.name, call.request_id, call.unit))
            destination = service.destination(decision)
            if destination.signature == call.destination.signature:
                call.decision = decision
                return destination
        version = call.destination.identity.version
        raise NoReadyReplica(
            f"version {version} of endpoint {endpoint!r} was replaced before it woke", retry_after_s=RETRY_AFTER_S
        )

    def in_use(self) -> frozenset[str]:
        """Replicas that are left out by now, and that are still sent something or whose answers are waited for."""
        retired = self._parts.retired
        retired -= {target for target in retired if not target.busy}
        draining = (pool.replicas for _, pool in self._draining.values())
        return frozenset(map(replica_of, {target.id for target in retired}.union(*draining)))

    def close(self) -> None:
        """Let go of every replica, at the end of the process."""
        for pool in self._pools.values():
            pool.close()

    @property
    def outstanding(self) -> bool:
        """Whether any call waits or is being computed."""
        return any(pool.outstanding for pool in self._pools.values())

    def fill_gauges(self, state: MetricState) -> None:
        """Rows that wait and calls in progress, for the metrics."""
        for key, pool in self._pools.items():
            if key.role == "shadow":
                continue
            place = (key.endpoint, key.version)
            state.queue_rows[place] = state.queue_rows.get(place, 0) + pool.batcher.queued_rows
            waiting_max = self._parts.limits.queue_rows_max
            state.queue_rows_limit[place] = state.queue_rows_limit.get(place, 0) + waiting_max
            state.batch_rows_limit[place] = max(state.batch_rows_limit.get(place, 0), pool.batcher.limit_rows)
            state.in_progress[key.endpoint] = state.in_progress.get(key.endpoint, 0) + len(pool.calls)

    def in_progress_s(self, now_s: float) -> dict[tuple[str, str], float]:
        """For how long the calls in progress have been so, added up, by endpoint and version."""
        found: dict[tuple[str, str], float] = {}
        for key, pool in [*self._pools.items(), *self._draining.values()]:
            waited = [now_s - call.started_s for call in pool.calls if not call.done]
            if waited and key.role == "live":
                place = (key.endpoint, key.version)
                found[place] = found.get(place, 0.0) + sum(waited)
        return found

    def _drain(self, pools: dict[PoolKey, VersionPool]) -> None:
        tasks = {self._parts.loop.create_task(pool.drain()): (key, pool) for key, pool in pools.items()}
        self._draining |= tasks
        for task in tasks:
            task.add_done_callback(self._draining.pop)

    def _refresh(self) -> None:
        for service in self._services.values():
            if isinstance(service, EndpointService):
                service.refresh()


def _pool_key(endpoint: RoutedEndpoint, variant: Variant, role: Role = "live") -> PoolKey:
    return PoolKey(
        endpoint.name, variant.version, variant.model, variant.digest, variant.batchable, variant.signature, role
    )


def _allocation(endpoint: RoutedEndpoint, revision: int) -> Allocation:
    arms = tuple(Arm(one.name, one.version, one.weight, one.label, one.share) for one in endpoint.variants)
    return Allocation(
        endpoint.assignment_salt or endpoint.salt,
        arms,
        revision,
        endpoint.experiment or None,
        endpoint.phase,
        endpoint.coverage,
        endpoint.uncovered,
    )


def _identity(endpoint: RoutedEndpoint, variant: Variant) -> Identity:
    return Identity(
        endpoint=endpoint.name,
        model=variant.model,
        version=variant.version,
        variant=variant.name,
        label=variant.label,
    )


def _shown(identity: Identity) -> str:
    return f"{identity.version} ({identity.label})" if identity.label else identity.version


def _summary(snapshot: Snapshot) -> str:
    if not snapshot.endpoints:
        return "no endpoints"
    return ", ".join(
        endpoint.name + " " + " ".join(f"{variant.name}={variant.weight:g}" for variant in endpoint.variants)
        for endpoint in snapshot.endpoints
    )
