"""What people may ask of the number of replicas, and why it is what it is.

Called by `services.endpoints.lifecycle` and the API; the autoscaler's loop writes its decisions here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tidegate.core.engines.capabilities import ENGINE, TIDEGATE
from tidegate.core.scaling.policy import Scaling, ScalingDefaults, ScalingRequest, scaling_of
from tidegate.errors import InvalidArgument, NotLeader
from tidegate.services.leadership import Leadership
from tidegate.services.reading import views
from tidegate.services.reading.lookup import endpoint_or_raise
from tidegate.services.reading.shown_endpoints import ShownEndpoints
from tidegate.store.endpoints import automation
from tidegate.wire import rest
from tidegate.wire.endpoints.scaling import Scale, ScaleDecision, ScaleRequest

BY_THE_ENGINE = "the engine decides by rules of its own, and does not say why"
NOT_YET = "not decided yet: the load has not been looked at"


def check_replicas(replicas: int, limit: int) -> int:
    """How many replicas of each version; raises `InvalidArgument`."""
    if not 1 <= replicas <= limit:
        raise InvalidArgument(f"replicas must be from 1 to {limit}, not {replicas}", field="replicas")
    return replicas


def check_scale(request: ScaleRequest) -> None:
    """Raises `InvalidArgument` for what asks for nothing, contradicts itself or is not supported yet."""
    if request.autoscaler not in (None, TIDEGATE, ENGINE):
        raise InvalidArgument(
            f"autoscaler {str(request.autoscaler)[:40]!r} is neither {TIDEGATE!r}, the platform's own, nor {ENGINE!r}, "
            "that of the engine: leave it out, or fix the number with --replicas",
            field="autoscaler",
        )
    follows = request.autoscaler is not None or _asked(request) != ScalingRequest()
    if request.replicas is None and not follows:
        raise InvalidArgument(
            "say how many replicas: --replicas N fixes the number, --min A --max B --target concurrency=X follows the "
            "load",
            field="replicas",
        )
    if request.replicas is not None and follows:
        raise InvalidArgument(
            "--replicas fixes the number, and all other options have it follow the load: give either", field="replicas"
        )


def scaling_asked(request: ScaleRequest, before: Scaling | None, defaults: ScalingDefaults) -> Scaling:
    """What the request asks for, on top of what is in force. Raises `InvalidArgument`."""
    return scaling_of(_asked(request), before, defaults)


def _asked(request: ScaleRequest) -> ScalingRequest:
    bounds = request.min, request.max, request.target
    return ScalingRequest(
        *bounds, request.stable_s, request.panic_s, request.down_s, request.idle_s, request.autoscaler
    )


@dataclass
class Decisions:
    """The autoscaler's newest decisions, in memory: a restart begins anew. For many threads."""

    _by_endpoint: Mapping[str, Mapping[str, ScaleDecision]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, by_endpoint: Mapping[str, Iterable[ScaleDecision]]) -> None:
        """All that there are now; those of endpoints that are not named are forgotten."""
        made = {name: {one.version: one for one in decisions} for name, decisions in by_endpoint.items()}
        with self._lock:
            self._by_endpoint = made

    def of(self, endpoint: str) -> Mapping[str, ScaleDecision]:
        """The newest decision about each version of an endpoint."""
        with self._lock:
            return self._by_endpoint.get(endpoint, {})


@dataclass(frozen=True)
class Scales:
    """Tells why an endpoint has as many replicas as it has.

    The leader decides: a standby asks it, with `of_leader` (its URL, the endpoint), which raises `NotLeader`.
    """

    shown: ShownEndpoints
    decisions: Decisions
    leadership: Leadership
    of_leader: Callable[[str, str], Scale]

    def get(self, name: str) -> Scale:
        """Raises `UnknownEndpoint`."""
        with self.shown.store.reading() as tx:
            row = endpoint_or_raise(tx, name)
            (follows, unreadable), fixed = automation.readable_scaling_of(row), row.replicas
            view = self.shown.one(tx, row)
        versions = {one.version: one for one in view.variants}
        if unreadable:
            return Scale(name, fixed, None, [_as_it_is(one, "unknown", unreadable) for one in versions.values()])
        if follows is None or view.status == "deleting":
            why = "the endpoint is being deleted" if view.status == "deleting" else f"people asked for {fixed}"
            return Scale(name, fixed, None, [_as_it_is(one, "fixed", why) for one in versions.values()])
        if follows.autoscaler == ENGINE:
            decisions = [_as_it_is(one, ENGINE, BY_THE_ENGINE) for one in versions.values()]
            return Scale(name, fixed, views.scaling_view(follows), decisions)
        known, why = self._decided(name)
        decisions = [known.get(one.version) or _as_it_is(one, "unknown", why) for one in versions.values()]
        return Scale(name, fixed, views.scaling_view(follows), decisions)

    def _decided(self, name: str) -> tuple[Mapping[str, ScaleDecision], str]:
        """By version, and why there is none of a version."""
        leader = self.leadership.leader_elsewhere()
        if leader is not None:
            try:
                return {one.version: one for one in self.of_leader(leader.url, name).versions}, NOT_YET
            except NotLeader as error:
                return {}, error.message
        if self.leadership.term is None:
            return {}, "no control plane leads at the moment: nothing is decided"
        return self.decisions.of(name), NOT_YET


def _as_it_is(variant: rest.VariantView, rule: str, reason: str) -> ScaleDecision:
    count = variant.replicas
    return ScaleDecision(variant.version, count.desired, count.ready, rule, reason, managed_by=variant.managed_by)
