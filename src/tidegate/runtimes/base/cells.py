"""Cells of columns that are more than a number or a text (JSON, bytes, times): from JSON's values to tensor elements,
and from these to what a model's data frame holds. Used by `inputs.py` and `trial.py`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from tidegate.wire.signature import TensorSpec


def is_special(spec: TensorSpec) -> bool:
    """Whether the column's elements stand for something else than their text."""
    return spec.json or bool(spec.holds)


def element_of(value: Any, spec: TensorSpec) -> Any:
    """A value as JSON has it as an element of the tensor."""
    if spec.json:
        return json.dumps(value, ensure_ascii=False, default=lambda item: item.tolist())
    if spec.holds == "binary" and isinstance(value, str):
        return base64.b64decode(value)
    return value


def plain_of(element: Any, spec: TensorSpec) -> Any:
    """The reverse of `element_of`."""
    if spec.json:
        return json.loads(element)
    if spec.holds == "binary":
        return base64.b64encode(_bytes(element)).decode("ascii")
    return element


def series_of(column: np.ndarray[Any, Any], missing: np.ndarray[Any, Any] | None, spec: TensorSpec) -> Any:
    """The column of a data frame; raises `ValueError` for an element that is no JSON or no time."""
    import pandas as pd

    gone = np.zeros(len(column), dtype=bool) if missing is None else missing.astype(bool)
    cells = [None if absent else cell_of(element, spec) for element, absent in zip(column.tolist(), gone, strict=True)]
    if spec.holds != "datetime":
        return pd.Series(cells, dtype=object)
    times = pd.Series([pd.NaT if cell is None else pd.Timestamp(cell) for cell in cells])
    # Nanoseconds, as MLflow's servers give them to a model, whatever version of pandas reads them.
    return times.dt.as_unit("ns") if times.dtype.kind == "M" or hasattr(times.dtype, "tz") else times


def cell_of(element: Any, spec: TensorSpec) -> Any:
    """What a model gets for an element."""
    if spec.json:
        return json.loads(element)
    return _bytes(element) if spec.holds == "binary" else element


def _bytes(element: Any) -> bytes:
    """Bytes that are UTF-8 travel as text."""
    return element if isinstance(element, bytes) else str(element).encode()
