"""How many rows repeat another one: counted in chunks of equal length, so that any day compares with any baseline.

The more rows, the more of them are the same by chance; so a row counts as repeated where an earlier one of its chunk is
the same. Chunks of production are compared with the baseline's by their rank alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

CHUNK_ROWS, CHUNKS_MAX = 100, 200
"""Of more chunks at once so many are looked at, spread evenly."""
DIFFERENCE = 0.1
"""A share of repeated rows that is larger than the baseline's largest by up to this does not matter."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class Repeats:
    """Of chunks so far: how many, how many were `odd` (above the baseline's), repeated rows in all of them.

    `highest`: the baseline's largest share, by which chunks are odd. `tail`: rows that are no whole chunk yet.
    """

    highest: float
    chunks: int = 0
    odd: int = 0
    repeated: int = 0
    tail: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that were looked at."""
        return self.chunks * CHUNK_ROWS

    def with_rows(self, hashes: Hashes) -> Repeats:
        """With these rows, in order of time."""
        whole = np.concatenate([np.array(self.tail, dtype=np.uint64), hashes])
        shares = chunk_shares(whole)
        rest = whole.size % CHUNK_ROWS
        return Repeats(
            self.highest,
            self.chunks + shares.size,
            self.odd + int((shares > self.highest + DIFFERENCE).sum()),
            self.repeated + round(float(shares.sum()) * CHUNK_ROWS),
            tuple(whole[whole.size - rest :].tolist()),
        )

    def with_more(self, other: Repeats) -> Repeats:
        """Both together; rows that were left over make chunks of their own."""
        both = self.with_rows(np.array(other.tail, dtype=np.uint64))
        counts = (both.chunks + other.chunks, both.odd + other.odd, both.repeated + other.repeated)
        return Repeats(self.highest, *counts, both.tail)

    def p_value(self, reference_chunks: int) -> float:
        """How likely so many odd chunks are where production's are as the baseline's: each with 1 in (those + 1)."""
        if not self.chunks or not reference_chunks:
            return 1.0
        return float(scipy.stats.binom.sf(self.odd - 1, self.chunks, 1.0 / (reference_chunks + 1)))


def chunk_shares(hashes: Hashes) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of each whole chunk, the share of rows that repeat an earlier one of it."""
    count = hashes.size // CHUNK_ROWS
    chunks = np.sort(hashes[: count * CHUNK_ROWS].reshape(count, CHUNK_ROWS), axis=1)
    if count > CHUNKS_MAX:
        chunks = chunks[np.linspace(0, count - 1, CHUNKS_MAX).astype(np.int64)]
    return np.asarray((chunks[:, 1:] == chunks[:, :-1]).sum(axis=1) / CHUNK_ROWS, dtype=np.float64)


def row_hashes(columns: Mapping[str, Any], rows: Sequence[int] | np.ndarray[Any, Any] | None = None) -> Hashes:
    """One number a row, the same for rows of the same values, in every process. `rows`: these, in this order."""
    found: Hashes | None = None
    for values in columns.values():
        each = _hashes(values if rows is None else values[rows])
        found = each if found is None else (found * _FACTOR) ^ each
    return np.empty(0, dtype=np.uint64) if found is None else found


def _hashes(values: np.ndarray[Any, Any]) -> Hashes:
    if values.dtype.kind in "biuf":
        plain = values.astype(np.float64) + 0.0  # -0.0 is 0.0
        plain[np.isnan(plain)] = np.nan
        mixed = plain.view(np.uint64) * _FACTOR
        return np.asarray(mixed ^ (mixed >> np.uint64(29)), dtype=np.uint64)
    texts = (zlib.crc32(repr(value).encode()) for value in values.tolist())
    return np.fromiter(texts, dtype=np.uint64, count=len(values)) * _FACTOR
