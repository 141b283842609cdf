"""Who was exposed to which arm first, folded together day by day."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidegate.capture.units.arrow import ints, places
from tidegate.capture.units.calls import UnitCalls
from tidegate.wire.experiments.units import Ints


class Exposures:
    """Units in the order in which they were met, each with arm, phase and time of its first call.

    `several` says which had calls of more than one arm. Slices of calls come in the order of time, so what is known of
    a unit's first call stays true.
    """

    def __init__(self) -> None:
        self.keys: pa.Array = pa.array([], pa.string())
        self.arm, self.phase, self.at_us = (np.zeros(0, np.int64) for _ in range(3))
        self.several: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return len(self.arm)

    @property
    def size_bytes(self) -> int:
        """Of what is known of its units."""
        return int(self.keys.nbytes + sum(one.nbytes for one in (self.arm, self.phase, self.at_us, self.several)))

    def copy(self) -> Exposures:
        """The same units, to go on from."""
        made = Exposures()
        made.keys = self.keys
        made.arm, made.phase, made.at_us = self.arm.copy(), self.phase.copy(), self.at_us.copy()
        made.several = self.several.copy()
        return made

    def fold(self, calls: UnitCalls, *, only_answered: bool) -> Ints:
        """Add the units of a slice; the unit of each call, -1 for one whose unit is not known.

        With `only_answered`, calls that failed make no unit: where capture keeps a sample of what was answered and all
        that failed, an arm that fails more would have more units.
        """
        before = len(self)
        unit = self._numbered(calls, calls.answered if only_answered else np.ones(len(calls), np.bool_))
        order = np.lexsort((calls.phase, calls.arm, calls.at_us, unit))
        order = order[unit[order] >= 0]
        if not len(order):
            return unit
        ordered = unit[order]
        begins = np.ones(len(order), np.bool_)
        begins[1:] = ordered[1:] != ordered[:-1]
        starts = np.flatnonzero(begins)
        firsts = order[starts]
        fresh = firsts[unit[firsts] >= before]
        self.arm[unit[fresh]] = calls.arm[fresh]
        self.phase[unit[fresh]] = calls.phase[fresh]
        self.at_us[unit[fresh]] = calls.at_us[fresh]
        met = ordered[starts]
        arms = calls.arm[order]
        lowest, highest = np.minimum.reduceat(arms, starts), np.maximum.reduceat(arms, starts)
        self.several[met] |= (lowest != self.arm[met]) | (highest != self.arm[met])
        return unit

    def _numbered(self, calls: UnitCalls, making: NDArray[np.bool_]) -> Ints:
        """The unit of each call; those of calls that are `making` one are added."""
        encoded = calls.keys.dictionary_encode()
        of_call = ints(encoded.indices, -1)
        known = self.code(encoded.dictionary).copy()
        makes = np.zeros(len(known), np.bool_)
        makes[of_call[making]] = True
        new = np.flatnonzero((known < 0) & makes)
        known[new] = len(self) + np.arange(len(new))
        self.keys = pa.concat_arrays([self.keys, encoded.dictionary.take(pa.array(new))])
        self._extend(len(new))
        numbers: Ints = known[of_call]
        return numbers

    def code(self, keys: pa.Array) -> Ints:
        """The number of each key's unit; -1 for one that was never exposed, and for none."""
        return places(keys, self.keys)

    def _extend(self, more: int) -> None:
        self.arm, self.phase, self.at_us = (
            np.concatenate([one, np.zeros(more, np.int64)]) for one in (self.arm, self.phase, self.at_us)
        )
        self.several = np.concatenate([self.several, np.zeros(more, np.bool_)])
