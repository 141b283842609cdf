"""A large request's way to the batcher: its long arrays of numbers are read a piece at a time (`numbers.py`).

Used by the hot path, which gives each piece a turn of the event loop (`turns.py`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator
from typing import ClassVar, Protocol, runtime_checkable

from tidegate.dataplane.call import Call, Service
from tidegate.dataplane.destination import Destination
from tidegate.dataplane.infer import Edge, Exchange, admit, fail, find_service, service_of, submit
from tidegate.dataplane.numbers import Numbers, read_numbers
from tidegate.errors import TidegateError


@runtime_checkable
class ReadsNumbers(Edge, Protocol):
    """A protocol whose large bodies are read a piece at a time, as far as they are numbers (`numbers.py`)."""

    arrays: ClassVar[re.Pattern[bytes]]

    def takes_numbers(self, destination: Destination) -> bool:
        """Whether arrays of numbers can be what this version takes: reading them by themselves is for nothing else."""

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
        numbers = yield from _numbers(exchange, service)
        # Between two pieces its versions may have been replaced, and those that were stopped answer nothing any more.
        service = find_service(exchange.engine.directory, exchange.route.name)
        submit(exchange, _decode(exchange, service, numbers), arrived_s)
    except Exception as error:
        fail(exchange, service, error)
    yield False


def _numbers(exchange: Exchange, service: Service) -> Generator[bool, None, Numbers | None]:
    edge = exchange.route.edge
    if not isinstance(edge, ReadsNumbers) or not _is_json(exchange):
        return None
    if not any(edge.takes_numbers(one) for one in service.destinations()):
        return None
    exchange.body = bytes(exchange.body)
    return (yield from read_numbers(exchange.body, edge.arrays))


def _decode(exchange: Exchange, service: Service, numbers: Numbers | None) -> Call:
    edge = exchange.route.edge
    if numbers is not None and isinstance(edge, ReadsNumbers):
        with contextlib.suppress(TidegateError):  # the whole body says better what is wrong with it
            call = edge.decode(exchange, service, numbers)
            if numbers.all_taken:
                return call
    return edge.decode(exchange, service)


def _is_json(exchange: Exchange) -> bool:
    """Whether the body is JSON alone, of a size that is taken."""
    if len(exchange.body) > exchange.engine.limits.json_bytes_max:
        return False
    return b"inference-header-content-length" not in exchange.headers
