"""Writes what a model was asked and what it answered to a file, for the job that started the inspection.

The reader (`adapters.sandbox.kept_rows`) trusts nothing of it: plain arrays, no pickles, objects as JSON text.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.runtimes.base.inputs import row_count
from tidegate.runtimes.base.runtime import Arrays
from tidegate.system.atomic import replacing

CELLS_MAX = 20_000_000
"""Numbers and texts in all columns together; of more rows so many are drawn evenly."""
TEXT_CHARS_MAX = 1_000
_SEED = 15


def keep_rows(path: Path, inputs: Arrays, answers: Arrays, target: Any | None) -> int:
    """Write the rows; how many were kept. `target`: the column with the truth, where there is one."""
    columns = [("input", name, array) for name, array in inputs.items()]
    columns += [("output", name, array) for name, array in answers.items()]
    if target is not None:
        columns.append(("label", "label", np.asarray(target)))
    rows = row_count(inputs)
    chosen = _chosen(rows, sum(array.size for _, _, array in columns))
    index, arrays = [], {}
    for place, (part, name, array) in enumerate(columns):
        kept = array[chosen]
        is_plain = kept.dtype.kind in "biuf"
        index.append({"part": part, "name": name, "json": not is_plain, "shape": list(kept.shape)})
        arrays[f"c{place}"] = kept if is_plain else _as_json(kept)
    index_bytes = np.frombuffer(json.dumps({"rows": len(chosen), "columns": index}).encode(), np.uint8)
    with replacing(path, durable=False) as file:
        np.savez(file, allow_pickle=False, index=index_bytes, **arrays)
    return len(chosen)


def _chosen(rows: int, cells: int) -> np.ndarray[Any, Any]:
    per_row = max(1, cells // max(1, rows))
    rows_max = max(1, CELLS_MAX // per_row)
    if rows <= rows_max:
        return np.arange(rows)
    return np.sort(np.random.default_rng(_SEED).choice(rows, rows_max, replace=False))


def _as_json(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(json.dumps([_plain(value) for value in array.ravel().tolist()]).encode(), np.uint8)


def _plain(value: Any) -> Any:
    """A cell as JSON has it: texts and numbers as they are, everything else as its text."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas' own marks
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")[:TEXT_CHARS_MAX]
    return str(value)[:TEXT_CHARS_MAX]
