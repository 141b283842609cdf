"""A request larger than a batch, cut into parts that are computed one by one and answered as one. Used by `fair.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tidegate.dataplane.calls.call import Call
from tidegate.dataplane.calls.outputs import Outputs

if TYPE_CHECKING:
    from tidegate.dataplane.calls.outputs import Tensors
    from tidegate.errors import TidegateError


class CallPart(Call):
    """Some rows of a call, computed as a call of its own. `first_row` is where they stand in the whole."""

    __slots__ = ("_done", "first_row", "whole")

    def __init__(self, assembly: Assembly, first_row: int, rows: int) -> None:
        whole = self.whole = assembly.whole
        super().__init__(assembly, whole.destination, whole.request_id, rows)
        self.first_row = first_row
        self.params, self.wanted = whole.params, whole.wanted
        self.unit, self.decision = whole.unit, whole.decision
        self.started_s, self.deadline_s = whole.started_s, whole.deadline_s
        self._cut()

    def extend(self, rows: int) -> None:
        """Take the rows that follow into this part too."""
        self.rows += rows
        self._cut()

    @property
    def done(self) -> bool:
        """A part is done when it has its answer, and when nobody waits for the whole any more."""
        return self._done or self.whole.done

    @done.setter
    def done(self, done: bool) -> None:
        self._done = done

    @property
    def failed(self) -> bool:
        """Whether the whole call was answered with a failure."""
        return self.whole.failed

    @failed.setter
    def failed(self, failed: bool) -> None:
        """Nothing: a part that fails has the whole call fail (`Assembly.fail`)."""

    @property
    def completes(self) -> bool:
        """Whether the whole call is answered by this part's answer: every other part has one."""
        sink = self.sink
        return isinstance(sink, Assembly) and sink.missing_rows == self.rows

    @property
    def place(self) -> tuple[int, int]:
        """The part's first row in the whole request, and how many rows that has."""
        return self.first_row, self.whole.rows

    def joins(self, outputs: Outputs) -> bool:
        """Whether these can be put together with the answers of the parts before."""
        sink = self.sink
        return self.done or not isinstance(sink, Assembly) or sink.joins(outputs.tensors)

    def _cut(self) -> None:
        rows = slice(self.first_row, self.first_row + self.rows)
        if self.whole.packed is not None:
            self.packed = self.whole.packed[rows]
        else:
            self.tensors = {name: array[rows] for name, array in (self.whole.tensors or {}).items()}


class Assembly:
    """The sink of a call's parts: puts their answers together; the first failure is the whole call's."""

    __slots__ = ("_pieces", "missing_rows", "taken_rows", "whole")

    def __init__(self, whole: Call) -> None:
        self.whole = whole
        self.taken_rows = 0
        self.missing_rows = whole.rows
        self._pieces: list[tuple[int, Tensors]] = []

    def joins(self, tensors: Tensors) -> bool:
        """Whether a part's rows can be put behind those that are here: all but the first axis must be alike."""
        if not self._pieces:
            return True
        first = self._pieces[0][1]
        return all(first[name].shape[1:] == tensors[name].shape[1:] for name in first if name in tensors)

    @property
    def connection(self) -> object:
        """The whole call's."""
        return self.whole.sink.connection

    def take(self, rows: int) -> CallPart:
        """The next rows, as a part."""
        part = CallPart(self, self.taken_rows, rows)
        self.taken_rows += rows
        return part

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None:
        """Keep a part's rows; the last one's arrival answers the call."""
        rows = slice(first_row, first_row + call.rows)
        place = call.first_row if isinstance(call, CallPart) else 0
        # Copies: a view would keep the whole batch's arrays, other clients' rows among them, until the last part came.
        self._pieces.append((place, {name: array[rows].copy() for name, array in outputs.tensors.items()}))
        self.missing_rows -= call.rows
        if not self.missing_rows:
            pieces = [tensors for _, tensors in sorted(self._pieces, key=lambda piece: piece[0])]
            # A part may have more outputs than were asked for: those that others in its batch wanted.
            names = [name for name in pieces[0] if all(name in tensors for tensors in pieces)]
            whole = {name: np.concatenate([tensors[name] for tensors in pieces]) for name in names}
            self.whole.answer(Outputs(whole), 0)

    def fail(self, call: Call, error: TidegateError) -> None:  # noqa: ARG002 (the port's shape)
        """Fail the whole call; what is left of it in the queue is dropped as any finished call is."""
        self.whole.fail(error)
