"""How many bytes of request bodies a process keeps, of all connections and protocols together, and the bound on them.

Used by `Exchange` alone. A body of up to `FREE_BYTES_MAX` that comes in one piece, as nearly all do, is not counted.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tidegate.dataplane.base.stepwise import each
from tidegate.errors import BuffersFull, TooLarge

if TYPE_CHECKING:
    from tidegate.dataplane.base.tensors import Array
    from tidegate.dataplane.calls.call import Call
    from tidegate.dataplane.calls.limits import DataplaneLimits
    from tidegate.dataplane.pipeline.metrics import MetricState

FREE_BYTES_MAX = 64 << 10
RETRY_AFTER_S = 1.0
ROWS_A_STEP = 256
ELEMENT_BYTES = 64
"""About what a Python object takes, which is what texts are held as."""


class Buffered:
    """`held_bytes` is what is kept now. A body of up to `free_bytes` in one piece need not be counted."""

    def __init__(self, limits: DataplaneLimits) -> None:
        self.held_bytes = 0
        self.refusals = 0
        self.free_bytes = min(FREE_BYTES_MAX, limits.body_bytes_max)
        self._bytes_max = limits.buffered_bytes_max

    @property
    def room_bytes(self) -> int:
        """How much more may be kept."""
        return max(0, self._bytes_max - self.held_bytes)

    def check(self, size_bytes: int) -> None:
        """Raise `BuffersFull` where there is no room for a body that is announced. Keeps no place for it.

        An announcement costs a client nothing, so it may not take the place of a body that does come.
        """
        if size_bytes > self.room_bytes:
            raise self.full(size_bytes)

    def change(self, more_bytes: int) -> None:
        """Count so many bytes more, or fewer; raises `BuffersFull` and counts none where there is no room."""
        if more_bytes > 0:
            self.check(more_bytes)
        self.held_bytes += more_bytes

    def full(self, size_bytes: int) -> BuffersFull:
        """The refusal of a body, which is counted."""
        self.refusals += 1
        return BuffersFull(
            f"the server holds {self.held_bytes} bytes of requests and takes {self._bytes_max}: "
            f"there is no room for {size_bytes} more, try again later",
            retry_after_s=RETRY_AFTER_S,
            expected=self._bytes_max,
            got=size_bytes,
        )

    def fill_gauges(self, state: MetricState) -> None:
        """Fill in the gauges of a scrape."""
        state.buffered_bytes = self.held_bytes
        state.counters["tidegate_buffered_refusals"] = self.refusals


class Bounds(Protocol):
    """What bounds the bodies of a process."""

    limits: DataplaneLimits
    buffered: Buffered


class Body:
    """The body of one request, which is counted from its second piece on, or when it is large, until it is let go.

    `call` and `meta` are what was made of it and may be views of it.
    """

    __slots__ = ("body", "call", "engine", "held_bytes", "meta")

    engine: Bounds
    body: bytes | bytearray
    held_bytes: int
    call: Call | None
    meta: Any

    def announce(self, size_bytes: int) -> None:
        """Raise `TooLarge` or `BuffersFull` for a body that will not be taken, before a byte of it came."""
        if size_bytes > self.engine.limits.body_bytes_max:
            raise self._too_large()
        if size_bytes > self.engine.buffered.free_bytes:
            self.engine.buffered.check(size_bytes)

    def collect(self, data: bytes) -> None:
        """Keep a piece of the body; raises `TooLarge` or `BuffersFull` where it is one too many."""
        if not self.body:
            self.body = data
        else:
            if type(self.body) is bytes:
                self.body = bytearray(self.body)
            self.body += data
        size_bytes = len(self.body)
        if size_bytes > self.engine.limits.body_bytes_max:
            raise self._too_large()
        if self.body is not data or size_bytes > self.engine.buffered.free_bytes:
            self.hold(size_bytes)

    def hold(self, size_bytes: int) -> None:
        """Be counted with so many bytes; raises `BuffersFull` where there is no room for them."""
        self.engine.buffered.change(size_bytes - self.held_bytes)
        self.held_bytes = size_bytes

    def let_go(self) -> None:
        """The request is over: what it held is free, and not kept until its connection asks for something else."""
        if self.held_bytes:
            self.engine.buffered.change(-self.held_bytes)
            self.held_bytes = 0
            self.body = b""
            self.call = self.meta = None

    def _too_large(self) -> TooLarge:
        size_max = self.engine.limits.body_bytes_max
        return TooLarge(f"the body is larger than the {size_max} bytes this server takes", expected=size_max)


def hold_values(exchange: Body, call: Call) -> None:
    """Count a large request by what its values take, where that is more than its bytes: numbers written as text.

    Lists become an array at once, for they take several times as much. A request that is the only one is always taken:
    there would never be more room for it.
    """
    pack_rows(call)
    exchange.body = b""  # what of it the values are views of stays
    buffered, more_bytes = exchange.engine.buffered, _value_bytes(call) - exchange.held_bytes
    is_only_one = buffered.held_bytes == exchange.held_bytes
    if more_bytes > 0 and not (is_only_one and more_bytes > buffered.room_bytes):
        exchange.hold(exchange.held_bytes + more_bytes)


def pack_rows(call: Call) -> None:
    """Make an array of a call's rows where they are lists."""
    rows, dtype = call.packed, call.destination.packed_dtype
    if isinstance(rows, list):
        with contextlib.suppress(ValueError, TypeError, OverflowError):  # the batcher says what is wrong with them
            parts = [np.array(rows[at : at + ROWS_A_STEP], dtype) for at in each(range(0, len(rows), ROWS_A_STEP))]
            call.packed = np.concatenate(parts)


def _value_bytes(call: Call) -> int:
    """What a call's values take once they are arrays."""
    if call.packed is not None:
        return 0 if isinstance(call.packed, list) else _array_bytes(call.packed)
    return sum(_array_bytes(array) for array in (call.tensors or {}).values())


def _array_bytes(array: Array) -> int:
    return array.size * ELEMENT_BYTES if array.dtype.kind == "O" else array.nbytes
