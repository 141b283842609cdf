"""A large request's way to the batcher and back, a piece in each turn of the event loop.

Its long arrays of numbers are read by themselves (`codec/numbers.py`). Whatever else it holds is bounded
(`base/amounts.py`), and read by the edge as it reads any request, in steps (`base/stepwise.py`). Used by every server
that takes predictions.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Generator, Iterator
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

from tidegate.dataplane.base.amounts import check_amount, check_rows
from tidegate.dataplane.base.cooperative_scheduler import LARGE_BYTES_MIN, while_wanted
from tidegate.dataplane.base.stepwise import in_steps
from tidegate.dataplane.calls.call import Call, Destination
from tidegate.dataplane.calls.directory import Service
from tidegate.dataplane.codec.numbers import NumberTexts, read_numbers
from tidegate.dataplane.pipeline.buffered import pack_rows
from tidegate.dataplane.pipeline.encodings import inflate_body
from tidegate.dataplane.pipeline.infer import (
    Edge,
    Exchange,
    count_request,
    fail,
    find_service,
    infer,
    service_of,
    submit,
)
from tidegate.errors import NoReadyReplica, TidegateError

DECODES_MAX = 4
"""How often a request is read whose version was stopped meanwhile."""
AT_ONCE_BYTES_MAX = 1 << 20
"""Of a body that is tensors but for a short text."""


@runtime_checkable
class ReadsNumbers(Edge, Protocol):
    """A protocol whose large bodies are read a piece at a time, as far as they are numbers (`codec/numbers.py`)."""

    arrays: ClassVar[re.Pattern[bytes]]

    def takes_numbers(self, destination: Destination) -> bool:
        """Whether arrays of numbers can be what this version takes: reading them by themselves is for nothing else."""

    def decode(self, exchange: Exchange, service: Service, numbers: NumberTexts | None = None) -> Call:
        """With `numbers`, of a body whose long arrays were read already: a failure then is one of that way alone."""


@runtime_checkable
class HasTensors(Edge, Protocol):
    """A protocol whose bodies may be binary tensors behind a text."""

    def head_of(self, exchange: Exchange) -> bytes | bytearray | None:
        """The JSON in front of binary tensors; None for a body that is JSON alone."""


def start(exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
    """Take a request whose body is complete to the batcher: at once, or in turns where reading it may take long."""
    if len(exchange.body) >= LARGE_BYTES_MIN or b"content-encoding" in exchange.headers:  # which may inflate
        pieces = infer_in_pieces(exchange, exchange.engine.clock())
        exchange.engine.scheduler.take(loop, while_wanted(pieces, lambda: exchange.is_wanted))
    else:
        infer(exchange)


def infer_in_pieces(exchange: Exchange, arrived_s: float) -> Iterator[bool]:
    """As `infer`, for a large body: long arrays of numbers are read before the rest, with a pause after each piece.

    Yields whether there is more to do. `arrived_s`: when the body was complete; the wait since counts towards its
    deadline.
    """
    try:
        service = service_of(exchange)
        count_request(exchange, service)
        if b"content-encoding" in exchange.headers:
            yield from in_steps(lambda: inflate_body(exchange))
        numbers = yield from _numbers(exchange, service)
        call = yield from _read(exchange, numbers)
        check_rows(call.rows, call.destination.rows_max)
        submit(exchange, call, arrived_s)
    except Exception as error:
        fail(exchange, error, arrived_s)
    yield False


def _numbers(exchange: Exchange, service: Service) -> Generator[bool, None, NumberTexts | None]:
    edge = exchange.route.edge
    if not isinstance(edge, ReadsNumbers) or not _is_json(exchange):
        return None
    if not any(edge.takes_numbers(one) for one in service.destinations()):
        return None
    exchange.body = bytes(exchange.body)
    return (yield from read_numbers(exchange.body, edge.arrays))


def _read(exchange: Exchange, numbers: NumberTexts | None) -> Generator[bool, None, Call]:
    """The call; of a version that is still there. Between two steps versions may be replaced."""
    for _ in range(DECODES_MAX):
        service = _service(exchange)
        exchange.extra_head = b""  # what was said of the version that was stopped
        if numbers is not None and len(numbers.body) < LARGE_BYTES_MIN:
            call = _decode_numbers(exchange, service, numbers)
            if call is not None:
                return call
            numbers = None
        if numbers is None and _is_quick(exchange):
            return exchange.route.edge.decode(exchange, service)
        call = yield from in_steps(partial(_decode, exchange, service, numbers))
        if any(one.batcher == call.destination.batcher for one in _service(exchange).destinations()):
            return call
    raise NoReadyReplica(retry_after_s=1.0)


def _service(exchange: Exchange) -> Service:
    return find_service(exchange.engine.directory, exchange.route.name)


def _decode(exchange: Exchange, service: Service, numbers: NumberTexts | None) -> Call:
    """What is done in steps."""
    call = None
    if numbers is not None:
        check_amount(numbers.body)
        call = _decode_numbers(exchange, service, numbers)
    if call is None:
        edge = exchange.route.edge
        head = edge.head_of(exchange) if isinstance(edge, HasTensors) else None
        check_amount(exchange.body if head is None else head)
        call = edge.decode(exchange, service)
    pack_rows(call)
    return call


def _decode_numbers(exchange: Exchange, service: Service, numbers: NumberTexts) -> Call | None:
    """None where numbers stand where the edge does not look: the whole body says better what is wrong with it."""
    edge, numbers = exchange.route.edge, numbers.fresh()
    with contextlib.suppress(TidegateError):
        if isinstance(edge, ReadsNumbers):
            call = edge.decode(exchange, service, numbers)
            return call if numbers.all_taken else None
    return None


def _is_quick(exchange: Exchange) -> bool:
    """Whether the body is short, or is tensors, of which nothing is read one by one, behind a short text."""
    edge = exchange.route.edge
    head = edge.head_of(exchange) if isinstance(edge, HasTensors) else None
    if 0 < len(exchange.body) < LARGE_BYTES_MIN:
        return True
    if head is None or len(exchange.body) > AT_ONCE_BYTES_MAX:
        return False
    return len(head) < LARGE_BYTES_MIN and b"BYTES" not in head


def _is_json(exchange: Exchange) -> bool:
    """Whether the body is JSON alone, of a size that is taken."""
    if len(exchange.body) > exchange.engine.limits.json_bytes_max:
        return False
    return b"inference-header-content-length" not in exchange.headers
