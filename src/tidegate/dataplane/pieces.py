"""A large request's way to the batcher: its long arrays of numbers are read a piece at a time (`numbers.py`).

Used by the hot path, which gives each piece a turn of the event loop (`turns.py`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator
from typing import ClassVar, Protocol, runtime_checkable

from tidegate.dataplane.call import Call, Service
from tidegate.dataplane.infer import Edge, Exchange, admit, fail, service_of, submit
from tidegate.dataplane.numbers import Numbers, read_numbers
from tidegate.errors import TidegateError

FLOATS = ("FP32", "FP64")


@runtime_checkable
class ReadsNumbers(Edge, Protocol):
    """A protocol whose large bodies are read a piece at a time, as far as they are numbers (`numbers.py`)."""

    arrays: ClassVar[re.Pattern[bytes]]

    def decode(self, exchange: Exchange, service: Service, numbers: Numbers | None = None) -> Call:
        """With `numbers`, of a body whose long arrays were read already: a failure then is one of that way alone."""


def infer_in_pieces(exchange: Exchange, arrived_s: float) -> Iterator[bool]:
    """As `infer`, for a large body: long arrays of numbers are read before the rest, with a pause after each piece.

    Yields whether there is more to do. `arrived_s`: when the body was complete; the wait since counts towards its
    deadline.
    """
    service: Service | None = None
    try:
        service = service_of(exchange)
        admit(exchange, service)
        call = yield from _decode(exchange, service)
        submit(exchange, call, arrived_s)
    except Exception as error:
        fail(exchange, service, error)
    yield False


def _decode(exchange: Exchange, service: Service) -> Generator[bool, None, Call]:
    edge = exchange.route.edge
    if isinstance(edge, ReadsNumbers) and _may_have_numbers(exchange, service):
        exchange.body = bytes(exchange.body)
        numbers = yield from read_numbers(exchange.body, edge.arrays)
        if numbers is not None:
            with contextlib.suppress(TidegateError):  # the whole body says better what is wrong with it
                call = edge.decode(exchange, service, numbers)
                if numbers.all_taken:
                    return call
    return edge.decode(exchange, service)


def _may_have_numbers(exchange: Exchange, service: Service) -> bool:
    """Whether the body is JSON alone, of a size that is taken, for a model that takes floats."""
    if len(exchange.body) > exchange.engine.limits.json_bytes_max:
        return False
    if b"inference-header-content-length" in exchange.headers:
        return False
    return any(spec.datatype in FLOATS for one in service.destinations() for spec in one.signature.inputs)
