"""Answers that take long to write: a piece in each turn of the event loop (`base/cooperative_scheduler.py`), and in
steps (`base/stepwise.py`).

Used by `Exchange.answer` alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from tidegate.dataplane.base.amounts import check_answer_bytes, check_room
from tidegate.dataplane.base.cooperative_scheduler import while_wanted
from tidegate.dataplane.base.incidents import as_error
from tidegate.dataplane.base.stepwise import in_steps
from tidegate.dataplane.calls.outputs import AT_ONCE_VALUES_MAX

if TYPE_CHECKING:
    from tidegate.dataplane.base.cooperative_scheduler import CooperativeScheduler
    from tidegate.dataplane.calls.call import Call, Destination
    from tidegate.dataplane.calls.outputs import Outputs
    from tidegate.errors import TidegateError

VALUE_BYTES = 100
"""About what a number takes until it is sent."""


class HasScheduler(Protocol):
    """An engine, as far as writing long answers goes."""

    scheduler: CooperativeScheduler


class Answering(Protocol):
    """A request whose answer is to be written."""

    @property
    def engine(self) -> HasScheduler:
        """Its scheduler writes the answer."""

    @property
    def is_wanted(self) -> bool:
        """Whether the client is still connected."""

    def encoded(self, call: Call, outputs: Outputs, first_row: int) -> bytes:
        """The answer's body."""

    def send(self, status: int, destination: Destination | None, body: bytes) -> None:
        """Send it."""

    def refuse(self, error: TidegateError) -> None:
        """Answer with an error."""


def answer_in_turns(exchange: Answering, call: Call, outputs: Outputs, first_row: int) -> None:
    """Write and send an answer of a batch with many values; in steps if it has many itself."""
    pieces = _answer_in_pieces(exchange, call, outputs, first_row)
    exchange.engine.scheduler.take(asyncio.get_running_loop(), while_wanted(pieces, lambda: exchange.is_wanted))


def _answer_in_pieces(exchange: Answering, call: Call, outputs: Outputs, first_row: int) -> Iterator[bool]:
    arrays = [array[first_row : first_row + call.rows] for array in outputs.tensors.values()]
    values = sum(array.size for array in arrays)
    try:
        check_answer_bytes(sum(array.nbytes for array in arrays))
        check_room(VALUE_BYTES * values)
        if values > AT_ONCE_VALUES_MAX:
            body = yield from in_steps(lambda: exchange.encoded(call, outputs, first_row))
        else:
            body = exchange.encoded(call, outputs, first_row)
    except Exception as error:
        exchange.refuse(as_error(error))
    else:
        exchange.send(200, call.destination, body)
    yield False
