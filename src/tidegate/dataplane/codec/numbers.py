"""Long arrays of numbers in a JSON body, read a piece at a time: reading all at once would hold up the event loop.

An array is cut out of the body, and a text stands in its place: what is left is a short body that edges read as any
other, and where they find the text they take the array. Nothing is guessed: a piece that is not numbers alone, a row of
another length, a text that ends up where no edge looks, and the body is read whole, as if nothing had been cut.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from tidegate.dataplane.base.tensors import floats_bytes
from tidegate.dataplane.codec.fit import Fitted
from tidegate.dataplane.codec.ranges import fits_floats
from tidegate.errors import UnfitInput

if TYPE_CHECKING:
    from tidegate.dataplane.base.tensors import Array
    from tidegate.dataplane.calls.call import Destination

PIECE_BYTES = 32 << 10
"""Takes about 0.05 ms to read."""
LONG_BYTES_MIN = PIECE_BYTES
ARRAYS_MAX, LOOKED_AT_MAX = 16, 256
"""Long arrays of a body that are cut out of it, and arrays of any length that are looked at to find them."""
_SECRET = os.urandom(8).hex()
"""So that no client can write the text that stands for an array."""
_SPACE = rb"[ \t\n\r]*+"
"""What JSON takes for it. Never given back, so that a long run of it is looked at once."""
_COMMA = re.compile(_SPACE + b",")
_LAST_OF_ROWS = re.compile(rb"\](?=%b\])" % _SPACE)

_numbers = msgspec.json.Decoder(list[float])
_rows = msgspec.json.Decoder(list[list[float]])


@dataclass(slots=True)
class NumberTexts:
    """`body` with texts for its long arrays; `take` gives the array, float64, for a text as JSON, once."""

    body: bytes
    _arrays: dict[bytes, Array] = field(default_factory=dict)
    _whole: frozenset[bytes] = frozenset()

    def take(self, text: bytes) -> Array | None:
        """The array that this JSON stands for: flat, or 2-D for a list of lists; None where it is no such text."""
        return self._arrays.pop(text, None)

    def fresh(self) -> NumberTexts:
        """The same, with every array still to be taken."""
        return NumberTexts(self.body, dict(self._arrays), self._whole)

    def is_whole(self, text: bytes) -> bool:
        """Whether the array that this JSON stands for was written as whole numbers alone."""
        return text in self._whole

    @property
    def all_taken(self) -> bool:
        """Whether every array was where an edge looked for it."""
        return not self._arrays


class TakesRows:
    """A protocol whose long arrays are a model's rows."""

    def takes_numbers(self, destination: Destination) -> bool:
        """Whether the model takes rows of floats and nothing else."""
        return destination.takes_floats


def arrays_of(*keys: str, flat: bool = True) -> re.Pattern[bytes]:
    """Finds the arrays under these keys; without `flat` those alone that begin with a list."""
    opening = rb"(\[?)" if flat else rb"(\[)"
    return re.compile(rb'"(?:%b)"%b:%b(?=\[%b%b)' % ("|".join(keys).encode(), _SPACE, _SPACE, _SPACE, opening))


def read_numbers(body: bytes, arrays: re.Pattern[bytes]) -> Generator[bool, None, NumberTexts | None]:
    """Read the long ones among `arrays`, yielding True after each piece; None for a body to be read whole."""
    places = _places(body, arrays)
    if not places:
        return None
    found: dict[bytes, Array] = {}
    whole: set[bytes] = set()
    parts: list[bytes] = []
    at = 0
    for number, place in enumerate(places):
        array = yield from _read(body, place)
        if array is None:
            return None
        text = b'"%b-%d"' % (_SECRET.encode(), number)
        found[text] = array
        if all(body.find(mark, place.begin, place.end) < 0 for mark in (b".", b"e", b"E")):
            whole.add(text)
        parts += [body[at : place.begin], text]
        at = place.end
    return NumberTexts(b"".join((*parts, body[at:])), found, frozenset(whole))


class _Place(NamedTuple):
    """`body[begin:end]` is an array with its brackets, of numbers or of rows of numbers as far as can be seen.

    What it holds ends at `last`; white space may follow.
    """

    begin: int
    last: int
    end: int
    has_rows: bool


def _places(body: bytes, arrays: re.Pattern[bytes]) -> list[_Place]:
    places: list[_Place] = []
    at = looked_at = 0
    while len(places) < ARRAYS_MAX and looked_at < LOOKED_AT_MAX and (found := arrays.search(body, at)):
        looked_at += 1
        has_rows = bool(found[1])
        last = _last(body, found.end(), has_rows=has_rows)
        if last < 0:
            break
        at = body.index(b"]", last) + 1
        if at - found.end() >= LONG_BYTES_MIN:
            places.append(_Place(found.end(), last, at, has_rows))
    return places


def _last(body: bytes, begin: int, *, has_rows: bool) -> int:
    """Where an array's last row or number ends; -1 for nowhere."""
    if not has_rows:
        return body.find(b"]", begin)
    found = _LAST_OF_ROWS.search(body, begin)
    return found.end() if found else -1


def _read(body: bytes, place: _Place) -> Generator[bool, None, Array | None]:
    packed = bytearray()
    width = 0
    for piece in _pieces(body, place):
        try:
            if place.has_rows:
                rows = _rows.decode(piece)
                width = width or len(rows[0])
                values = _joined(rows, width)
            else:
                values = _numbers.decode(piece)
        except (msgspec.DecodeError, UnicodeDecodeError, IndexError):
            return None
        if not values:
            return None
        packed += floats_bytes(values)
        yield True
    flat = np.frombuffer(packed)
    return flat.reshape(-1, width) if place.has_rows else flat


def _joined(rows: list[list[float]], width: int) -> list[float]:
    """All numbers of rows that are of one width; none where one is of another."""
    if any(len(row) != width for row in rows):
        return []
    return list(itertools.chain.from_iterable(rows))


def _pieces(body: bytes, place: _Place) -> Iterator[bytes]:
    """An array as several: cut at commas, of rows at those between them. What is no array then does not decode."""
    at, last = place.begin + 1, place.last
    while True:
        cut = body.find(b"]" if place.has_rows else b",", at + PIECE_BYTES, last)
        cut = last if cut < 0 else cut + place.has_rows
        yield b"[%b]" % body[at:cut]
        if cut == last:
            return
        comma = _COMMA.match(body, cut)
        if comma is None:
            yield b""
            return
        at = comma.end()


def fit_numbers(numbers: NumberTexts, text: Any, destination: Destination) -> tuple[Fitted, bool]:
    """The rows that a decoded value stands for; also tells whether it was one un-nested row.

    Raises `UnfitInput` where the body is to be read whole instead.
    """
    array = numbers.take(_text_of(text))
    if array is None or not destination.takes_floats or array.shape[-1] != destination.n_features:
        raise UnfitInput("these are no rows of numbers for this model")
    if not fits_floats(array, destination):
        raise UnfitInput("a number is out of the model's range")
    rows = np.atleast_2d(array)
    return Fitted(len(rows), packed=rows), array.ndim == 1


def _text_of(field: Any) -> bytes:
    if isinstance(field, msgspec.Raw):
        return bytes(field)
    return b'"%b"' % field.encode() if isinstance(field, str) else b""
