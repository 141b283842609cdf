"""The bins of one column, drawn up once from the reference and then frozen: what is counted anywhere fits together.

Numbers get bins between reference quantiles, with bins of their own for values that occur often; categories the values
that the reference has. What is missing, of another type, out of range or never seen before has its bin too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.values import Floats, ValueTally, column, datatype_of, numbers, tally, text_lengths

Kind = Literal["numeric", "integer", "category", "boolean", "text"]

BINS = 20
BINS_MAX = 100
VALUES_MAX = 100
"""Categories with a bin of their own, the most frequent first."""
RARE_MAX = 1_000
"""Further categories that are remembered by name, so that they are not taken for unseen ones."""
SINGLETONS_MAX, OWN_BIN_TIMES_MIN = 5, 5
LENGTH_MAX = 200
"""Characters of a category's name: longer texts are text."""

MISSING: Final = "missing"
INVALID: Final = "invalid"
BELOW: Final = "below"
ABOVE: Final = "above"
OTHER: Final = "other"
UNSEEN: Final = "unseen"


@dataclass(frozen=True)
class Layout:
    """What one column's bins are.

    `cuts` (numbers; lengths of texts): ascending, the first just under the reference's least value and the last its
    greatest. A bin holds what is above one cut and at most the next. `values` (categories): those with a bin of their
    own; `rare`: those the reference has too, counted as `other`; `is_open`: it has more than are remembered, so nothing
    can be called unseen. `singletons`: how many categories the reference has once, which says how many unseen ones are
    to be expected. `spread`: a standard deviation's worth of the reference, from its quartiles.
    """

    kind: Kind
    datatype: str
    cuts: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    is_open: bool = False
    singletons: int = 0
    spread: float = 0.0

    @property
    def is_ordered(self) -> bool:
        return self.kind in ("numeric", "integer", "text")

    @cached_property
    def specials(self) -> tuple[str, ...]:
        """The first bins: rows that have no ordinary value."""
        return (MISSING, INVALID, OTHER, UNSEEN) if self.kind == "category" else (MISSING, INVALID)

    @cached_property
    def bins(self) -> int:
        return len(self.specials) + (len(self.cuts) + 1 if self.is_ordered else len(self.values))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each bin is called, in the order of counts."""
        if not self.is_ordered:
            return self.specials + self.values
        between = [f"({low:g}, {high:g}]" for low, high in pairwise(self.cuts)]
        return (*self.specials, BELOW, *between, ABOVE) if self.cuts else (*self.specials, ABOVE)

    @cached_property
    def edges(self) -> Floats:
        return np.array(self.cuts, dtype=np.float64)

    @cached_property
    def places(self) -> dict[str, int]:
        """The bin of each category that the reference has."""
        other = {value: self.specials.index(OTHER) for value in self.rare} if self.rare else {}
        return other | {value: place for place, value in enumerate(self.values, len(self.specials))}

    def count(self, values: Any, name: str = "values") -> NDArray[np.int64]:
        """How many of a column's values are in each bin."""
        array = column(values, name)
        counts = np.zeros(self.bins, dtype=np.int64)
        if not self.is_ordered:
            self._count_categories(tally(array, self.datatype), counts)
            return counts
        found = text_lengths(array) if self.kind == "text" else numbers(array)
        values_in_order = found.values
        if self.kind == "integer":
            whole = (values_in_order == np.floor(values_in_order)) | np.isinf(values_in_order)
            values_in_order = values_in_order[whole]
        counts[0], counts[1] = found.missing, array.size - found.missing - values_in_order.size
        # Sorting many values and looking up a few edges takes a sixth of looking up each value among the edges.
        below = np.searchsorted(np.sort(values_in_order), self.edges, side="right")
        counts[2:] = np.diff(below, prepend=0, append=values_in_order.size)
        return counts

    def _count_categories(self, seen: ValueTally, counts: NDArray[np.int64]) -> None:
        counts[0], counts[1] = seen.missing, seen.invalid
        strange = INVALID if self.kind == "boolean" else OTHER if self.is_open else UNSEEN
        for value, times in seen.counts.items():
            counts[self.places.get(value, self.specials.index(strange))] += times

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which gives back the very same layout."""
        return {
            "kind": self.kind,
            "datatype": self.datatype,
            "cuts": list(self.cuts),
            "values": list(self.values),
            "rare": list(self.rare),
            "is_open": self.is_open,
            "singletons": self.singletons,
            "spread": self.spread,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Layout:
        """The layout that `as_dict` wrote; `InvalidArgument` says what cannot be."""
        try:
            layout = cls(
                kind=plain["kind"],
                datatype=str(plain["datatype"]),
                cuts=tuple(float(cut) for cut in plain["cuts"]),
                values=tuple(str(value) for value in plain["values"]),
                rare=tuple(str(value) for value in plain["rare"]),
                is_open=bool(plain["is_open"]),
                singletons=int(plain["singletons"]),
                spread=float(plain["spread"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgument(f"This is no layout of a histogram: {error!r}.", field="layout") from None
        if layout.kind not in get_args(Kind):
            raise InvalidArgument(
                f"There is no kind of column {layout.kind!r}: {', '.join(get_args(Kind))}.", field="kind"
            )
        if not np.all(np.isfinite(layout.edges)) or np.any(np.diff(layout.edges) <= 0):
            raise InvalidArgument("The cuts of a histogram must be finite numbers in ascending order.", field="cuts")
        return layout


def layout_of(
    values: Any, kind: Kind | None = None, datatype: str | None = None, bins: int = BINS, name: str = "values"
) -> Layout:
    """The layout for a reference's column. `datatype` is the signature's; without it, it is read off the values.

    `kind` overrides what follows from the datatype: integers that are class labels are a `category`.
    """
    if not 2 <= bins <= BINS_MAX:
        raise InvalidArgument(f"A histogram has from 2 to {BINS_MAX} bins, and {bins} were asked for.", field="bins")
    array = column(values, name)
    datatype = datatype or datatype_of(array)
    seen = tally(array, datatype) if datatype == "BYTES" or kind in ("category", "boolean") else ValueTally()
    kind = kind or _kind_of(datatype, seen)
    if kind == "boolean":
        return Layout("boolean", "BOOL", values=("false", "true"))
    if kind == "category":
        return _categories(seen, datatype)
    found = (text_lengths(array) if kind == "text" else numbers(array)).values
    found = found[np.isfinite(found)]
    if kind == "integer":
        found = found[found == np.floor(found)]
    cuts = _cuts(found, bins, whole=kind != "numeric")
    return Layout(kind, datatype, cuts=cuts, spread=_spread(found))


def _kind_of(datatype: str, seen: ValueTally) -> Kind:
    if datatype == "BOOL":
        return "boolean"
    if datatype.startswith(("INT", "UINT")):
        return "integer"
    if datatype != "BYTES":
        return "numeric"
    mostly_different = len(seen.counts) > VALUES_MAX and len(seen.counts) > seen.valid / 2
    is_text = mostly_different or any(len(value) > LENGTH_MAX for value in seen.counts)
    return "text" if is_text else "category"


def _categories(seen: ValueTally, datatype: str) -> Layout:
    """The most frequent values. Where many occur once, there are more that the reference happens not to have.

    Then those that it has a few times have no bins of their own: which ones it has is chance.
    """
    by_frequency = sorted(seen.counts, key=lambda value: (-seen.counts[value], value))
    singletons = sum(times == 1 for times in seen.counts.values())
    times_min = OWN_BIN_TIMES_MIN if singletons > SINGLETONS_MAX else 1
    own = sum(times >= times_min for times in seen.counts.values())
    own = min(own, VALUES_MAX)
    return Layout(
        "category",
        datatype,
        values=tuple(by_frequency[:own]),
        rare=tuple(by_frequency[own : own + RARE_MAX]),
        is_open=len(by_frequency) > own + RARE_MAX,
        singletons=singletons,
    )


def _cuts(values: Floats, bins: int, *, whole: bool) -> tuple[float, ...]:
    """Quantiles that are values of the reference; one that several quantiles fall on is fenced off from below too."""
    if not values.size:
        return ()
    values = np.sort(values)
    distinct = values[np.concatenate(([True], values[1:] > values[:-1]))]
    if distinct.size <= bins:
        cuts = distinct
    else:
        ranks = np.ceil(np.arange(1, bins) * (values.size / bins)).astype(np.int64) - 1
        quantiles = values[np.clip(ranks, 0, values.size - 1)]
        cuts, times = np.unique(quantiles, return_counts=True)
        cuts = np.concatenate((cuts, _just_under(cuts[times > 1], whole=whole)))
    cuts = np.unique(np.concatenate((_just_under(values[:1], whole=whole), cuts, values[-1:])))
    return tuple(cast("list[float]", cuts[np.isfinite(cuts)].tolist()))


def _just_under(values: Floats, *, whole: bool) -> Floats:
    under = np.nextafter(values, -np.inf)
    return np.minimum(values - 1.0, under) if whole else under


def _spread(values: Floats) -> float:
    """The range of the middle half over that of a normal one; of wider parts where many values are the same."""
    for low, high, width in ((0.25, 0.75, 1.349), (0.1, 0.9, 2.563), (0.01, 0.99, 4.653), (0.0, 1.0, 6.0)):
        if values.size:
            with np.errstate(over="ignore", invalid="ignore"):
                below, above = np.quantile(values, (low, high))
                between = above - below
            if between > 0 and np.isfinite(between):
                return float(between / width)
    return 0.0
