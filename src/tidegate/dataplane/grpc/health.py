"""`grpc.health.v1.Health`: Check, and Watch, which tells a client each change. Used by `server.py`."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.dataplane.grpc import protobuf
from tidegate.dataplane.grpc.heads import Head
from tidegate.dataplane.grpc.messages import read_name_and_version
from tidegate.dataplane.grpc.streams import StreamingCall
from tidegate.dataplane.http2.flow import Stream
from tidegate.errors import MalformedRequest, NoReadyReplica, Overloaded, TidegateError, UnknownRoute

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
WATCHES_MAX = 1024


class HealthService:
    """Whether the server answers predictions, for the server (an empty name) and each of its `services`."""

    def __init__(self, is_ready: Callable[[], bool], services: tuple[str, ...]) -> None:
        self._is_ready = is_ready
        self._services = services
        self._watches: set[Watch] = set()
        self._draining = False

    def status(self, service: str) -> int:
        """As the protocol numbers it."""
        if service and service not in self._services:
            return SERVICE_UNKNOWN
        return SERVING if self._is_ready() and not self._draining else NOT_SERVING

    def check(self, message: bytes) -> bytes:
        """Check: the status now."""
        service = read_name_and_version(message)[0]
        status = self.status(service)
        if status == SERVICE_UNKNOWN:
            raise UnknownRoute(f"there is no service {service!r} here; there is: {', '.join(self._services)}")
        return protobuf.number(1, status)

    def watch(self, stream: Stream, head: Head) -> Watch:
        """Watch: the status now, and whenever it is another."""
        return Watch(self, stream, head)

    def add(self, watch: Watch) -> None:
        """Tell it changes from now on; raises `Overloaded` for one too many."""
        if len(self._watches) >= WATCHES_MAX:
            raise Overloaded(f"{WATCHES_MAX} clients watch this server's health already: use Check")
        self._watches.add(watch)

    def discard(self, watch: Watch) -> None:
        """Stop notifying a watch."""
        self._watches.discard(watch)

    def sweep(self) -> None:
        """Notify watches of changes; called once a second."""
        for watch in list(self._watches):
            watch.look()

    def drain(self) -> None:
        """The server ends: tell everybody who watches, and let them go."""
        self._draining = True
        for watch in list(self._watches):
            watch.look()
            watch.finish(NoReadyReplica("the server is being stopped"))


class Watch(StreamingCall):
    """One client that watches. Where it gives no leave to send, it is told the latest status once it does."""

    def __init__(self, health: HealthService, stream: Stream, head: Head) -> None:
        super().__init__(stream, head)
        self._health = health
        self._service: str | None = None
        self._told: int | None = None

    def take(self, message: bytes) -> None:
        """What it watches."""
        if self._service is not None:
            raise MalformedRequest("Watch takes one message")
        service = read_name_and_version(message)[0]
        self._health.add(self)
        self._service = service
        self.look()

    def last(self) -> None:
        """It goes on until the client has enough."""
        if self._service is None:
            self.finish(MalformedRequest("Watch takes one message"))

    def look(self) -> None:
        """Tell the status if it is another than it was."""
        status = self._health.status(self._service or "")
        if status != self._told and self.stream.pending is None:
            self._told = status
            self.send(protobuf.number(1, status))

    def finish(self, error: TidegateError | None = None) -> None:
        """End the watch."""
        self._health.discard(self)
        super().finish(error)

    def abandon(self) -> None:
        """Nobody watches any more."""
        self._health.discard(self)
