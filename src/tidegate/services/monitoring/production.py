"""The rows of production that a baseline is taken of: when there are enough, and a thinned sample of all of them.

Read piece by piece, so that memory stays bounded however busy an endpoint is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.core.captured import CapturedRows, Columns
from tidegate.core.monitoring.columns import Array
from tidegate.watch.budget import DAY_S

ROWS_MIN, ROWS_MAX, SPAN_S_MIN, FIRST_S_MAX = 1_000, 50_000, DAY_S, 7 * DAY_S
"""So many rows of a day at least, of the first week at most."""
PIECE_S, PIECE_S_MIN, PIECE_S_MAX = 600.0, 10.0, 6 * 3600.0
PIECE_ROWS_MAX, PIECE_ROWS_FEW = 200_000, 20_000
"""A piece of the time that has more rows makes the next one shorter, one that has few makes it longer."""
_CALL_COLUMNS = ("at", "pinned", "code")


@dataclass(frozen=True)
class Production:
    """A version's captured rows since a moment until another."""

    capture: CapturedRows
    endpoint: str
    version: str
    since: float
    until: float

    def first(self) -> tuple[int, float | None]:
        """How many rows there are, counted no further than a baseline needs; and when the first one was."""
        count, first_at = 0, None
        for found, live in self._pieces(_CALL_COLUMNS):
            count += live.size
            if live.size and first_at is None:
                first_at = float(found["at"][live].min())
            if count >= ROWS_MIN:
                break
        return count, first_at

    def sample(self) -> Columns:
        """All columns of at most `ROWS_MAX` rows, each so-manieth one in the order of their times."""
        kept: list[Columns] = []
        step, skipped, total = 1, 0, 0
        for found, live in self._pieces(None):
            ordered = live[np.argsort(found["at"][live], kind="stable")]
            chosen = ordered[skipped::step]
            skipped = (skipped - ordered.size) % step
            kept.append({name: values[chosen] for name, values in found.items()})
            total += chosen.size
            while total > 2 * ROWS_MAX:
                step, skipped = 2 * step, skipped + step * (total % 2)
                kept = [_thinned(_joined(kept), np.arange(0, total, 2))]
                total = (total + 1) // 2
        every = _joined(kept)
        return _thinned(every, np.linspace(0, total - 1, ROWS_MAX).astype(np.int64)) if total > ROWS_MAX else every

    def _pieces(self, columns: tuple[str, ...] | None) -> Iterator[tuple[Columns, Array]]:
        """Rows of a piece of the time after the other, and which of them count."""
        at, span_s = self.since, PIECE_S
        while at < self.until:
            end = min(at + span_s, self.until)
            found = self.capture.rows("predictions", self.endpoint, at, end, columns, self.version)
            rows = size_of(found)
            if rows:
                yield found, np.flatnonzero(live_rows(found))
            if rows > PIECE_ROWS_MAX:
                span_s = max(PIECE_S_MIN, span_s / 2)
            elif rows < PIECE_ROWS_FEW:
                span_s = min(PIECE_S_MAX, span_s * 2)
            at = end


def size_of(found: Mapping[str, Array]) -> int:
    """How many rows these columns have."""
    return len(next(iter(found.values()))) if found else 0


def live_rows(found: Mapping[str, Array]) -> Array:
    """Rows of live traffic that were answered, and that nobody pinned to a version."""
    any_column: Array = next(iter(found.values()))
    live = np.ones(len(any_column), dtype=bool)
    if "pinned" in found:
        live &= ~np.array([bool(value) for value in found["pinned"].tolist()], dtype=bool)
    if "code" in found:
        live &= found["code"] == 200
    return live


def _thinned(found: Columns, places: Array) -> Columns:
    return {name: values[places] for name, values in found.items()}


def _joined(pieces: list[Columns]) -> Columns:
    """One after the other; a column that a piece lacks is None there."""
    names = dict.fromkeys(name for piece in pieces for name in piece)
    return {name: _column([(piece.get(name), size_of(piece)) for piece in pieces]) for name in names}


def _column(parts: list[tuple[Any, int]]) -> Array:
    if all(values is not None and values.dtype.kind != "O" for values, _ in parts):
        return np.concatenate([values for values, _ in parts])
    joined = np.empty(sum(rows for _, rows in parts), dtype=object)
    at = 0
    for values, rows in parts:
        if values is not None:
            joined[at : at + rows] = values.tolist() if values.dtype.kind != "O" else values
        at += rows
    return joined
