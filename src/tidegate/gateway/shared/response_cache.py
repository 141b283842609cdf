"""The response cache: answers that were given before, kept in Redis. Only for endpoints with `cache_ttl_s`.

A `CachedAdmission` stands before the batcher of a version. It asks Redis for what all requests of one turn of the loop
want, in one command; what is not there, or not soon enough, goes the usual way, and its answer is written down
afterwards. A request waits for the cache for `LOOKUP_TIMEOUT_S` at most, and for one that did not answer in time none
waits again until the link to Redis is up.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from tidegate.dataplane.base.incidents import as_error
from tidegate.gateway.shared.response_cache_codec import read_answer, request_key, write_answer

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tidegate.dataplane.calls.call import Admission, Call, Destination, Sink
    from tidegate.dataplane.calls.outputs import Outputs
    from tidegate.dataplane.pipeline.metrics import MetricState
    from tidegate.errors import TidegateError
    from tidegate.gateway.shared.redis_link import RedisLink
    from tidegate.wire.gateways.snapshot import RoutedEndpoint, Variant

LOOKUP_TIMEOUT_S, WRITE_TIMEOUT_S = 0.2, 0.5
LOOKUPS_AT_A_TIME, LOOKUP_KEYS_MAX, WAITING_MAX = 4, 256, 2048
WRITES_WAITING_MAX, WRITES_AT_A_TIME = 1024, 128

Entry = tuple[str, bytes, int]
"""An answer's key, what is written, and for how many milliseconds."""

log = logging.getLogger(__name__)


class CacheObserver(Protocol):
    """Counts and records requests that the cache was asked for."""

    def cached(self, call: Call, outputs: Outputs, now_s: float) -> None:
        """A kept answer is about to be given."""

    def missed(self, call: Call) -> None:
        """There was none: the call goes to its version."""

    def call_failed(self, call: Call, error: TidegateError, now_s: float) -> None:
        """Its version did not take it either."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A call that waits for what the cache says."""

    call: Call
    key: str
    admission: CachedAdmission


class ResponseCache:
    """Reads and writes for all endpoints of this gateway, with a bound on what waits."""

    def __init__(self, link: RedisLink, observer: CacheObserver, clock: Callable[[], float]) -> None:
        self._link = link
        self._observer = observer
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Lookup] = deque()
        self._reading = 0
        self._read_due = False
        self._unwritten: deque[Entry] = deque()
        self._writing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.bypassed = 0
        self.unkept = 0

    def admits(self) -> bool:
        """Whether a call may be looked up now; one that may not is counted, and goes the usual way."""
        if self._link.up and len(self._waiting) < WAITING_MAX:
            return True
        self.bypassed += 1
        return False

    def key(self, place: str, scope: bytes, call: Call) -> str | None:
        """What the call's answer is called in Redis; None for one that is not kept."""
        name = request_key(scope, call)
        if name is None:
            self.bypassed += 1
        return None if name is None else f"{self._link.prefix}:answer:{place}:{name}"

    def fill_gauges(self, state: MetricState) -> None:
        """Fill in the gauges of a scrape."""
        state.counters["tidegate_cache_bypassed_requests"] = self.bypassed
        state.counters["tidegate_cache_unkept_answers"] = self.unkept

    # -- reading ---------------------------------------------------------------------------------------------------

    def look_up(self, lookup: Lookup) -> None:
        """Answer it, or hand it to its version, later."""
        self._waiting.append(lookup)
        if not self._read_due and self._reading < LOOKUPS_AT_A_TIME:
            self._read_due = True
            self._loop.call_soon(self._read)  # one turn later: all requests of this turn share a command

    def _read(self) -> None:
        self._read_due = False
        while self._waiting and self._reading < LOOKUPS_AT_A_TIME:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), LOOKUP_KEYS_MAX))]
            self._reading += 1
            self._spawn(self._read_batch(batch))

    async def _read_batch(self, batch: list[Lookup]) -> None:
        keys = [lookup.key for lookup in batch]
        found: list[bytes | None] | None = None
        try:
            if self._link.up:  # else it went down while these waited
                found = await self._link.ask(lambda client: _get_all(client, keys), LOOKUP_TIMEOUT_S)
        finally:
            self._reading -= 1
            for lookup, written in zip(batch, found or [None] * len(batch), strict=True):
                self._settle(lookup, written, asked=found is not None)
            self._read()

    def _settle(self, lookup: Lookup, written: bytes | None, *, asked: bool) -> None:
        """Each call is settled once, whatever becomes of the others."""
        call, admission = lookup.call, lookup.admission
        admission.pool.visitors.discard(call)
        if call.done:
            return
        try:
            outputs = None if written is None else read_answer(lookup.key, written, call)
            if outputs is not None:
                self._observer.cached(call, outputs, self._clock())
                call.destination = admission.as_kept(call.destination)
                call.answer(outputs, 0)
                return
            if asked:
                self._observer.missed(call)
                call.sink = Keeper(call.sink, self, lookup)
            else:
                self.bypassed += 1
            admission.pool.batcher.submit(call)
        except Exception as failure:
            error = as_error(failure)
            self._observer.call_failed(call, error, self._clock())
            call.fail(error)

    # -- writing ---------------------------------------------------------------------------------------------------

    def keep(self, lookup: Lookup, call: Call, outputs: Outputs, first_row: int) -> None:
        """Write an answer down, soon, if Redis is there and keeps up."""
        written = None
        if self._link.up and len(self._unwritten) < WRITES_WAITING_MAX:
            written = write_answer(lookup.key, call, outputs, first_row)
        if written is None:
            self.unkept += 1
            return
        self._unwritten.append((lookup.key, written, lookup.admission.ttl_ms))
        if not self._writing:
            self._writing = True
            self._spawn(self._write())

    async def _write(self) -> None:
        try:
            while self._unwritten:
                entries = [self._unwritten.popleft() for _ in range(min(len(self._unwritten), WRITES_AT_A_TIME))]
                if not await self._written(entries):
                    self.unkept += len(entries)
        finally:
            self._writing = False

    async def _written(self, entries: list[Entry]) -> bool:
        if not self._link.up:
            return False
        return await self._link.ask(lambda client: _set_all(client, entries), WRITE_TIMEOUT_S) is not None

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _get_all(client: Redis, keys: list[str]) -> list[bytes | None]:
    return cast("list[bytes | None]", await client.mget(keys))


async def _set_all(client: Redis, entries: list[Entry]) -> int:
    async with client.pipeline(transaction=False) as pipe:
        for key, written, ttl_ms in entries:
            pipe.set(key, written, px=ttl_ms)
        await pipe.execute()
    return len(entries)


@dataclass(frozen=True)
class Visited:
    """Where the calls of a version go next, and those that the cache looks up before."""

    batcher: Admission
    visitors: set[Call]


def batcher_of(admission: object) -> object:
    """The batcher behind what stands in front of it."""
    while (pool := getattr(admission, "pool", None)) is not None:
        admission = pool.batcher
    return admission


class CachedAdmission:
    """The `Admission` of one version of an endpoint whose answers are kept."""

    def __init__(self, pool: Visited, cache: ResponseCache, endpoint: RoutedEndpoint, variant: Variant) -> None:
        self.pool = pool
        self.ttl_ms = max(1, round(endpoint.cache_ttl_s * 1000))
        self._cache = cache
        self._place = f"{endpoint.name}:{variant.version}"
        self._scope = "\0".join((endpoint.salt, variant.model, variant.version, variant.digest)).encode()
        self._kept: Destination | None = None

    def __eq__(self, other: object) -> bool:
        return batcher_of(self) is batcher_of(other)

    def __hash__(self) -> int:
        return hash(self.pool.batcher)

    @property
    def accepts(self) -> bool:
        """Whether a call that is handed in now is answered."""
        return self.pool.batcher.accepts

    def submit(self, call: Call) -> None:
        """Look the call up; it is answered, or handed to the batcher, later."""
        key = self._cache.key(self._place, self._scope, call) if self._cache.admits() else None
        if key is None:
            self.pool.batcher.submit(call)
        else:
            self.pool.visitors.add(call)
            self._cache.look_up(Lookup(call, key, self))

    def as_kept(self, destination: Destination) -> Destination:
        """The same, as the answers name it that come from the cache."""
        if self._kept is None:
            self._kept = copy.copy(destination)
            self._kept.head = b"x-tidegate-cache: hit\r\n" + destination.head
        return self._kept


class Keeper:
    """The sink of a call that the cache had no answer for: passes the answer on, and has it written down."""

    __slots__ = ("_cache", "_lookup", "_sink")

    def __init__(self, sink: Sink, cache: ResponseCache, lookup: Lookup) -> None:
        self._sink = sink
        self._cache = cache
        self._lookup = lookup

    @property
    def connection(self) -> object:
        """The connection of the client that asked."""
        return self._sink.connection

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None:
        """Pass it on first: nobody waits for Redis."""
        self._sink.answer(call, outputs, first_row)
        try:
            self._cache.keep(self._lookup, call, outputs, first_row)
        except Exception:  # it was given: a failure would be its request's second response
            log.exception("an answer could not be kept")

    def fail(self, call: Call, error: TidegateError) -> None:
        """Pass a failure on; it is not cached."""
        self._sink.fail(call, error)
