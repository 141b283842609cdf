"""A request's unit and its assignment, made once by the edge; and what observers are told of one that is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tidegate.dataplane.calls.failure import Failure
from tidegate.errors import Unauthenticated
from tidegate.wire.decision import AssignmentContext, Decision

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Observer
    from tidegate.dataplane.calls.call import Destination
    from tidegate.dataplane.calls.directory import Directory, Service
    from tidegate.errors import TidegateError


class Named(Protocol):
    """What a request's path names."""

    @property
    def name(self) -> str | None:
        """The endpoint; None on a replica's plain route."""

    @property
    def version(self) -> str | None:
        """A version, where the path pins one."""


class Serving(Protocol):
    """The server that a request came to."""

    @property
    def directory(self) -> Directory:
        """What is served."""

    @property
    def observer(self) -> Observer:
        """Who is told."""

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic."""


class Asking(Protocol):
    """A request on its way to an assignment."""

    request_id: str
    context: AssignmentContext | None
    decision: Decision | None

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Those that matter."""

    @property
    def route(self) -> Named:
        """What its path names."""

    @property
    def engine(self) -> Serving:
        """Where it came to."""


def unit_of(exchange: Asking, named: Any) -> str | None:
    """The unit an experiment sticks to: the header, else `user_id` of the body or its parameters."""
    header = exchange.headers.get(b"x-tidegate-key")
    if header is not None:
        return header.decode("latin-1")
    return None if named is None else str(named)


def choose(service: Service, exchange: Asking, version: str | None, unit: str | None) -> Destination:
    """The version that answers. The path's version goes before the body's.

    The assignment is made here, once: `exchange.decision`.
    """
    asked = exchange.route.version or version
    pinned = None if asked == "latest" else asked
    exchange.context = context = AssignmentContext(service.name, exchange.request_id, unit, pinned)
    exchange.decision = decision = service.decide(context)
    return service.destination(decision)


def tell_refused(exchange: Asking, error: TidegateError, started_s: float | None = None) -> None:
    """Tell the observer of a request that never became a call, or that no version took.

    Not of one for what there is not, nor of one without a key in force: whoever may not ask leaves no trace in what is
    captured of an endpoint.
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
    engine.observer.refused(Failure(context, exchange.decision, error, started_s, now_s))
