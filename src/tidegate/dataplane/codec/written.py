"""Rows of an answer as JSON: short lists as they are, long ones some values at a time, with pauses (`stepwise`).

Used by the edges' `encode`. What is long is put together once, by `document`: each copy of it takes a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tidegate.dataplane.base.amounts import check_answer
from tidegate.dataplane.base.stepwise import pause

if TYPE_CHECKING:
    from tidegate.dataplane.base.tensors import Array
    from tidegate.dataplane.calls.outputs import Outputs

VALUES_A_STEP = 4096
"""About 1 ms, and 5 ms as `json` writes them."""
OBJECTS_A_STEP = 256
"""Texts are of any length."""

Change = Callable[[str, list[Any]], list[Any]]
Dumps = Callable[[Any], bytes]


class Long(list[bytes]):
    """A value that is JSON already, in pieces. Nothing but `document` takes it for one."""


def as_they_are(_: str, values: list[Any]) -> list[Any]:
    """The values of an output whose JSON holds just them."""
    return values


@dataclass(slots=True)
class WrittenRows:
    """Rows `first` to `end` of a batch's outputs. `change` makes an output's values what the JSON has of them.

    `change` is given nested lists, and of rows that are long themselves the lists inside.
    """

    outputs: Outputs
    first: int
    end: int
    change: Change = as_they_are
    dumps: Dumps = orjson.dumps

    def column(self, name: str) -> Any:
        """The rows of one output: a list, or a `Long`."""
        if not self.outputs.is_long:
            return self.change(name, self.outputs.as_list(name)[self.first : self.end])
        return Long(self._pieces(name, self._of(name)))

    def columns(self, names: Sequence[str]) -> dict[str, Any]:
        """The rows of several outputs, by name."""
        self._check(names)
        return {name: self.column(name) for name in names}

    def records(self, names: Sequence[str], keys: Sequence[str] | None = None) -> Any:
        """One object a row, with the outputs under their names, or under `keys`: a list of them, or a `Long`."""
        keys = names if keys is None else keys
        if not self.outputs.is_long:
            return _records(dict(zip(keys, map(self.column, names), strict=True)))
        self._check(names)
        return Long(self._record_pieces(dict(zip(keys, names, strict=True))))

    def highest(self, name: str) -> Long:
        """The highest value of each row of an output."""
        rows = self._of(name)
        step = max(1, VALUES_A_STEP // max(1, _width(rows)))
        found = []
        for at in range(0, len(rows), step):
            pause()
            found.append(np.maximum.reduce(rows[at : at + step], axis=1))
        return Long(pieces_of(np.concatenate(found), self.dumps))

    def _of(self, name: str) -> Array:
        return self.outputs.tensors[name][self.first : self.end]

    def _check(self, names: Sequence[str]) -> None:
        if self.outputs.is_long:
            check_answer(sum(self._of(name).size for name in names))

    def _pieces(self, name: str, array: Array) -> Iterator[bytes]:
        return pieces_of(array, self.dumps, lambda values: self.change(name, values))

    def _record_pieces(self, names: dict[str, str]) -> Iterator[bytes]:
        arrays = [self._of(name) for name in names.values()]
        width = sum(map(_width, arrays))
        step = max(1, min(map(_values_a_step, arrays)) // max(1, width))
        written = self._wide_record if width > VALUES_A_STEP else self._some_records
        yield b"["
        for at in range(0, self.end - self.first, step):
            if at:
                yield b","
            pause()
            yield from written(names, [array[at : at + step] for array in arrays])
        yield b"]"

    def _some_records(self, names: dict[str, str], arrays: list[Array]) -> Iterator[bytes]:
        lists = [self.change(name, array.tolist()) for name, array in zip(names.values(), arrays, strict=True)]
        yield self.dumps(_records(dict(zip(names, lists, strict=True))))[1:-1]

    def _wide_record(self, names: dict[str, str], arrays: list[Array]) -> Iterator[bytes]:
        """Of one row, whose values are written by themselves."""
        between = b"{"
        for (key, name), array in zip(names.items(), arrays, strict=True):
            yield between + orjson.dumps(key) + b":"
            inside = array[0] if array.ndim > 1 else array
            yield from self._pieces(name, inside) if array.ndim > 1 else [b"".join(self._pieces(name, inside))[1:-1]]
            between = b","
        yield b"}"


def pieces_of(
    array: Array, dumps: Dumps = orjson.dumps, change: Callable[[list[Any]], list[Any]] = list
) -> Iterator[bytes]:
    """The JSON of an array with one axis at least."""
    pause()
    most, width = _values_a_step(array), _width(array)
    if max(array.size, len(array)) <= most:
        yield dumps(change(array.tolist()))
        return
    step = max(1, most // max(1, width))
    yield b"["
    for at in range(0, len(array), step):
        if at:
            yield b","
        if width > most:
            yield from pieces_of(array[at], dumps, change)
        else:
            pause()
            yield dumps(change(array[at : at + step].tolist()))[1:-1]
    yield b"]"


def document(value: Any, dumps: Dumps = orjson.dumps) -> bytes:
    """The JSON of an object with `Long` values in it, or in the objects in it. All else in it is short."""
    pieces = list(_document(value, dumps))
    pause()
    return b"".join(pieces)


def _document(value: Any, dumps: Dumps) -> Iterator[bytes]:
    if isinstance(value, Long):
        yield from value
    elif isinstance(value, dict):
        between = b"{"
        for key, item in value.items():
            yield between + dumps(key) + b":"
            yield from _document(item, dumps)
            between = b","
        yield b"}"
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        between = b"["
        for item in value:
            yield between
            yield from _document(item, dumps)
            between = b","
        yield b"]"
    else:
        yield dumps(value)


def _records(lists: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _width(array: Array) -> int:
    return int(array.size // max(1, len(array)))


def _values_a_step(array: Array) -> int:
    return OBJECTS_A_STEP if array.dtype.kind == "O" else VALUES_A_STEP
