"""Arrow's columns as numpy's, with a value for what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.wire.experiments.units import Floats, Ints


def ints(column: Any, missing: int) -> Ints:
    """Whole numbers; times are microseconds since the epoch."""
    return np.asarray(pc.fill_null(column.cast(pa.int64()), missing).to_numpy(zero_copy_only=False), np.int64)


def floats(column: Any, missing: float = np.nan) -> Floats:
    """Numbers."""
    return np.asarray(pc.fill_null(column.cast(pa.float64()), missing).to_numpy(zero_copy_only=False), np.float64)


def places(values: Any, among: pa.Array) -> Ints:
    """Where each value stands among others; -1 for one that does not, and for none."""
    return ints(pc.index_in(values, value_set=among, skip_nulls=True), -1)
