"""Shows that a table answers and refuses as the model's encoders do, to the last bit, and hands on what follows them.

The two together are the proof: the matrix is the same, and the rest is a model of a matrix, which `trying` compares.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.errors import UnfitInput
from tidegate.runtimes.accelerated.build.equality import NotEqual
from tidegate.runtimes.accelerated.build.from_tables import NO_UNICODE, PipelineSplit, dense, table_of, unknown
from tidegate.runtimes.accelerated.build.preparation import CannotConvert
from tidegate.runtimes.accelerated.serve.form import CategoryColumn, TableForm
from tidegate.runtimes.accelerated.serve.tables import FrameEncoder
from tidegate.runtimes.base.inputs import matrix_of, row_count
from tidegate.runtimes.base.runtime import Arrays, numpy_dtype, refusals
from tidegate.runtimes.models.sklearn_model import SklearnModel
from tidegate.runtimes.signatures.trial import rows_of
from tidegate.wire.signature import MATRIX_INPUT, MISSING_SUFFIX, Signature, TensorSpec

Array = np.ndarray[Any, Any]

SHUFFLED_ROWS = 256
CATEGORIES_SHOWN_MAX = 500
ALONE_COLUMNS_MAX, PROBED_COLUMNS_MAX = 6, 24
"""Of a wide table some columns, spread over it, get every odd value, and a few of those in a row by itself too. Each
column gets all of its categories, another value and a missing one."""
ODD_NUMBERS = (np.nan, np.inf, -np.inf, 1e39, -1e308, 1e308, -0.0, 5e-324, 2.0**53 + 1)
ODD_TEXTS = ("", " ", "nan", "None", "0", "\u00e9\u4e2d\U0001f600", "x" * 5000, NO_UNICODE, "\ud800")


class Tail(SklearnModel):
    """What follows the encoders, given a matrix in the kind they make: sparse, a data frame or an array."""

    def __init__(self, model: SklearnModel, split: PipelineSplit, made: Any) -> None:
        specs = (TensorSpec(MATRIX_INPUT, "FP64", (-1, made.shape[1])),)
        super().__init__(split.tail, "matrix", specs, model.has_probabilities)
        self._made = made

    def features(self, inputs: Arrays) -> Any:
        """See `SklearnModel`."""
        matrix = matrix_of(inputs)
        if hasattr(self._made, "toarray"):
            return type(self._made)(matrix)
        if hasattr(self._made, "columns"):
            return type(self._made)(matrix, columns=self._made.columns)
        return matrix


@dataclass(frozen=True)
class Taken:
    """A model taken apart: its table with its arrays, and what follows with rows for it."""

    split: PipelineSplit
    form: TableForm
    arrays: dict[str, Array]
    tail: Tail
    rows: Arrays
    signature: Signature
    is_sparse: bool


def take_apart(model: SklearnModel, split: PipelineSplit, signature: Signature, rows: Arrays) -> Taken:
    """Raises `CannotConvert`."""
    specs = column_specs(signature)
    form, arrays = table_of(model, split, rows, specs)
    made = split.transform(model.features(rows))
    tail = Tail(model, split, made)
    inner = Signature("matrix", tail.specs, signature.outputs, signature.classes)
    return Taken(split, form, arrays, tail, {MATRIX_INPUT: dense(made)}, inner, hasattr(made, "toarray"))


def column_specs(signature: Signature) -> tuple[TensorSpec, ...]:
    """One spec a column, also where they come as one matrix."""
    if signature.kind == "columns":
        return signature.inputs
    spec = signature.inputs[0]
    if len(spec.shape) != 2 or spec.shape[1] < 1:
        raise CannotConvert("it does not say how many columns it takes")
    return tuple(TensorSpec(f"x{index}", spec.datatype, (-1,)) for index in range(spec.shape[1]))


# -- the proof ---------------------------------------------------------------------------------------------------------


def check_table(model: SklearnModel, taken: Taken, signature: Signature, rows: Arrays, folder: Path) -> dict[str, int]:
    """How many rows and refusals were compared. Raises `NotEqual`; `folder` is new, and left to the caller."""
    folder.mkdir(mode=0o700)
    for name, array in taken.arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    table = FrameEncoder(taken.form, folder, signature.inputs if signature.kind == "columns" else ())
    compared = {"rows of the table": 0, "refusals of the table": 0}
    for what, inputs in cases_of(taken.form, signature, rows):
        kind = "rows of the table" if _check(model, taken, table, inputs, what) else "refusals of the table"
        compared[kind] += row_count(inputs)
    return compared


def _check(model: SklearnModel, taken: Taken, table: FrameEncoder, inputs: Arrays, what: str) -> bool:
    """Whether both answered; else both refused."""
    expected = got = None
    try:
        with refusals():
            expected = dense(taken.split.transform(model.features(inputs)))
    except UnfitInput:
        pass
    with contextlib.suppress(UnfitInput):
        got = table.matrix(inputs)
    if (expected is None) != (got is None):
        does, other = ("refuses", "answer") if got is None else ("answers", "refuse")
        raise NotEqual(f"{what}: the table {does} where the original's encoders {other}")
    if expected is None or got is None:
        return False
    if not np.array_equal(expected, got, equal_nan=True):
        wrong = int((~((expected == got) | (np.isnan(expected) & np.isnan(got))).all(axis=1)).sum())
        raise NotEqual(f"{what}: the table makes other numbers of {wrong} of {len(got)} rows")
    return True


def cases_of(form: TableForm, signature: Signature, rows: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Rows to compare on: known, shuffled, with every category, and a few that the encoders may refuse."""
    yield "known rows", rows
    yield "a row alone", rows_of(rows, [0])
    rng = np.random.default_rng(17)
    count = row_count(rows)
    yield "shuffled rows", {name: array[rng.integers(0, count, SHUFFLED_ROWS)] for name, array in rows.items()}
    specs = column_specs(signature)
    known = {column.column: column for column in form.categories}
    alone = rows_of(rows, [0])
    probed = np.unique(np.linspace(0, len(specs) - 1, min(len(specs), PROBED_COLUMNS_MAX)).astype(int)).tolist()
    for index, spec in enumerate(specs):
        for value_name, values in (_values if index in probed else _few_values)(spec, known.get(index)):
            what = f"{value_name} in column {spec.name!r}"
            yield what, _put(rows, signature, index, values)
            if index in probed[:ALONE_COLUMNS_MAX]:
                yield f"{what}, one row", _put(alone, signature, index, values[:1])
        if signature.kind == "columns" and (index in probed or index in known):
            yield f"a missing value in column {spec.name!r}", _blanked(rows, [spec])
        if signature.kind == "columns" and index in probed:
            yield f"a missing value in column {spec.name!r}, one row", _blanked(alone, [spec])
    if signature.kind == "columns":
        yield "a row of missing values", _blanked(alone, specs)


def _values(spec: TensorSpec, column: CategoryColumn | None) -> Iterator[tuple[str, list[Any]]]:
    dtype = numpy_dtype(spec.datatype)
    if column is not None:
        shown = column.categories[:CATEGORIES_SHOWN_MAX]
        yield "every category", list(shown)
    if spec.datatype == "BYTES":
        similar = _similar(column.categories) if column is not None else []
        yield from ((f"{text[:12]!r}", [text]) for text in (*ODD_TEXTS, *similar))
        return
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            yield from ((f"{value!r}", [dtype.type(value)]) for value in ODD_NUMBERS)
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        yield from ((f"{value}", [value]) for value in (limits.min, limits.max, 0, 1, 99))
    elif dtype.kind == "b":
        yield "False and True", [False, True]


def _few_values(spec: TensorSpec, column: CategoryColumn | None) -> Iterator[tuple[str, list[Any]]]:
    if column is not None:
        yield "every category", list(column.categories[:CATEGORIES_SHOWN_MAX])
        yield "another value", [unknown(list(column.categories), spec)]


def _similar(categories: tuple[Any, ...]) -> list[str]:
    """Texts that are nearly a category."""
    first = str(categories[0]) if categories else ""
    return [text for text in (f"{first} ", f" {first}", first.upper(), first.lower(), first[:-1], f"{first}\0") if text]


def _put(rows: Arrays, signature: Signature, index: int, values: list[Any]) -> Arrays:
    """The rows (as many as values, and one more that is left as it was) with these values in one column."""
    chosen = rows_of(rows, [row % row_count(rows) for row in range(len(values) + (row_count(rows) > 1))])
    changed = {name: array.copy() for name, array in chosen.items()}
    if signature.kind != "columns":
        matrix_of(changed)[: len(values), index] = values
        return changed
    spec = signature.inputs[index]
    changed[spec.name][: len(values)] = values
    mark = changed.get(spec.name + MISSING_SUFFIX)
    if mark is not None:
        mark[: len(values)] = False
    return changed


def _blanked(rows: Arrays, specs: Any) -> Arrays:
    """The first row with these values missing, before one more as it was."""
    changed = {name: array.copy() for name, array in rows_of(rows, list(range(min(2, row_count(rows))))).items()}
    for spec in specs:
        column = changed[spec.name]
        if column.dtype.kind == "f":
            column[0] = np.nan
        else:
            mark = changed.setdefault(spec.name + MISSING_SUFFIX, np.zeros(len(column), dtype=bool))
            mark[0] = True
    return changed
