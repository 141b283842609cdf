"""The pool of each running version: its batcher and the connections to its replicas. Owned by `directory.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tidegate.dataplane.batching.batcher import Batcher
from tidegate.dataplane.calls.batch import Observer
from tidegate.dataplane.calls.limits import DataplaneLimits
from tidegate.dataplane.codec.wire_template import templates_of
from tidegate.gateway.routing.waking import WaitingRequests, WakingAdmission, WakingParts
from tidegate.gateway.shared.response_cache import CachedAdmission, Visited
from tidegate.gateway.upstream.dial import Secrets, UpstreamAddress
from tidegate.gateway.upstream.target import UpstreamHooks, UpstreamTarget
from tidegate.wire.gateways.snapshot import BATCHES_MAX

if TYPE_CHECKING:
    from tidegate.clock import Clock
    from tidegate.dataplane.calls.call import Admission, Call
    from tidegate.gateway.shared.response_cache import ResponseCache
    from tidegate.wire.gateways.snapshot import RoutedEndpoint, Target, Variant

DRAIN_POLL_S = 0.01


@dataclass(frozen=True)
class PoolParts:
    """What all version pools of a gateway share."""

    loop: asyncio.AbstractEventLoop
    limits: DataplaneLimits
    observer: Observer
    clock: Clock
    cache: ResponseCache | None = None
    on_loss: Callable[[], None] = lambda: None
    """Called when a replica that was in use no longer answers."""
    ask: Callable[[str], None] = lambda _endpoint: None
    """Tells the control plane that an endpoint which sleeps is wanted."""
    retired: set[UpstreamTarget] = field(default_factory=set)
    """Replicas that get no further batch; those of them that are not busy any more may be dropped."""
    secrets: Secrets = Secrets()


class VersionPool:
    """Outlives snapshots as long as they list the same version with the same artifact.

    `available` says whether a replica is connected; `on_change` is called when that changes. `visitors` are calls that
    wait for what the response cache says before the batcher gets them, `waiting` those that wait for a replica.
    """

    def __init__(self, endpoint: str, variant: Variant, parts: PoolParts, on_change: Callable[[], None]) -> None:
        self._model = variant.model
        self._templates = templates_of(variant.model, variant.version, variant.signature)
        self._parts = parts
        self._on_change = on_change
        self._targets: dict[str, UpstreamTarget] = {}
        self._hooks = UpstreamHooks(self._came_up, self._was_lost, parts.secrets)
        self.batcher = Batcher(parts.loop, parts.limits, parts.observer, mergeable=variant.batchable, clock=parts.clock)
        self.available = False
        self.visitors: set[Call] = set()
        waking = WakingParts(parts.loop, parts.observer, parts.clock, parts.limits.waking_requests_max, parts.ask)
        self.waiting = WaitingRequests(endpoint, variant.version, waking)

    @property
    def outstanding(self) -> bool:
        """Whether any call waits or is being computed."""
        return bool(self.visitors or self.waiting.calls) or self.batcher.outstanding

    @property
    def calls(self) -> set[Call]:
        """Those that wait or are being computed."""
        return self.visitors | self.waiting.calls | self.batcher.outstanding_calls

    @property
    def replicas(self) -> set[str]:
        """Those that its calls may be sent to."""
        return set(self._targets)

    def admission(self, endpoint: RoutedEndpoint, variant: Variant) -> Admission:
        """Where the calls of this version come in, as this snapshot has it."""
        cache = self._parts.cache
        inner: Admission = WakingAdmission(self) if variant.wakes else self.batcher
        if cache is None or endpoint.cache_ttl_s <= 0:
            return inner
        return CachedAdmission(Visited(inner, self.visitors), cache, endpoint, variant)

    def newcomers(self, listed: tuple[Target, ...]) -> list[UpstreamTarget]:
        """Replicas that are new in the snapshot, or at another address than before; nothing is connected yet."""
        new, parts = [], self._parts
        for target in listed:
            for where in self._places(target):
                known = self._targets.get(where.id)
                if known is None or known.where != where:
                    new.append(UpstreamTarget(where, self._hooks, parts.loop, parts.limits.timeout_s, parts.clock))
        return new

    def _places(self, target: Target) -> list[UpstreamAddress]:
        """One for each batch that it takes at once: each has a connection of its own."""
        place = UpstreamAddress(
            target.id,
            target.address,
            self._model,
            self._templates,
            target.credential,
            target.ca_file,
            target.audience,
        )
        return [replace(place, id=one) for one in _ids(target)]

    def connect(self, newcomers: list[UpstreamTarget]) -> None:
        """Begin to connect to these, each in the place of the one of the same id. Loses none of the others."""
        for target in newcomers:
            known = self._targets.get(target.id)
            if known is not None:
                self._drop(known)
            self._targets[target.id] = target
            target.start()

    def keep_only(self, listed: tuple[Target, ...], *, wakes: bool) -> None:
        """Stop using replicas that the snapshot no longer lists; what they compute is still answered.

        Where the version `wakes`, what came for it meanwhile waits for the replica that wakes it.
        """
        ids = {one for target in listed for one in _ids(target)}
        left = self.batcher.take_waiting() if wakes and not ids else ()
        for target in [target for target in self._targets.values() if target.id not in ids]:
            self._drop(target)
        for call in left:
            self.waiting.add_or_fail(call, self.batcher)

    async def drain(self) -> None:
        """Answer what waits and what is in flight, then close. New calls must be going elsewhere already."""
        deadline_s = self._parts.clock() + self._parts.limits.timeout_s
        while self.outstanding and self._parts.clock() < deadline_s:
            await asyncio.sleep(DRAIN_POLL_S)
        self.close()

    def close(self) -> None:
        """Let go of every replica; what they compute is still answered."""
        for target in list(self._targets.values()):
            self._drop(target)
        self.waiting.fail("this version is being stopped")
        self.batcher.close()

    def _drop(self, target: UpstreamTarget) -> None:
        del self._targets[target.id]
        if target.up:
            self._went_down(target)
        target.retire()
        self._parts.retired.add(target)

    def _came_up(self, target: UpstreamTarget) -> None:
        self.batcher.add_target(target)
        self._changed()

    def _was_lost(self, target: UpstreamTarget) -> None:
        self._went_down(target)
        self._parts.on_loss()

    def _went_down(self, target: UpstreamTarget) -> None:
        self.batcher.remove_target(target.id)
        self._changed()

    def _changed(self) -> None:
        available = self.batcher.accepts
        if available != self.available:
            self.available = available
            if available:
                self.waiting.release()
            self._on_change()


def _ids(target: Target) -> list[str]:
    """A replica's own id, and for a pool one for each batch that it takes at once."""
    if target.batches_max <= 1:
        return [target.id]
    return [f"{target.id}/{number}" for number in range(min(target.batches_max, BATCHES_MAX))]


def replica_of(target_id: str) -> str:
    """The id of the replica, or the pool, whose target this is: the inverse of `_ids`."""
    return target_id.partition("/")[0]
