"""What was left out of an experiment's units, in sentences."""

from __future__ import annotations

import numpy as np

from tidegate.services.experiments.units import warnings_of
from tidegate.wire.experiments.units import Ignored, UnitRows


def test_what_was_left_out_is_said_with_its_count() -> None:
    nobody = np.zeros(0, np.int64)
    rows = UnitRows(nobody, nobody, np.zeros(0), {}, ignored=Ignored(without_key=1, other_arm=1, late=2), several=2)
    assert warnings_of(rows) == [
        "1 call without a key (X-Tidegate-Key or user_id): assigned by request, and no unit",
        "2 units in more than one arm: left out",
        "1 feedback event about a call of another arm than the unit's: ignored",
        "2 values after the unit had entered the analysis: give the metric a delay",
    ]
    assert warnings_of(UnitRows(nobody, nobody, np.zeros(0), {})) == []
