"""How much a large body may hold besides long arrays of numbers (`codec/numbers.py`): a bound for what cannot pause.

Libraries read a text in one call, and the objects they make keep the garbage collector busy: `protocols/pieces.py`
counts before.
"""

from __future__ import annotations

import numpy as np

from tidegate.dataplane.base.stepwise import pause
from tidegate.errors import TooLarge, UnfitInput

VALUES_MAX = 1 << 19
"""Commas, or lines: a decoder takes 20 to 60 ms for a million numbers."""
OBJECTS_MAX = 1 << 17
"""Lists and records that take 20 to 40 ms."""
QUOTES_MAX = 1 << 19
"""Two of each text, names of fields included: half a million texts take 30 ms."""

OUTPUTS_MAX = 1024
TEXT_ROWS_MAX = 1 << 20
"""Of a request whose answer holds a text for each row: more texts are not read."""
ROWS_MAX = ANSWER_VALUES_MAX = 1 << 22
"""Of an answer in JSON: about 80 MB, of which each copy takes 50 ms."""
ANSWER_BYTES_MAX = 128 << 20
"""Of an answer's binary tensors, of which each copy takes 80 ms."""
_VALUE_BYTES, _OBJECT_BYTES, _QUOTE_BYTES = 40, 160, 40
"""About what a comma, a list or record, and a text's quotation mark stand for, once they are read."""


def check_rows(rows: int, rows_max: int) -> None:
    """Raise `TooLarge` for more rows than one request of a model has, on every protocol."""
    if rows > rows_max:
        raise TooLarge(
            f"the request has {rows} rows, and this server takes {rows_max}: send fewer a request",
            expected=rows_max,
            got=rows,
        )


def check_answer(values: int) -> None:
    """Raise `TooLarge` for an answer of more values than are written as JSON."""
    if values > ANSWER_VALUES_MAX:
        raise TooLarge(
            f"the answer has {values} values, and this server writes {ANSWER_VALUES_MAX} as JSON: "
            "send fewer rows a request, or ask for binary tensors (/v2)",
            expected=ANSWER_VALUES_MAX,
            got=values,
        )


def check_answer_bytes(size_bytes: int) -> None:
    """Raise `TooLarge` for more bytes of tensors than one answer has."""
    if size_bytes > ANSWER_BYTES_MAX:
        raise TooLarge(
            f"the answer's tensors have {size_bytes} bytes, and this server sends {ANSWER_BYTES_MAX}: "
            "send fewer rows a request",
            expected=ANSWER_BYTES_MAX,
            got=size_bytes,
        )


def check_room(size_bytes: int) -> None:
    """Raise `MemoryError` where there is no room for so much.

    orjson ends the process (signal 11) when an allocation of its fails, so it is found out before it is called with
    much. Takes no memory: pages that nobody writes to are not there. A check before, not a reservation.
    """
    np.empty(size_bytes, np.uint8)


def check_outputs(asked: int, there: int) -> None:
    """Raise `UnfitInput` for a request that asks for outputs again and again."""
    if asked > max(OUTPUTS_MAX, there):
        raise UnfitInput(f"the request asks for {asked} outputs, and the model has {there}", expected=there, got=asked)


def check_amount(text: bytes | bytearray) -> None:
    """Raise `TooLarge` for a JSON or CSV text with more than is read at once, `MemoryError` for one without room.

    Marks inside of texts count too.
    """
    values = max(_count(text, b","), _count(text, b"\n"), _count(text, b"\r"))
    objects = _count(text, b"[") + _count(text, b"{")
    quotes = _count(text, b'"')
    _check(values, VALUES_MAX, "commas or lines")
    _check(objects, OBJECTS_MAX, "lists and records")
    _check(quotes, QUOTES_MAX, "quotation marks")
    check_room(len(text) + _VALUE_BYTES * values + _OBJECT_BYTES * objects + _QUOTE_BYTES * quotes)


def _count(text: bytes | bytearray, mark: bytes) -> int:
    found = text.count(mark)
    pause()
    return found


def _check(got: int, most: int, what: str) -> None:
    if got > most:
        raise TooLarge(
            f"the body has {got} {what}, and this server takes {most} besides long arrays of numbers: "
            "send fewer rows a request, or binary tensors (/v2)",
            expected=most,
            got=got,
        )
