"""A request's unit, its assignment to a variant, and the observer's record of one that is refused.

Edges call `choose` once a request, with what they read of its body. How weights become a variant:
`core/routing/assign.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.errors import InvalidArgument, MalformedRequest, Unauthenticated
from tidegate.wire.gateways.decision import KEY_CHARS_MAX, AssignmentContext, Decision

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Observer
    from tidegate.dataplane.calls.call import Destination
    from tidegate.dataplane.calls.directory import Directory, Service
    from tidegate.errors import TidegateError


NAME_CHARS_SHOWN = 80


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
    """The unit an experiment sticks to: the header, else `user_id` of the body or its parameters; empty is none.

    A header in UTF-8 names the same unit as that text in a body; one that is no UTF-8 is read byte by byte.
    Raises `InvalidArgument` for a key that is too long, and for a `user_id` that is neither text nor a whole number.
    """
    header = exchange.headers.get(b"x-tidegate-key")
    if header is not None:
        return _checked(_text(header), "X-Tidegate-Key")
    return None if named is None else _checked(named, "user_id")


def _text(header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


def _checked(key: Any, name: str) -> str | None:
    if type(key) is int:
        # An integer in JSON may have more digits than Python writes.
        key = str(key) if key.bit_length() <= KEY_CHARS_MAX else " " * (KEY_CHARS_MAX + 1)
    if type(key) is not str:
        raise InvalidArgument(
            f"{name} is a {type(key).__name__}: it names a unit by text or a whole number", field=name
        )
    if len(key) > KEY_CHARS_MAX:
        raise InvalidArgument(
            f"{name} is longer than {KEY_CHARS_MAX} characters: name the unit by an id, or by a hash of what it has",
            field=name,
        )
    return key or None


def asked_for(headers: Mapping[bytes, bytes], version: str | None) -> str | None:
    """What a request is pinned to: the variant that its header names, or `version`, that of the path or the body.

    Raises `MalformedRequest` where two of them are named that differ.
    """
    pinned = None if version == "latest" else version
    header = headers.get(b"x-tidegate-variant")
    if header is None:
        return pinned
    variant = _text(header)
    if pinned is not None and pinned != variant:
        raise MalformedRequest(
            f"the request names variant {variant[:NAME_CHARS_SHOWN]!r} in X-Tidegate-Variant, and version "
            f"{pinned[:NAME_CHARS_SHOWN]!r} besides: name one of them"
        )
    return variant


def choose(service: Service, exchange: Assignable, version: str | None, unit: str | None) -> Destination:
    """Assign the request to a variant, by weights or by the pinned version; the destination that answers.

    The path's version takes precedence over `version`, the body's. The only place where `exchange.decision` is set.
    Raises `UnknownVersion`, `NoReadyReplica`, `MalformedRequest`.
    """
    pinned = asked_for(exchange.headers, exchange.route.version or version)
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
        context = AssignmentContext(service.name, exchange.request_id, _unit_if_any(exchange))
    now_s = engine.clock()
    started_s = now_s if started_s is None else started_s
    engine.observer.refused(FailedRequest(context, exchange.decision, error, started_s, now_s))


def _unit_if_any(exchange: Assignable) -> str | None:
    """The unit of a request whose body was not read, none where it is named by what is no key."""
    try:
        return unit_of(exchange, None)
    except InvalidArgument:
        return None
