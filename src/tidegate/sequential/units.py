"""What an analysis is made of: matured units of a metric, and how many units were seen. Made by the services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """Matured units of one metric, one row a unit: each of the arrays is as long as the others.

    `arm` counts the arms of the experiment from 0, which is control; `phase` is that of the first exposure. Of a ratio
    `value` is the numerator. `covariate` is the unit's value before the experiment.
    """

    arm: Integers
    phase: Integers
    value: Floats
    denominator: Floats | None = None
    covariate: Floats | None = None
    entered_at: Floats | None = None

    def finite(self) -> Units:
        """Only the units whose numbers are all numbers."""
        keep = np.isfinite(self.value)
        for each in (self.denominator, self.covariate):
            if each is not None:
                keep = keep & np.isfinite(each)
        return self if bool(keep.all()) else self.where(keep)

    def where(self, keep: NDArray[np.bool_]) -> Units:
        """The units at the places that are true."""
        optional = (self.denominator, self.covariate, self.entered_at)
        return Units(
            self.arm[keep], self.phase[keep], self.value[keep], *(x if x is None else x[keep] for x in optional)
        )

    def beside(self, arm: int) -> Units:
        """Control and one treatment, as arms 0 and 1."""
        pair = self.where((self.arm == 0) | (self.arm == arm))
        return Units(
            (pair.arm == arm).astype(np.int64),
            pair.phase,
            pair.value,
            pair.denominator,
            pair.covariate,
            pair.entered_at,
        )


@dataclass(frozen=True)
class Exposed:
    """How many units were seen: by phase and arm; in more than one arm; and, by metric and arm, not matured yet."""

    counts: Mapping[int, Sequence[int]]
    several: int = 0
    immature: Mapping[str, Sequence[int]] = field(default_factory=dict)
