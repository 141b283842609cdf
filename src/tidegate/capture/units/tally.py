"""Values by unit, added a piece at a time: how many, their sum, the first and the last."""

from __future__ import annotations

import numpy as np

from tidegate.wire.experiments.experiments import Aggregate
from tidegate.wire.experiments.units import Floats, Ints


class UnitTally:
    """Values of units that are numbered from 0 on; there may be more of them with each piece.

    Pieces come in the order of time. Of values at the same moment the smaller one is first, so that what is put
    together does not depend on the order of rows in files.
    """

    def __init__(self) -> None:
        self._count, self._total, self._first, self._last = (np.zeros(0) for _ in range(4))

    @property
    def size_bytes(self) -> int:
        """Of its numbers."""
        return sum(one.nbytes for one in (self._count, self._total, self._first, self._last))

    def copy(self) -> UnitTally:
        """The same values, to go on from."""
        made = UnitTally()
        made._count, made._total = self._count.copy(), self._total.copy()
        made._first, made._last = self._first.copy(), self._last.copy()
        return made

    def add(self, unit: Ints, at_us: Ints, value: Floats, weight: Floats | None = None) -> None:
        """Rows of any order. With `weight`, each counts `weight` times."""
        if not len(unit):
            return
        self._grow(int(unit.max()) + 1)
        size = len(self._count)
        weights = np.ones(len(unit)) if weight is None else weight
        order = np.lexsort((value, at_us, unit))
        ordered, values = unit[order], value[order]
        begins = np.ones(len(ordered), np.bool_)
        begins[1:] = ordered[1:] != ordered[:-1]
        firsts = np.flatnonzero(begins)
        lasts = np.append(firsts[1:], len(ordered)) - 1
        new = self._count[ordered[firsts]] == 0
        self._first[ordered[firsts[new]]] = values[firsts[new]]
        self._last[ordered[lasts]] = values[lasts]
        # Sums in one order: floating-point sums in another differ in their last digits.
        self._count += np.bincount(ordered, weights=weights[order], minlength=size)
        self._total += np.bincount(ordered, weights=values * weights[order], minlength=size)

    def of(self, aggregate: Aggregate, units: int) -> tuple[Floats, Floats]:
        """The value of each unit, NaN where none came, and how many came."""
        self._grow(units)
        count = self._count[:units]
        with np.errstate(invalid="ignore", divide="ignore"):
            values = {"last": self._last, "sum": self._total, "mean": self._total / self._count}[aggregate][:units]
        return np.where(count > 0, values, np.nan), count

    def first(self, units: int) -> Floats:
        """The first value of each unit, NaN where none came."""
        self._grow(units)
        return np.where(self._count[:units] > 0, self._first[:units], np.nan)

    def _grow(self, size: int) -> None:
        if size > len(self._count):
            more = max(size, 2 * len(self._count))
            self._count, self._total, self._first, self._last = (
                np.concatenate([one, np.zeros(more - len(one))])
                for one in (self._count, self._total, self._first, self._last)
            )
