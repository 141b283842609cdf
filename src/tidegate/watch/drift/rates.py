"""Rates of rare things by exact tests: what is missing, out of range or new, and rare categories.

Called by drift. A class that goes from 0.2 % to 0.4 % moves no distance by more than 0.2 %, and is twice as frequent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tidegate.watch.histograms import bounds
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.layout import Layout
from tidegate.watch.histograms.sizes import ordinary_rows
from tidegate.watch.histograms.values import Floats

LABELS = {
    "missing": "missing values",
    "invalid": "values of another type",
    "below": "values below the reference's range",
    "above": "values above the reference's range",
    "other": "categories that are rare or new",
    "unseen": "categories never seen before",
}


@dataclass(frozen=True)
class RateChange:
    """One bin's share of the rows now and before. `p_value`: exact, of "it changed by no more than the ratio"."""

    name: str
    rate: float
    rate_reference: float
    p_value: float

    @property
    def label(self) -> str:
        return LABELS.get(self.name, f"'{self.name}'")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def rate_changes(reference: Histogram, current: Histogram, ratio: float, rare: float) -> list[RateChange]:
    """Each rare thing's change, the most certain first; p-values are corrected for how many were looked at.

    Missing values and those of another type are shares of all rows, everything else of the rows that have a value.
    `rare`: categories of a smaller share in the reference are looked at one by one.
    """
    layout = reference.layout
    before, now = np.array(reference.counts, dtype=np.float64), np.array(current.counts, dtype=np.float64)
    valid_before, valid_now = ordinary_rows(reference), ordinary_rows(current)
    if layout.kind == "category":
        other, unseen = layout.specials.index("other"), layout.specials.index("unseen")
        before[other], now[other] = before[other] + before[unseen], now[other] + now[unseen]  # as sizes compares them
        # What the reference has once might as well have been left out of it: so many more are to be expected.
        if not layout.is_open:  # else nothing can be called unseen
            before[unseen] = min(max(before[unseen], layout.singletons), valid_before)
    places = np.array([0, 1, *_rare_places(layout, before, valid_before * rare)])
    n = np.where(places < 2, current.rows, valid_now)
    m = np.where(places < 2, reference.rows, valid_before)
    counted = (before[places] + now[places] > 0) & (n > 0) & (m > 0)
    places, n, m = places[counted], n[counted], m[counted]
    if not places.size:
        return []
    x, y = now[places], before[places]
    p = np.minimum(1.0, places.size * bounds.rate_change_p(x, n, y, m, ratio))
    names = layout.names
    found = [
        RateChange(names[place], rate, rate_reference, p_value)
        for place, rate, rate_reference, p_value in zip(
            places.tolist(), (x / n).tolist(), (y / m).tolist(), p.tolist(), strict=True
        )
    ]
    return sorted(found, key=lambda change: change.p_value)


def _rare_places(layout: Layout, before: Floats, rare_rows: float) -> list[int]:
    """Beside the first two bins: both ends of a range of numbers, or what has no bin of its own and rare categories."""
    if layout.is_ordered:
        return [2, before.size - 1] if layout.cuts else []
    ordinary = len(layout.specials)
    return [*range(2, ordinary), *(ordinary + np.flatnonzero(before[ordinary:] < rare_rows)).tolist()]
