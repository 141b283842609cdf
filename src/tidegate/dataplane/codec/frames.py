"""Makes tables and named lists fit a signature: data frames, row-wise instances and column-wise inputs.

Used by the MLflow and TensorFlow Serving edges. As in `fit.py`, nothing is cast silently: what does not fit is
`UnfitInput`.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tidegate.dataplane.base.stepwise import each, turned
from tidegate.dataplane.base.words import listing, type_name
from tidegate.dataplane.codec.columns import Column, are_first, columns_of, filled_up, required, width_of, wrong_width
from tidegate.dataplane.codec.fit import (
    Fitted,
    check_names,
    check_shape,
    column_specs,
    family_of,
    fit_columns,
    nested_array,
)
from tidegate.dataplane.codec.ranges import check_floats
from tidegate.errors import MalformedRequest, UnfitInput
from tidegate.wire.csv_fields import field_value, is_number
from tidegate.wire.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from tidegate.dataplane.base.tensors import Array
    from tidegate.dataplane.calls.call import Destination
    from tidegate.dataplane.calls.outputs import Tensors

Columns = Sequence[Column]


def fit_frame(names: Sequence[Any], columns: Columns, destination: Destination) -> Fitted:
    """Fit a data frame: by column name where the model has names, else by place."""
    if not columns:
        names = [spec.name for spec in destination.signature.inputs]
        raise UnfitInput(f"the table has no columns, but the model takes {listing(names)}", expected=names, got=[])
    if any(values == [] for values in each(columns)):
        raise UnfitInput("the table is empty: send at least one row", expected="1 or more rows", got=0)
    signature = destination.signature
    if destination.n_features is not None and signature.kind != "columns":
        specs = _specs_by_place(columns, destination)
        filled = [values and _with_nulls(values, spec) for values, spec in zip(columns, specs, strict=True)]
        return fit_columns(filled, specs, destination)
    specs = list(signature.inputs)
    ordered = _in_order(names, columns, signature)
    if signature.kind == "columns":
        filled = [values and _with_nulls(values, spec) for values, spec in zip(ordered, specs, strict=True)]
        return fit_columns(filled, specs, destination)
    tensors = {spec.name: _cells(values, spec) for values, spec in zip(ordered, specs, strict=True) if values}
    return Fitted(len(columns[0] or ()), tensors=tensors)


def fit_numbers_frame(names: Any, found: tuple[Fitted, bool], destination: Destination) -> Fitted:
    """Rows of numbers that were read by themselves, with their columns as the model has them.

    Raises `UnfitInput` where the body is to be read whole instead.
    """
    fitted, is_one_row = found
    rows, width = fitted.packed, destination.n_features or 0
    if is_one_row or isinstance(rows, list) or rows is None or not (names is None or isinstance(names, list)):
        raise UnfitInput("these are no rows of a data frame")
    names = list(range(width)) if names is None else names
    if len(names) != width:
        raise UnfitInput("there is not a name for each column")
    if destination.signature.kind != "columns":
        return fitted
    places: list[Any] = [[place] for place in range(width)]
    order = [place[0] for place in _in_order(names, places, destination.signature) if place]
    return fitted if order == list(range(width)) else Fitted(fitted.rows, packed=rows[:, order])


def _specs_by_place(columns: Columns, destination: Destination) -> list[TensorSpec]:
    width = destination.n_features or 0
    if len(columns) != width:
        raise UnfitInput(f"the table has {len(columns)} columns, but the model takes {width}", expected=width)
    return column_specs(destination.signature, width)


def _in_order(names: Sequence[Any], columns: Columns, signature: Signature) -> list[Column]:
    """The columns as the model has them. Columns that are only numbered (a frame without names) go by place.

    So does the one column of a model that has no name for it. An optional one that the table does not have is None.
    """
    wanted = [spec.name for spec in signature.inputs]
    given = [str(name) for name in each(names)]
    if given == wanted or (signature.items and len(columns) == 1):
        return list(columns)
    if len(set(given)) < len(given):
        twice = next(name for name, times in each(Counter(given).items()) if times > 1)
        raise MalformedRequest(f"the table's columns hold {twice!r} twice")
    if given == [str(place) for place in range(len(wanted))]:
        return list(columns)
    if signature.kind == "columns" and are_first(given, signature):
        return filled_up(columns, signature)
    found = dict(zip(given, columns, strict=True))
    check_names(found, wanted, "the table", required(signature.inputs))
    return [found.get(name) for name in wanted]


def _with_nulls(values: list[Any], spec: TensorSpec) -> list[Any]:
    """NaN says 'missing' in columns whose own type has none: data frames use it so, also among text."""
    if family_of(spec.datatype) == "float":
        return values
    return [None if type(value) is float and math.isnan(value) else value for value in each(values)]


def _tensor(values: list[Any], spec: TensorSpec) -> Array:
    """One value or nested list a row as the tensor of that input; scalars fill a tensor of one value a row."""
    array = nested_array(values, spec)
    if array.ndim == 1 and len(spec.shape) == 2 and spec.shape[1] in (1, -1):
        array = array[:, np.newaxis]
    check_shape(array, spec)
    return array


def _cells(values: list[Any], spec: TensorSpec) -> Array:
    """The same for a data frame, which has no axes of its own: a tensor of more than one a row comes as a flat list."""
    sides = spec.shape[1:]
    if len(sides) < 2 or -1 in sides:
        return _tensor(values, spec)
    array = nested_array(values, spec)
    if array.ndim == 2 and array.shape[1] == math.prod(sides):
        array = array.reshape(-1, *sides)
    check_shape(array, spec)
    return array


# -- rows and columns of tensors --------------------


def fit_instances(rows: Any, destination: Destination, what: str = "instances") -> Fitted:
    """Fit a list with one item a row: a value of the only input, a list of values, or a record of all inputs."""
    if not isinstance(rows, list):
        raise UnfitInput(f"{what!r} is {type_name(rows)}, where a list with an item for each row is expected")
    if not rows:
        raise UnfitInput(f"{what!r} is empty: send at least one row", input=what, expected="1 or more rows", got=0)
    signature = destination.signature
    specs = list(signature.inputs)
    if signature.items:
        return fit_columns([rows], specs, destination)
    if isinstance(rows[0], dict):
        names, needed = [spec.name for spec in specs], required(specs)
        for index, row in enumerate(each(rows)):
            check_names(row, names, f"row {index} of {what!r}", needed)
        found = dict(zip(names, columns_of(rows, specs), strict=True))
        return _fit_named({name: values for name, values in found.items() if values is not None}, destination)
    if signature.kind == "columns" or destination.n_features is not None:
        return _fit_lists(rows, destination, what)
    if len(specs) > 1:
        raise UnfitInput(f"the model has {len(specs)} inputs: send records with {listing([s.name for s in specs])}")
    return Fitted(len(rows), tensors={specs[0].name: _tensor(rows, specs[0])})


def _fit_lists(rows: list[Any], destination: Destination, what: str) -> Fitted:
    width = width_of(rows, destination.signature)
    if width == 1 and not any(isinstance(row, list) for row in rows):
        rows = [[row] for row in rows]
    for index, row in enumerate(each(rows)):
        if not isinstance(row, list):
            raise UnfitInput(f"row {index} of {what!r} is {type_name(row)}, where a list of {width} values is expected")
        if len(row) != width:
            raise wrong_width(index, width, len(row), what)
    return fit_frame(range(width), turned(rows), destination)


def fit_float_rows(rows: list[list[float]], destination: Destination, what: str) -> Fitted:
    """Rows that are known to be lists of numbers, for a model that takes just that (`destination.takes_floats`)."""
    width = destination.n_features or 0
    for index, row in enumerate(each(rows)):
        if len(row) != width:
            raise wrong_width(index, width, len(row), what)
    check_floats(rows, destination)
    return Fitted(len(rows), packed=rows)


def fit_inputs(inputs: Any, destination: Destination, what: str = "inputs") -> Fitted:
    """Fit values by input name, each with all rows; of a model with one input, its values may stand alone."""
    if not isinstance(inputs, dict):
        return fit_instances(inputs, destination, what)
    specs = destination.signature.inputs
    check_names(inputs, [spec.name for spec in specs], repr(what), required(specs))
    if destination.signature.kind == "columns":
        inputs = _by_rows(inputs, has_lists=any(spec.json and spec.name in inputs for spec in specs))
    for name, values in each(inputs.items()):
        if not isinstance(values, list):
            raise UnfitInput(f"input {name!r} is {type_name(values)}, where a list is expected", input=name)
    return _fit_named(inputs, destination)


def _by_rows(record: dict[str, Any], *, has_lists: bool) -> dict[str, Any]:
    """Values by column as a list of one a row each.

    As MLflow reads them: without a list they are one row, and a value beside lists holds for every row. `has_lists`: a
    value of a column may be a list itself. Then they are one row unless all are lists of one length.
    """
    counts = {len(values) for values in record.values() if isinstance(values, list)}
    alone = [name for name, values in record.items() if not isinstance(values, list)]
    if not counts or (has_lists and (alone or len(counts) > 1)):
        return {name: [value] for name, value in record.items()}
    if len(counts) > 1:
        return record
    return record | {name: [record[name]] * max(counts) for name in alone}


def _fit_named(values: dict[str, list[Any]], destination: Destination) -> Fitted:
    counts = {name: len(items) for name, items in values.items()}
    if len(set(counts.values())) > 1:
        raise UnfitInput(f"inputs disagree about the number of rows: {counts}", got=counts)
    if destination.signature.kind == "columns":
        return fit_frame(list(values), list(values.values()), destination)
    if destination.n_features is not None:
        (name, rows), *_ = values.items()
        return fit_instances(rows, destination, name)
    if not any(counts.values()):
        raise UnfitInput("'inputs' has no rows: send at least one", expected="1 or more rows", got=0)
    tensors: Tensors = {spec.name: _tensor(values[spec.name], spec) for spec in destination.signature.inputs}
    return Fitted(next(iter(counts.values())), tensors=tensors)


# -- CSV --------------------


def fit_csv(body: bytes | bytearray, destination: Destination) -> Fitted:
    """Fit CSV with a header line. Each field is read as the type its column has, and never by how it looks."""
    names, rows = _read_csv(body)
    signature = destination.signature
    columns: list[list[str]] = [[row[index] for row in each(rows)] for index in each(range(len(names)))]
    if signature.kind != "columns" and destination.n_features is not None:
        _check_header(names)
        specs = _specs_by_place(columns, destination)
        names, ordered = [spec.name for spec in specs], list[Column](columns)
    else:
        specs = list(signature.inputs)
        names, ordered = [spec.name for spec in specs], _in_order(names, columns, signature)
    typed = [
        column and [field_value(text, spec.datatype, nullable=spec.nullable) for text in each(column)]
        for column, spec in zip(ordered, specs, strict=True)
    ]
    return fit_frame(names, typed, destination)


def _read_csv(body: bytes | bytearray) -> tuple[list[str], list[list[str]]]:
    try:
        text = body.decode("utf-8-sig")
        lines = [line for line in each(csv.reader(io.StringIO(text, newline=""), strict=True)) if line]
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"the CSV is not UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise MalformedRequest(f"the body is no CSV: {error}") from None
    if not lines:
        raise MalformedRequest("the CSV is empty: send a line with the columns' names, and the rows below it")
    names, *rows = lines
    for index, row in enumerate(each(rows)):
        if len(row) != len(names):
            raise MalformedRequest(f"row {index} of the CSV has {len(row)} fields, but its header has {len(names)}")
    return names, rows


def _check_header(names: list[str]) -> None:
    """A model without names takes any header, but a first row of values must not get lost as one."""
    numbered = names == [str(place) for place in range(len(names))]
    if not numbered and all(is_number(name) for name in each(names)):
        raise UnfitInput(
            "the first line of the CSV holds values: send a line with the columns' names above them (any will do)",
            expected="a header line",
        )
