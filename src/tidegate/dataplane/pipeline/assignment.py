"""A request's unit, its assignment to a variant, and the observer's record of one that is refused.

Edges call `choose` once a request, with what they read of its body. How weights become a variant:
`core/routing/assign.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.errors import Unauthenticated
from tidegate.wire.decision import AssignmentContext, Decision

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Observer
    from tidegate.dataplane.calls.call import Destination
    from tidegate.dataplane.calls.directory import Directory, Service
    from tidegate.errors import TidegateError


class RequestedNames(Protocol):
    """The endpoint and version that a request's path names."""

    @property
    def name(self) -> str | None:
        """The endpoint; None on a replica's plain route."""

    @property
    def version(self) -> str | None:
        """A version, where the path pins one."""


class ServerParts(Protocol):
    """What assignment needs of the server that a request came to."""

    @property
    def directory(self) -> Directory:
        """What this server serves, by name."""

    @property
    def observer(self) -> Observer:
        """Its observer: what counts and records requests."""

    @property
    def clock(self) -> Callable[[], float]:
        """A monotonic clock, in seconds."""


class Assignable(Protocol):
    """What assignment needs of a request (`pipeline.infer.Exchange`)."""

    request_id: str
    context: AssignmentContext | None
    decision: Decision | None

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Those that a prediction looks at (`infer.that_matter`)."""

    @property
    def route(self) -> RequestedNames:
        """The endpoint and version that the request's path names."""

    @property
    def engine(self) -> ServerParts:
        """The inference engine that the request came to."""


def unit_of(exchange: Assignable, named: Any) -> str | None:
    """The unit an experiment sticks to: the header, else `user_id` of the body or its parameters.

    A header in UTF-8 names the same unit as that text in a body; one that is no UTF-8 is read byte by byte.
    """
    header = exchange.headers.get(b"x-tidegate-key")
    if header is not None:
        try:
            return header.decode()
        except UnicodeDecodeError:
            return header.decode("latin-1")
    return None if named is None else str(named)


def choose(service: Service, exchange: Assignable, version: str | None, unit: str | None) -> Destination:
    """Assign the request to a variant, by weights or by the pinned version; the destination that answers.

    The path's version takes precedence over `version`, the body's. The only place where `exchange.decision` is set.
    Raises `UnknownVersion`, `NoReadyReplica`.
    """
    asked = exchange.route.version or version
    pinned = None if asked == "latest" else asked
    exchange.context = context = AssignmentContext(service.name, exchange.request_id, unit, pinned)
    exchange.decision = decision = service.decide(context)
    return service.destination(decision)


def tell_refused(exchange: Assignable, error: TidegateError, started_s: float | None = None) -> None:
    """Report to the observer a request that never became a call, or that no version took.

    Not one for an unknown endpoint, nor one without a valid key: who may not ask leaves no trace in what is captured.
    """
    engine, context = exchange.engine, exchange.context
    if isinstance(error, Unauthenticated):
        return
    if context is None:
        name = exchange.route.name
        service = engine.directory.services().get(name) if name is not None else engine.directory.only()
        if service is None:
            return
        context = AssignmentContext(service.name, exchange.request_id, unit_of(exchange, None))
    now_s = engine.clock()
    started_s = now_s if started_s is None else started_s
    engine.observer.refused(FailedRequest(context, exchange.decision, error, started_s, now_s))
