"""Copies of a share of an endpoint's requests for the version that shadows it. Called by the gateway's observer.

A request is copied in a turn of the loop of its own, after its answer was written: nothing of a shadow lies on the way
of a live one. Copies have a batcher, connections, bounds and a deadline of their own, and are the first to be left out
(*shed*) where there is no room or live requests wait. Nothing here is told to the live metrics.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from tidegate.core.routing.assign import unit_interval
from tidegate.dataplane.base.tensors import rows_array
from tidegate.dataplane.batching.parts import CallPart
from tidegate.dataplane.calls.call import Call
from tidegate.errors import TidegateError
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.signature import fed_by

if TYPE_CHECKING:
    import asyncio

    import numpy as np

    from tidegate.clock import Clock
    from tidegate.dataplane.calls.batch import Batch
    from tidegate.dataplane.calls.call import Destination
    from tidegate.dataplane.calls.limits import DataplaneLimits
    from tidegate.dataplane.calls.outputs import Outputs, Tensors
    from tidegate.gateway.shadow.observer import ShadowObserver
    from tidegate.settings import Settings
    from tidegate.wire.signature import Signature

SALT = "\x1fshadow"
GATHER_S = 0.01
"""Copies wait so long for others to share a batch with: nobody waits for them, and batches cost more than rows."""
TEXT_BYTES, TEXTS_SAMPLED = 50, 256
"""About what a text takes beside its characters; of how many the length is looked at."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShadowLimits:
    """Of all shadows of a gateway process together: rows and bytes that wait or are computed, and their deadline."""

    rows_max: int = 4096
    bytes_max: int = 64 << 20
    timeout_s: float = 10.0

    @classmethod
    def from_settings(cls, settings: Settings) -> ShadowLimits:
        """As the environment says; a copy never waits longer than a live request may."""
        timeout_s = min(settings.shadow_timeout_s, settings.request_timeout_s)
        return cls(settings.shadow_rows_max, settings.shadow_bytes_max, timeout_s)


class Backlog(Protocol):
    """A live version's batcher, as far as shadows look at it."""

    @property
    def is_behind(self) -> bool:
        """Whether more waits than the next batch takes."""


@dataclass(frozen=True)
class Listening:
    """The shadow of one endpoint, as one snapshot has it. `share` is percent, of what `live` batchers answer."""

    destination: Destination
    salt: str
    share: float
    revision: int
    live: tuple[Backlog, ...] = ()

    def copies(self, unit: str) -> bool:
        """Whether this unit's requests are copied: the same ones as long as the share stays, more as it grows."""
        return self.share >= 100.0 or unit_interval(self.salt + SALT, unit) * 100.0 < self.share

    @property
    def why_not_now(self) -> str:
        """Why nothing is copied just now; "" where something is."""
        if not self.destination.batcher.accepts:
            return "not_ready"
        return "busy" if any(one.is_behind for one in self.live) else ""


class _Shadow:
    """A shadow with what is worked out once for it."""

    def __init__(self, listening: Listening) -> None:
        self.listening = listening
        identity = listening.destination.identity
        self.decision = Decision(
            assigned=identity.variant,
            variant=identity.variant,
            version=identity.version,
            propensity=listening.share / 100.0,
            role="shadow",
            revision=listening.revision,
        )
        self._known: dict[Destination, Destination | None] = {}

    def destination_for(self, live: Destination) -> Destination | None:
        """Where a request that `live` answered is copied to; None where it takes other inputs."""
        try:
            return self._known[live]
        except KeyError:
            found = self._known[live] = self._find(live.signature)
            return found

    def _find(self, live: Signature) -> Destination | None:
        own = self.listening.destination
        for one in (own, *own.others.values()):
            if one.signature.name == live.name and takes_the_same(one.signature, live):
                return one
        return None


def takes_the_same(one: Signature, other: Signature) -> bool:
    """Whether rows that were read for `other` are rows of `one` as they stand."""
    fed = fed_by(one, other)
    return (fed.kind, fed.inputs, fed.params, fed.items) == (other.kind, other.inputs, other.params, other.items)


class ShadowCopies:
    """All shadows of a gateway process. `batch_done` is called before a batch's answers leave, and only takes note."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: ShadowLimits, observer: ShadowObserver, clock: Clock
    ) -> None:
        self._loop, self._limits, self._observer, self._clock = loop, limits, observer, clock
        self._by_endpoint: dict[str, _Shadow] = {}
        self._gathered: list[Call] = []
        self.rows = 0
        """Of copies that wait or are computed now; so is `size_bytes`."""
        self.size_bytes = 0

    def adopt(self, listening: Mapping[str, Listening]) -> None:
        """The shadows of a snapshot, by endpoint. Copies that are on their way are still answered."""
        self._by_endpoint = {name: _Shadow(one) for name, one in listening.items()}

    @property
    def hook(self) -> Callable[[Batch], None] | None:
        """What the observer calls with each live batch; None while nothing shadows."""
        return self.batch_done if self._by_endpoint else None

    def batch_done(self, batch: Batch) -> None:
        """Have a batch's requests copied, those to which the shadow listens, once they are answered."""
        shadow = self._by_endpoint.get(batch.destination.identity.endpoint)
        if shadow is not None and batch.rows:
            answered = [not call.done and bool(call.completes) for call in batch.calls]
            self._loop.call_soon(self._copy_batch, shadow, batch, answered)

    def _copy_batch(self, shadow: _Shadow, batch: Batch, answered: Iterable[bool]) -> None:
        try:
            self._copy_sampled(shadow, batch, answered)
        except Exception:
            log.exception("a batch could not be copied to the shadow")

    def _copy_sampled(self, shadow: _Shadow, batch: Batch, answered: Iterable[bool]) -> None:
        listening, first = shadow.listening, 0
        sampled: list[tuple[Call, slice]] = []
        for call, is_answered in zip(batch.calls, answered, strict=True):
            rows = slice(first, first + call.rows)
            first = rows.stop
            pinned = call.decision is not None and call.decision.pinned
            if is_answered and not pinned and listening.copies(call.unit or call.request_id):
                sampled.append((call, rows))
        if not sampled:
            return
        there = shadow.destination_for(batch.destination)
        shed: Counter[str] = Counter()
        if there is None:
            shed["signature"] = len(sampled)
        elif why := listening.why_not_now:
            shed[why] = len(sampled)
        else:
            for call, rows in sampled:
                if why := self._copy_call(shadow, there, batch, call, rows):
                    shed[why] += 1
        for reason, calls in shed.items():
            self._observer.shed(listening.destination.identity.endpoint, shadow.decision, reason, calls)

    def _copy_call(self, shadow: _Shadow, there: Destination, batch: Batch, call: Call, rows: slice) -> str:
        """Copy a request; why it was not, where there is no room for it."""
        # Of a request that was cut into parts the last one stands for the whole, which nobody else holds any more.
        whole = call.whole if isinstance(call, CallPart) else call
        if self.rows + whole.rows > self._limits.rows_max:
            return "rows"
        tensors = _rows_of(batch.inputs, rows) if whole is call else _whole_tensors(whole, there)
        size_bytes = _size_bytes(tensors)
        if self.size_bytes + size_bytes > self._limits.bytes_max:
            return "bytes"
        if whole is call:
            try:
                tensors = _copied(tensors)
            except MemoryError:
                return "memory"
        copy = Call(_Discarded(self, whole.rows, size_bytes), there, call.request_id, whole.rows)
        copy.unit, copy.decision, copy.params = call.unit, shadow.decision, call.params
        if whole.packed is None:
            copy.tensors = tensors
        else:
            copy.packed = tensors[there.packed_name]
        if not self._gathered:
            self._loop.call_later(GATHER_S, self._submit_gathered)
        self._gathered.append(copy)
        return ""

    def _submit_gathered(self) -> None:
        """Hand the copies over that have come together; their time begins now."""
        gathered, self._gathered = self._gathered, []
        now_s = self._clock()
        for copy in gathered:
            copy.started_s, copy.deadline_s = now_s, now_s + self._limits.timeout_s
            try:
                copy.destination.batcher.submit(copy)
            except TidegateError as error:
                self._observer.call_failed(copy, error, now_s)
                copy.fail(error)


class _Discarded:
    """The sink of copies: their answers were recorded by then, and nobody waits for them."""

    __slots__ = ("_shadows", "rows", "size_bytes")

    def __init__(self, shadows: ShadowCopies, rows: int, size_bytes: int) -> None:
        """The copy is on its way from now on."""
        self._shadows, self.rows, self.size_bytes = shadows, rows, size_bytes
        shadows.rows += rows
        shadows.size_bytes += size_bytes

    @property
    def connection(self) -> object:
        """One client for all: copies have no claim on one another."""
        return self._shadows

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None:  # noqa: ARG002 (the port's shape)
        """Make room: the copy has ended."""
        self._left()

    def fail(self, call: Call, error: TidegateError) -> None:  # noqa: ARG002 (the port's shape)
        """Make room: the copy has ended."""
        self._left()

    def _left(self) -> None:
        self._shadows.rows -= self.rows
        self._shadows.size_bytes -= self.size_bytes


def _rows_of(inputs: Tensors, rows: slice) -> Tensors:
    return {name: array[rows] for name, array in inputs.items()}


def _copied(tensors: Tensors) -> Tensors:
    """A copy: a view would keep the whole batch."""
    return {name: array.copy() for name, array in tensors.items()}


def _whole_tensors(whole: Call, own: Destination) -> Tensors:
    if whole.packed is None:
        return whole.tensors or {}
    packed: np.ndarray[Any, Any]
    packed = rows_array(whole.packed, own.packed_dtype) if isinstance(whole.packed, list) else whole.packed
    return {own.packed_name: packed}


def _size_bytes(tensors: Tensors) -> int:
    """Of arrays, and about that of texts in them."""
    return sum(array.nbytes + (_texts_bytes(array) if array.dtype == object else 0) for array in tensors.values())


def _texts_bytes(array: np.ndarray[Any, Any]) -> int:
    """About, of many texts by a sample of them."""
    step = max(1, array.size // TEXTS_SAMPLED)
    sampled = array.ravel()[::step]
    found = sum(TEXT_BYTES + len(one) for one in sampled if isinstance(one, str | bytes))
    return found * array.size // max(1, len(sampled))


def limits_of(limits: DataplaneLimits, shadow: ShadowLimits) -> DataplaneLimits:
    """What holds for a shadow's batcher and connections."""
    return replace(limits, timeout_s=shadow.timeout_s, queue_rows_max=shadow.rows_max)
