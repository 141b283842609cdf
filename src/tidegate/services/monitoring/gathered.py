"""What is gathered of a block so far: histograms, whole and by segment, and how many rows each hour has.

Each row is read and counted once, when it is new, so that what an evaluation costs goes with the traffic since the last
one and not with the length of its blocks. Kept beside the block; pieces of a stream add up to the whole exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tidegate.core.monitoring.columns import Array, WatchedColumns
from tidegate.services.monitoring.baselines import KnownBaseline
from tidegate.watch.baseline.rhythm import HOUR_S
from tidegate.watch.drift.duplicates import CHUNK_ROWS, CHUNKS_MAX, Repeats, row_hashes
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.values import canonicals

WHOLE = ""
ROWS_AT_ONCE = 100_000
"""Are read at a time, so that memory stays bounded."""


@dataclass(frozen=True)
class GatheredPart:
    """Of the whole, or of one segment. `hours`: rows in each hour since 1970, UTC."""

    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    hours: Mapping[int, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(self.hours.values())

    def with_more(self, other: GatheredPart) -> GatheredPart:
        """Both together. A column that one of them lacks is of the rows that have it."""
        names = [*self.histograms, *(name for name in other.histograms if name not in self.histograms)]
        merged = {}
        for name in names:
            both = [part.histograms[name] for part in (self, other) if name in part.histograms]
            merged[name] = both[0].merge(*both[1:])
        return GatheredPart(merged, dict(Counter(self.hours) + Counter(other.hours)))


@dataclass(frozen=True)
class GatheredBlock:
    """By segment; "" is the whole. `baseline`: when that was made in whose bins the rows are counted.

    `repeats`: rows that repeat another; None where the baseline does not say how many do.
    """

    baseline: float
    parts: Mapping[str, GatheredPart] = field(default_factory=dict)
    repeats: Repeats | None = None

    @property
    def rows(self) -> int:
        return self.parts[WHOLE].rows if WHOLE in self.parts else 0

    def with_more(self, other: GatheredBlock) -> GatheredBlock:
        """Both together, of the same baseline."""
        names = dict.fromkeys([*self.parts, *other.parts])
        parts = {
            name: self.parts.get(name, GatheredPart()).with_more(other.parts.get(name, GatheredPart()))
            for name in names
        }
        both = [one.repeats for one in (self, other) if one.repeats is not None]
        return GatheredBlock(
            self.baseline, parts, both[0].with_more(both[1]) if len(both) > 1 else next(iter(both), None)
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the bins are the baseline's."""
        parts = {
            name: {
                "counts": {column: list(one.counts) for column, one in part.histograms.items()},
                "hours": {str(hour): rows for hour, rows in part.hours.items()},
            }
            for name, part in self.parts.items()
        }
        return {
            "baseline": self.baseline,
            "parts": parts,
            "repeats": None if self.repeats is None else asdict(self.repeats),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None, known: KnownBaseline) -> GatheredBlock:
        """What `as_dict` wrote; nothing where it was counted in the bins of another baseline."""
        made_at = known.view.made_at
        if not plain or plain.get("baseline") != made_at:
            return cls(made_at)
        columns = known.baseline.whole.columns
        parts = {
            name: GatheredPart(
                {
                    column: Histogram(columns[column].layout, tuple(counts))
                    for column, counts in part["counts"].items()
                    if column in columns and len(counts) == columns[column].layout.bins
                },
                {int(hour): int(rows) for hour, rows in part["hours"].items()},
            )
            for name, part in plain["parts"].items()
        }
        repeats = plain.get("repeats")
        return cls(made_at, parts, None if repeats is None else Repeats(**{**repeats, "tail": tuple(repeats["tail"])}))


def gathered(known: KnownBaseline, columns: WatchedColumns, at: Array) -> GatheredBlock:
    """These rows counted, `at` being when each was (seconds since 1970)."""
    parts = {WHOLE: _part(known, columns, at)}
    by = known.baseline.by
    if by is not None and by in columns.values:
        texts = np.array(canonicals(columns.values[by], columns.datatypes[by]), dtype=object)
        for segment in known.baseline.segments:
            rows = np.flatnonzero(texts == segment)
            if rows.size:
                parts[segment] = _part(known, columns.where(rows), at[rows])
    return GatheredBlock(known.view.made_at, parts, _repeats(known, columns, at))


def _repeats(known: KnownBaseline, columns: WatchedColumns, at: Array) -> Repeats | None:
    """Of the newest rows at most: as many as are looked at at once."""
    if not known.repeats:
        return None
    newest = np.argsort(at, kind="stable")[-CHUNK_ROWS * CHUNKS_MAX :]
    return Repeats(max(known.repeats)).with_rows(row_hashes(columns.of("input"), newest))


def _part(known: KnownBaseline, columns: WatchedColumns, at: Array) -> GatheredPart:
    of = known.baseline.whole.columns
    histograms = {
        name: Histogram.of(values, of[name].layout, name) for name, values in columns.values.items() if name in of
    }
    hours, rows = np.unique(np.floor(at / HOUR_S).astype(np.int64), return_counts=True)
    return GatheredPart(histograms, dict(zip(hours.tolist(), rows.tolist(), strict=True)))


def slices(times: Array, since: float, until: float) -> list[float]:
    """Moments between which there are so many rows at once, from `since` to `until`.

    They are whole hours but within an hour that has more: files are by hour, and so each is read once.
    """
    ordered = np.sort(times)
    hours = np.unique(np.floor(ordered / HOUR_S)) * HOUR_S
    moments, begin = [since], 0
    while begin + ROWS_AT_ONCE < ordered.size:
        latest = float(ordered[begin + ROWS_AT_ONCE])
        hour = float(hours[np.searchsorted(hours, latest, side="right") - 1])
        moments.append(hour if hour > moments[-1] else latest)
        begin = max(begin + 1, int(np.searchsorted(ordered, moments[-1])))
    return sorted({moment for moment in moments if moment < until} | {until})
