"""Reads the rows that an inspection kept (`runtimes.inspection.kept_rows`). The model's code may have written the file.

Nothing of it is trusted: plain arrays of the sizes it says, JSON text, no pickles, nothing compressed.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.adapters.sandbox.left_behind import read_left
from tidegate.errors import ModelLoadFailed

BYTES_MAX = 1 << 30
COLUMNS_MAX = 20_000
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class KeptRows:
    """What a model was asked and what it answered, as named tensors of as many rows, and the truth (None: not told)."""

    rows: int = 0
    inputs: dict[str, Array] = field(default_factory=dict)
    outputs: dict[str, Array] = field(default_factory=dict)
    labels: Array | None = None


def read_kept_rows(path: Path) -> KeptRows | None:
    """None where no rows were kept. Raises `ModelLoadFailed` for anything that an inspection does not write."""
    try:
        content = read_left(path, BYTES_MAX)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelLoadFailed(f"the rows that the inspection kept cannot be read: {error}") from error
    try:
        return _read(content)
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise ModelLoadFailed(f"the rows that the inspection kept are damaged: {error}") from error


def _read(content: bytes) -> KeptRows:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
            raise ValueError("a part of the file is compressed")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        index = json.loads(arrays["index"].tobytes())
        rows, columns = int(index["rows"]), index["columns"]
        if rows < 0 or len(columns) > COLUMNS_MAX:
            raise ValueError("it has no rows or too many columns")
        parts: dict[str, dict[str, Array]] = {"input": {}, "output": {}, "label": {}}
        for place, column in enumerate(columns):
            parts[column["part"]][str(column["name"])] = _column(arrays[f"c{place}"], column, rows)
    return KeptRows(rows, parts["input"], parts["output"], parts["label"].get("label"))


def _column(array: Array, column: dict[str, Any], rows: int) -> Array:
    shape = tuple(int(length) for length in column["shape"])
    if column["json"]:
        values = json.loads(array.tobytes())
        if not all(value is None or isinstance(value, str | int | float) for value in values):
            raise ValueError(f"{column['name']!r} holds more than texts and numbers")
        flat = np.empty(len(values), dtype=object)
        flat[:] = values
        array = flat
    elif array.dtype.kind not in "biuf":
        raise ValueError(f"{column['name']!r} holds {array.dtype}")
    if not shape or shape[0] != rows or array.size != int(np.prod(shape)):
        raise ValueError(f"{column['name']!r} does not have {rows} rows")
    return array.reshape(shape)
