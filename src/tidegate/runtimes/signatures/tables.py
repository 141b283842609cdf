"""Reads validation data (CSV or Parquet) and says plainly what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.errors import ValidationDataUnusable
from tidegate.runtimes.base.inputs import column_inputs
from tidegate.runtimes.base.runtime import Arrays, error_text, numpy_dtype
from tidegate.runtimes.signatures.drafts import SignatureDraft

SHOWN_MAX = 30
"""Most column names listed in a message."""


@dataclass(frozen=True)
class Validation:
    """A data file and what to do with it. `filename` is its own name, `min_score` the gate (see `gate.py`).

    Without `scored` there is no gate, and no `target` is needed ("").
    """

    path: Path
    filename: str
    target: str
    metric: str | None = None
    min_score: float | None = None
    scored: bool = True


def read_table(validation: Validation, text_columns: Collection[str]) -> Any:
    """The file as a data frame with its target; `text_columns` stay text (no leading zero is lost).

    Raises `ValidationDataUnusable`.
    """
    name = validation.filename
    if not validation.path.is_file() or validation.path.stat().st_size == 0:
        raise ValidationDataUnusable(f"{name!r} is empty or does not exist")
    with validation.path.open("rb") as file:
        head = file.read(8192)
    frame = _read_parquet(validation) if head.startswith(b"PAR1") else _read_csv(validation, head, text_columns)
    frame.columns = [str(column) for column in frame.columns]
    if validation.target:
        _check_target(frame, validation)
    if not len(frame):
        raise ValidationDataUnusable(f"{name!r} has column names but no rows")
    if validation.scored and (missing := int(frame[validation.target].isna().sum())):
        raise ValidationDataUnusable(f"the target {validation.target!r} is missing in {missing} rows of {name!r}")
    return frame


def _check_target(frame: Any, validation: Validation) -> None:
    if validation.target not in frame.columns:
        raise ValidationDataUnusable(
            f"{validation.filename!r} has no column {validation.target!r} (the target): it has "
            f"{_listed(frame.columns)}",
            target=validation.target,
            columns=list(frame.columns)[:SHOWN_MAX],
        )


def _read_parquet(validation: Validation) -> Any:
    import pandas as pd

    try:
        return pd.read_parquet(validation.path)
    except Exception as error:
        raise ValidationDataUnusable(
            f"{validation.filename!r} starts like Parquet but cannot be read: {error_text(error)}"
        ) from error


def _read_csv(validation: Validation, head: bytes, text_columns: Collection[str]) -> Any:
    import pandas as pd

    name = validation.filename
    if b"\x00" in head:
        raise ValidationDataUnusable(f"{name!r} is neither CSV nor Parquet: it holds binary data")
    first = head.splitlines()[0]
    separator = max((",", ";", "\t"), key=lambda mark: first.count(mark.encode()))
    dtypes = dict.fromkeys(text_columns, str)
    try:
        return pd.read_csv(validation.path, sep=separator, dtype=dtypes, encoding="utf-8-sig", low_memory=False)
    except UnicodeDecodeError as error:
        raise ValidationDataUnusable(f"{name!r} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (ValueError, OSError) as error:
        raise ValidationDataUnusable(f"{name!r} cannot be read as CSV: {error_text(error)}") from error


def features_of(frame: Any, draft: SignatureDraft, validation: Validation, notes: list[str]) -> Any:
    """The columns the model takes, in its order. Columns it does not know are left out, with a note."""
    others = [column for column in frame.columns if column != validation.target]
    if draft.kind == "matrix" or (draft.kind == "tensors" and len(draft.specs) == 1):
        return _by_place(frame[others], draft, validation)
    names = [spec.name for spec in draft.specs]
    if len(names) == 1 and names[0] not in frame.columns and len(others) == 1:
        return frame[others].set_axis(names, axis=1)  # a text model: its one column may have any name
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        raise ValidationDataUnusable(
            f"{validation.filename!r} lacks {_listed(lacking)}, which the model was trained on: "
            f"it has {_listed(frame.columns)}",
            missing=lacking[:SHOWN_MAX],
            expected=names[:SHOWN_MAX],
            columns=list(frame.columns)[:SHOWN_MAX],
        )
    extra = [name for name in others if name not in names]
    if extra:
        notes.append(f"{_listed(extra)} in {validation.filename!r} are not used: the model was not trained on them")
    return frame[names]


def _by_place(features: Any, draft: SignatureDraft, validation: Validation) -> Any:
    expected = draft.specs[0].shape[1] if len(draft.specs[0].shape) == 2 else -1
    if expected not in (-1, len(features.columns)):
        raise ValidationDataUnusable(
            f"the model takes {expected} features without names; {validation.filename!r} has {len(features.columns)} "
            f"columns besides the target {validation.target!r}: {_listed(features.columns)}",
            expected=expected,
            got=len(features.columns),
        )
    return features


def frame_inputs(features: Any, draft: SignatureDraft, filename: str) -> Arrays:
    """A frame's columns as the arrays a request would carry. Raises `ValidationDataUnusable` for text among numbers."""
    if draft.kind == "columns":
        inputs: Arrays = {}
        for spec in draft.specs:
            column = features[spec.name]
            if spec.datatype != "BYTES":
                column = _numbers(column, filename)
            inputs |= column_inputs(column.tolist(), spec)
        return inputs
    if len(draft.specs) > 1:
        return {
            spec.name: _tensor_column(features[spec.name], spec.datatype, filename, len(spec.shape))
            for spec in draft.specs
        }
    numbers = np.column_stack([_numbers(features[name], filename).to_numpy() for name in features.columns])
    return {draft.specs[0].name: numbers.astype(numpy_dtype(draft.specs[0].datatype))}


def _tensor_column(column: Any, datatype: str, filename: str, rank: int) -> np.ndarray[Any, Any]:
    values = column if datatype == "BYTES" else _numbers(column, filename)
    array: np.ndarray[Any, Any] = values.to_numpy().astype(numpy_dtype(datatype))
    return array.reshape(-1, *[1] * (rank - 1))


def _numbers(column: Any, filename: str) -> Any:
    import pandas as pd

    if column.dtype.kind in "fiub":
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    bad = column[numbers.isna() & column.notna()]
    if len(bad):
        raise ValidationDataUnusable(
            f"column {column.name!r} of {filename!r} holds {str(bad.iloc[0])!r} in data row {bad.index[0] + 1}, where "
            "the model takes numbers",
            column=str(column.name),
        )
    return numbers


def _listed(names: Any) -> str:
    listed = [repr(str(name)) for name in list(names)[:SHOWN_MAX]]
    more = len(list(names)) - len(listed)
    return ", ".join(listed) + (f" and {more} more" if more else "")
