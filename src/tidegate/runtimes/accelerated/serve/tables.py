"""Columns of text, categories and numbers into the matrix a form takes, as scikit-learn's encoders and scalers do it.

Used by `serving`; imports neither pandas nor scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.errors import UnfitInput
from tidegate.runtimes.accelerated.serve.form import CategoryColumn, NumberColumns, TableForm, read_array
from tidegate.runtimes.accelerated.serve.steps import FINITE, STEPS, refused
from tidegate.runtimes.base.inputs import columns_of, matrix_of, with_missing_nan
from tidegate.runtimes.base.runtime import Arrays
from tidegate.wire.signature import MISSING_SUFFIX, TensorSpec

Array = np.ndarray[Any, Any]

SHOWN_CHARS_MAX = 60


class FrameEncoder:
    """The first part of a form whose original takes a data frame. `specs`: its columns; none for a matrix."""

    def __init__(self, form: TableForm, folder: Path, specs: Sequence[TensorSpec]) -> None:
        self._form, self._specs = form, tuple(specs)
        names = [spec.name for spec in specs] or [f"x{index}" for index in range(form.n_columns)]
        self._lookups = _lookups(form.categories, names)
        self._numbers = [_Numbers(part, index, folder, names) for index, part in enumerate(form.numbers)]
        if self._lookups:
            self._place, self._value = (read_array(folder, f"table-{name}") for name in ("place", "value"))
            self._refused = read_array(folder, "table-refused")
            self._refuses = bool(self._refused.any())

    def matrix(self, inputs: Arrays) -> Array:
        """(rows, width) in float64. Raises `UnfitInput` for what the original refuses on the way to its matrix."""
        columns = self._columns(inputs)
        rows, width = len(columns[0]), self._form.width
        flat = np.zeros(rows * width + 1)  # the last is where codes without a place go
        x = flat[:-1].reshape(rows, width)
        for part in self._numbers:
            part.put(x, columns, inputs)
        if self._lookups:
            self._put_categories(flat, columns, inputs)
        return x

    def _columns(self, inputs: Arrays) -> Sequence[Array]:
        if self._specs:
            columns = columns_of(inputs, self._specs)
            if self._form.unicode:
                _check_unicode([column for column in columns if column.dtype.kind == "O"])
            return columns
        matrix = matrix_of(inputs)
        if matrix.ndim != 2 or matrix.shape[1] != self._form.n_columns or matrix.dtype.kind not in "fiub":
            raise refused(f"expected a matrix of {self._form.n_columns} numbers a row")
        return list(matrix.T)

    def _put_categories(self, flat: Array, columns: Sequence[Array], inputs: Arrays) -> None:
        codes = np.stack([lookup.codes(columns[lookup.column], inputs) for lookup in self._lookups])
        if self._refuses:
            self._check(codes, columns)
        place = self._place[codes]
        cells = np.where(place < 0, len(flat) - 1, place + np.arange(codes.shape[1]) * self._form.width)
        flat[cells] = self._value[codes]

    def _check(self, codes: Array, columns: Sequence[Array]) -> None:
        wrong = self._refused[codes]
        if not wrong.any():
            return
        index, row = np.argwhere(wrong)[0]
        lookup = self._lookups[index]
        shown = "a missing value" if codes[index, row] == lookup.missing else repr(columns[lookup.column][row])
        raise UnfitInput(
            f"the model refused the input: {lookup.name!r} is {shown[:SHOWN_CHARS_MAX]} in row {row}, a category that "
            "it was not trained on",
            input=lookup.name,
            row=int(row),
        )


def _lookups(columns: Sequence[CategoryColumn], names: list[str]) -> list[_Lookup]:
    found, first = [], 0
    for column in columns:
        found.append(_Lookup(column, first, names[column.column]))
        first = found[-1].other + 1
    return found


class _Lookup:
    """One column's codes by category. Equal numbers have equal hashes, whatever their types."""

    def __init__(self, form: CategoryColumn, first: int, name: str) -> None:
        self.column, self.name = form.column, name
        self.missing = first + len(form.categories)
        self.other = self.missing + 1
        self._text = form.text
        self._codes: dict[Any, int] = {category: first + index for index, category in enumerate(form.categories)}
        if form.text:
            self._codes[None] = self.missing

    def codes(self, column: Array, inputs: Arrays) -> Array:
        """(rows,); raises `UnfitInput` for values of another kind."""
        self._check_kind(column)
        find, other = self._codes.get, self.other
        codes = np.array([find(value, other) for value in column.tolist()], dtype=np.intp)
        if column.dtype.kind == "f":
            codes[np.isnan(column)] = self.missing
        marks = inputs.get(self.name + MISSING_SUFFIX)
        if marks is not None:
            codes[marks.astype(bool).ravel()] = self.missing
        return codes

    def _check_kind(self, column: Array) -> None:
        if self._text != (column.dtype.kind == "O"):
            raise refused(f"{self.name!r} holds {column.dtype} where {'text' if self._text else 'numbers'} is expected")
        if column.dtype.kind == "f" and np.isinf(column).any():
            raise refused("Input contains infinity")


class _Numbers:
    """Some columns of numbers, through the steps of one of the original's transformers."""

    def __init__(self, form: NumberColumns, index: int, folder: Path, names: list[str]) -> None:
        self._columns = form.columns
        self._marks = [names[column] + MISSING_SUFFIX for column in form.columns]
        self._place = slice(form.start, form.start + len(form.columns))
        self._steps = [(name, read_array(folder, f"table-{index}-step-{n}")) for n, name in enumerate(form.steps)]

    def put(self, into: Array, columns: Sequence[Array], inputs: Arrays) -> None:
        """Raises `UnfitInput` where a step refuses what it gets."""
        parts = [columns[column] for column in self._columns]
        if any(part.dtype.kind not in "fiub" for part in parts):
            raise refused("could not convert string to float")
        x = np.column_stack(
            [with_missing_nan(part, inputs.get(mark)) for part, mark in zip(parts, self._marks, strict=True)]
        )
        if self._steps:
            x = x if x.dtype == np.float32 else x.astype(np.float64, copy=False)
            for name, array in self._steps:
                x = _checked(x) if name == FINITE else STEPS[name](x, array).astype(x.dtype, copy=False)
        into[:, self._place] = x


def _check_unicode(columns: Sequence[Array]) -> None:
    """Pandas cannot hold other text, whatever becomes of the column."""
    for column in columns:
        try:
            "".join([value for value in column.tolist() if value is not None]).encode()
        except (TypeError, UnicodeEncodeError):
            raise refused("a text is not UTF-8") from None


def _checked(x: Array) -> Array:
    if np.isinf(x).any():
        raise refused(f"Input X contains infinity or a value too large for {x.dtype!r}.")
    return x
