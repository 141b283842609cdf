"""Exact integer histograms: counted anywhere, merged in any order, always the same.

Gateways and compactors count into a frozen layout; the counts of any pieces of a stream add up to those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.layout import BINS, Kind, Layout, layout_of
from tidegate.watch.histograms.values import Floats

FORM = 1
"""The version of what `as_dict` writes."""


@dataclass(frozen=True)
class Histogram:
    """How many rows fell into each bin of a layout. Counts are Python's integers: no number of rows is too large."""

    layout: Layout
    counts: tuple[int, ...]

    @classmethod
    def empty(cls, layout: Layout) -> Histogram:
        """A histogram without rows."""
        return cls(layout, (0,) * layout.bins)

    @classmethod
    def of(cls, values: Any, layout: Layout, name: str = "values") -> Histogram:
        """The histogram of a column's values."""
        return cls(layout, tuple(layout.count(values, name).tolist()))

    @cached_property
    def rows(self) -> int:
        return sum(self.counts)

    @cached_property
    def special(self) -> dict[str, int]:
        """Rows without an ordinary value, by bin: missing, invalid, other, unseen."""
        return dict(zip(self.layout.specials, self.counts, strict=False))

    @cached_property
    def ordinary(self) -> Floats:
        """Counts of the bins of numbers (below and above among them) or of categories, as an array."""
        return np.array(self.counts[len(self.layout.specials) :], dtype=np.float64)

    @cached_property
    def below_cuts(self) -> Floats:
        """How many numbers are at most each cut."""
        return np.cumsum(self.ordinary)[:-1]

    def merge(self, *others: Histogram) -> Histogram:
        """The histogram of all rows together; `InvalidArgument` where the layouts are not the same."""
        if any(other.layout is not self.layout and other.layout != self.layout for other in others):
            raise InvalidArgument(
                "Histograms of different layouts cannot be merged: count both with the layout of one reference.",
                field="layout",
            )
        counts = zip(self.counts, *(other.counts for other in others), strict=True)
        return Histogram(self.layout, tuple(map(sum, counts)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which gives back the very same histogram."""
        return {"form": FORM, "layout": self.layout.as_dict(), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Histogram:
        """The histogram that `as_dict` wrote; `InvalidArgument` says what cannot be."""
        if plain.get("form") != FORM:
            raise InvalidArgument(
                f"This is no histogram of form {FORM}: it needs 'form', 'layout', 'counts'.", field="form"
            )
        layout = Layout.from_dict(plain.get("layout", {}))
        counts = plain.get("counts")
        whole = isinstance(counts, list) and all(type(count) is int and count >= 0 for count in counts)
        if not whole or len(counts or ()) != layout.bins:
            raise InvalidArgument(
                f"The counts of a histogram of this layout are {layout.bins} integers of 0 or more.", field="counts"
            )
        return cls(layout, tuple(counts or ()))


def merged(histograms: Iterable[Histogram], layout: Layout) -> Histogram:
    """All of them together; without any, an empty one."""
    return Histogram.empty(layout).merge(*histograms)


def reference(
    values: Any, kind: Kind | None = None, datatype: str | None = None, bins: int = BINS, name: str = "values"
) -> Histogram:
    """A reference's column: its layout, drawn up from the values, with its counts."""
    return Histogram.of(values, layout_of(values, kind, datatype, bins, name), name)
