"""Opens connections to one target: Unix socket, TCP or TLS, with the key that it asks for. Used by `target.py`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.dataplane.codec.wire_template import Templates
from tidegate.gateway.upstream.connection import HopAnswer, HopConnection
from tidegate.gateway.upstream.hop import RequestWriter
from tidegate.gateway.upstream.place import place_of
from tidegate.gateway.upstream.trust import Unusable, client_context, why_untrusted
from tidegate.system.unix_sockets import past_no_link

REFUSALS = (401, 403)

KeyOf = Callable[[str], str]
"""The key that goes by a name. May read a file; raises `OSError`."""


def no_keys(credential: str) -> str:
    """Looks keys up where there are none. Raises `OSError`."""
    raise OSError(f"there is no key {credential!r}")


@dataclass(frozen=True)
class UpstreamAddress:
    """Where one target is reached; `address`, `credential` and `ca_file` as in `wire.snapshot.Target`.

    `model` is the name the replica serves it by. `templates`: the bytes of its commonest batches, where they are known.
    """

    id: str
    address: str
    model: str
    templates: Templates = field(default_factory=dict)
    credential: str = ""
    ca_file: str = ""


@dataclass(frozen=True)
class Unavailable:
    """Why there is no connection. `lasting`: until somebody changes something, it will be so each time."""

    why: str
    lasting: bool = False


class Dialer:
    """`writer` writes requests for the connections made last: with the key that was in force then."""

    def __init__(self, where: UpstreamAddress, key_of: KeyOf, loop: asyncio.AbstractEventLoop) -> None:
        self._where = where
        self._key_of = key_of
        self._loop = loop
        self._place = place_of(where.address)
        self._key: str | None = None
        self.writer = self._make_writer(None)

    async def connect_ready(self) -> HopConnection | Unavailable:
        """A connection to a target that says it is ready and takes the key, or why there is none. Takes its time."""
        connection: HopConnection | None = None
        outcome: HopConnection | Unavailable | None = None
        try:
            connection = await self._connect()
            outcome = await self._ask(connection) or connection
            return outcome
        except Unusable as error:
            return Unavailable(str(error), lasting=True)
        except (OSError, ValueError) as error:
            return Unavailable(f"it cannot be reached ({error})")
        finally:
            if connection is not None and outcome is not connection:  # also where whoever asked gave up meanwhile
                connection.close()

    def refused(self, status: int) -> Unavailable:
        """In words, that it answered 401 or 403."""
        if self._where.credential:
            return Unavailable(f"it refuses the key of {self._where.credential!r} ({status})", lasting=True)
        return Unavailable(f"it asks for a key, and has none in the routing snapshot ({status})", lasting=True)

    async def _connect(self) -> HopConnection:
        place, loop = self._place, self._loop
        if place.fault:
            raise Unusable(place.fault)

        def make() -> HopConnection:
            return HopConnection(loop, unix=bool(place.path))

        if place.path:
            with past_no_link(place.path) as address:
                _, connection = await loop.create_unix_connection(make, address)
            return connection
        context = None
        if place.tls or self._where.credential:
            key, context = await loop.run_in_executor(None, self._read_files)
            if key != self._key:
                self._key, self.writer = key, self._make_writer(key)
        name = place.host if place.tls else None
        try:
            _, connection = await loop.create_connection(
                make, place.host, place.port, ssl=context, server_hostname=name
            )
        except ssl.SSLError as error:
            raise why_untrusted(error, place.host) from error
        return connection

    def _read_files(self) -> tuple[str | None, ssl.SSLContext | None]:
        """The key, and whom to trust, as files say at this moment. In a thread: they may be slow."""
        where = self._where
        try:
            key = self._key_of(where.credential) if where.credential else None
        except OSError as error:
            raise Unusable(f"its key {where.credential!r} cannot be worked out: {error}") from None
        return key, client_context(where.ca_file) if self._place.tls else None

    def _make_writer(self, key: str | None) -> RequestWriter:
        place, where = self._place, self._where
        templates = where.templates if place.path else {}  # only a replica of this project is behind a socket
        return RequestWriter(where.model, place.named, templates, place.prefix, key)

    async def _ask(self, connection: HopConnection) -> Unavailable | None:
        answered: asyncio.Future[HopAnswer | None] = self._loop.create_future()

        def on_answer(answer: HopAnswer | None) -> None:
            if not answered.done():
                answered.set_result(answer)

        connection.send([self.writer.probe], on_answer)
        answer = await answered
        if answer is None or not connection.open:
            return Unavailable("it is not ready")
        if answer.status in REFUSALS:
            return self.refused(answer.status)
        return None if answer.status == 200 else Unavailable(f"it is not ready ({answer.status})")
