"""Opens connections to one target: Unix socket, TCP or TLS, with the key that it asks for. Used by `target.py`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.clock import now
from tidegate.dataplane.codec.wire_template import Templates
from tidegate.gateway.upstream.connection import HopAnswer, HopConnection
from tidegate.gateway.upstream.hop import RequestWriter
from tidegate.gateway.upstream.identity import TokenOf, keep_token, no_tokens, renew_at
from tidegate.gateway.upstream.place import place_of
from tidegate.gateway.upstream.trust import Unusable, client_context, why_untrusted
from tidegate.system.unix_sockets import past_no_link
from tidegate.wire.gateways.identity import IdToken

UNKNOWN_STATUS = 401
REFUSALS = (UNKNOWN_STATUS, 403)
"""Whoever shows this key or token is not known, or has no right."""
RENEW_S_MIN = 1.0
"""Between two times that an ID token is asked for."""

KeyOf = Callable[[str], str]
"""The key that goes by a name. May read a file; raises `OSError`."""


def no_keys(credential: str) -> str:
    """Looks keys up where there are none. Raises `OSError`."""
    raise OSError(f"there is no key {credential!r}")


@dataclass(frozen=True)
class UpstreamAddress:
    """Where one target is reached; `address`, `credential`, `ca_file`, `audience` as in `wire.gateways.snapshot`.

    `model` is the name the replica serves it by. `templates`: the bytes of its commonest batches, where they are known.
    """

    id: str
    address: str
    model: str
    templates: Templates = field(default_factory=dict)
    credential: str = ""
    ca_file: str = ""
    audience: str = ""


@dataclass(frozen=True)
class Secrets:
    """Who knows what targets ask for: the keys of replicas, and the ID tokens of fronts before them."""

    key_of: KeyOf = no_keys
    token_of: TokenOf = no_tokens
    forget_token: Callable[[str], None] = keep_token
    """Told the audience for which a token was refused. Never waits."""


@dataclass(frozen=True)
class _Shown:
    """What requests to this target carry."""

    key: str | None = field(default=None, repr=False)
    token: IdToken | None = None


@dataclass(frozen=True)
class Unavailable:
    """Why there is no connection. `lasting`: until somebody changes something, it will be so each time."""

    why: str
    lasting: bool = False


class Dialer:
    """`writer` writes requests for the connections made last: with the key that was in force then, and an ID token
    that has not run out.
    """

    def __init__(self, where: UpstreamAddress, secrets: Secrets, loop: asyncio.AbstractEventLoop) -> None:
        self._where = where
        self._secrets = secrets
        self._loop = loop
        self._place = place_of(where.address)
        self._shown = _Shown()
        self.writer = self._make_writer(self._shown)

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
            if connection is not None and outcome is not connection:  # also where whoever asked timed out meanwhile
                connection.close()

    async def hold(self, connection: HopConnection) -> None:
        """Returns once the connection is gone. Meanwhile each ID token is followed by another one in time."""
        while self._shown.token is not None and not connection.closed.done():
            left_s = renew_at(self._shown.token, now()) - now()
            await asyncio.wait({connection.closed}, timeout=max(left_s, RENEW_S_MIN))
            if not connection.closed.done():
                with contextlib.suppress(OSError, Unusable):  # the one there is holds for a while; then it is refused
                    await self._loop.run_in_executor(None, self._read_files)
        await connection.closed

    def refused(self, status: int) -> Unavailable:
        """In words, that it answered 401 or 403. A token that is not known is shown no longer than it takes to get
        another one.
        """
        if status == UNKNOWN_STATUS and self._where.audience:
            self._secrets.forget_token(self._where.audience)
        if self._where.audience:
            return Unavailable(
                f"it refuses the ID token or the key of {self._where.credential!r} ({status}): does the platform's "
                "account have the right run.routes.invoke there (roles/run.invoker)?",
                lasting=True,
            )
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
            context = await loop.run_in_executor(None, self._read_files)
        name = place.host if place.tls else None
        try:
            _, connection = await loop.create_connection(
                make, place.host, place.port, ssl=context, server_hostname=name
            )
        except ssl.SSLError as error:
            raise why_untrusted(error, place.host) from error
        return connection

    def _read_files(self) -> ssl.SSLContext | None:
        """Whom to trust, as files say at this moment; `writer` has the key and the token of this moment afterwards.

        In a thread: files may be slow, and whoever makes tokens. Raises `Unusable` and `OSError`.
        """
        where, secrets = self._where, self._secrets
        try:
            key = secrets.key_of(where.credential) if where.credential else None
        except OSError as error:
            raise Unusable(f"its key {where.credential!r} cannot be worked out: {error}") from None
        shown = _Shown(key, secrets.token_of(where.audience) if where.audience else None)
        if shown != self._shown:
            self._shown, self.writer = shown, self._make_writer(shown)
        return client_context(where.ca_file) if self._place.tls else None

    def _make_writer(self, shown: _Shown) -> RequestWriter:
        place, where = self._place, self._where
        templates = where.templates if place.path else {}  # only a replica of this project is behind a socket
        identity = None if shown.token is None else shown.token.token
        return RequestWriter(where.model, place.named, templates, place.prefix, shown.key, identity)

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
