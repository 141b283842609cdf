"""Finds out by trying: which row a model answers, whether it takes missing values, whether a batch is its rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import structs

from tidegate import clock
from tidegate.errors import ModelLoadFailed
from tidegate.packaging.mlmodel import PackageLayout
from tidegate.runtimes.base.cells import plain_of
from tidegate.runtimes.base.inputs import is_missing, row_count
from tidegate.runtimes.base.runtime import Arrays, LoadedModel, numpy_dtype
from tidegate.runtimes.signatures.drafts import SignatureDraft
from tidegate.runtimes.signatures.hints import Hint
from tidegate.wire.signature import MISSING_SUFFIX, TensorSpec

TRIAL_ROWS = 12
"""Rows of the batch that is compared with its rows one by one."""
RELATIVE, RELATIVE_FLOAT32 = 1e-6, 1e-5
"""How far a row's number may differ inside a batch. Summing in another order moves a float64 by about 1e-15 and a
float32 by about 1e-7; a model whose rows depend on one another moves them by far more. Labels must be the same."""
_NULL_TRIALS_S = 15.0
_DIAGONAL_MAX = 64
_WORDS = ("the", "model", "answers", "every", "text", "with", "labels", "learned", "from", "texts", "before")


# -- rows to try -------------------------------------------------------------------------------------------------------


def guessed_rows(draft: SignatureDraft, count: int) -> list[Any]:
    """Rows made from what the model gave away about its columns; the first is the likeliest."""
    rng = np.random.default_rng(7)
    if draft.kind == "tensors":
        return [_guessed_tensors(draft, rng, first=index == 0) for index in range(count)]
    hints = draft.hints or [
        Hint() for _ in range(draft.specs[0].shape[-1] if draft.kind == "matrix" else len(draft.specs))
    ]
    datatypes = [spec.datatype for spec in draft.specs] * (len(hints) if draft.kind == "matrix" else 1)
    rows = [[_guess(h, t, index, rng) for h, t in zip(hints, datatypes, strict=True)] for index in range(count)]
    if draft.kind == "matrix":
        return rows
    return [dict(zip([spec.name for spec in draft.specs], row, strict=True)) for row in rows]


def _guess(hint: Hint, datatype: str, index: int, rng: np.random.Generator) -> Any:
    if hint.values:
        value = hint.values[(index * 7 + index // 3) % len(hint.values) if index else 0]
        return value if hint.exact or datatype != "BYTES" or isinstance(value, str) else str(value)
    if datatype == "BYTES":
        return " ".join(_WORDS[index % 8 : index % 8 + 4])
    if datatype == "BOOL":
        return index % 2 == 1
    if datatype.startswith(("INT", "UINT")):
        return index % 3
    return 0.0 if index == 0 else round(float(rng.normal()), 4)


def _guessed_tensors(draft: SignatureDraft, rng: np.random.Generator, *, first: bool) -> Any:
    specs, made = draft.specs, {}
    for spec in specs:
        shape = [draft.free_side if side < 0 else side for side in spec.shape[1:]]
        dtype = numpy_dtype(spec.datatype)
        if dtype.kind == "O":
            made[spec.name] = np.full(shape, "text", dtype=object).tolist()
        elif first:
            made[spec.name] = np.zeros(shape, dtype=dtype).tolist()
        elif dtype.kind == "f":
            made[spec.name] = np.round(rng.normal(size=shape), 4).tolist()
        else:
            made[spec.name] = rng.integers(0, 2, size=shape).astype(dtype).tolist()
    if len(specs) == 1 and len(specs[0].shape) == 2:
        return made[specs[0].name]
    return made


def mlflow_example(layout: PackageLayout) -> list[Any]:
    """The rows of the input example that MLflow keeps beside a model; none when there is none that can be read."""
    for name in ("serving_input_example.json", "input_example.json"):
        path = layout.dir / name
        try:
            content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except (OSError, ValueError):
            continue
        rows = _example_rows(content)
        if rows:
            return rows
    return []


def _example_rows(content: Any) -> list[Any]:
    if not isinstance(content, dict):
        return content if isinstance(content, list) else []
    table = content.get("dataframe_split", content)
    if isinstance(table, dict) and isinstance(table.get("data"), list):
        columns = table.get("columns") or []
        named = columns and all(isinstance(name, str) for name in columns)
        return [dict(zip(columns, row, strict=False)) if named else row for row in table["data"]]
    inputs = content.get("inputs", content.get("instances"))
    return inputs if isinstance(inputs, list) else []


def example_of(inputs: Arrays, draft: SignatureDraft) -> Any:
    """The first row as plain JSON takes it: a list, or a record for named columns or several tensors."""
    if draft.kind == "columns":
        return {spec.name: _json_value(inputs, spec) for spec in draft.specs}
    if len(draft.specs) == 1 and len(draft.specs[0].shape) == 2:
        return [None if is_missing(value) else value for value in inputs[draft.specs[0].name][0].tolist()]
    # A row of a one-dimensional tensor of text is the text itself.
    first = {spec.name: inputs[spec.name][0] for spec in draft.specs}
    return {name: value if isinstance(value, str) else value.tolist() for name, value in first.items()}


def _json_value(inputs: Arrays, spec: TensorSpec) -> Any:
    mark = inputs.get(spec.name + MISSING_SUFFIX)
    value = inputs[spec.name][0]
    value = value.item() if isinstance(value, np.generic) else value
    return None if (mark is not None and mark[0]) or is_missing(value) else plain_of(value, spec)


def rows_of(inputs: Arrays, rows: Sequence[int]) -> Arrays:
    """Some of the rows."""
    index = np.asarray(rows, dtype=np.intp)
    return {name: array[index] for name, array in inputs.items()}


# -- missing values --------------------------------------------------------------------------------


def nullable_specs(model: LoadedModel, draft: SignatureDraft, inputs: Arrays) -> tuple[TensorSpec, ...]:
    """The draft's inputs, each marked with whether the model really answers when a value of it is missing."""
    if draft.kind == "tensors" or draft.items:
        return draft.specs
    one = rows_of(inputs, [0])
    if draft.kind == "matrix":
        spec = draft.specs[0]
        takes = spec.datatype.startswith("FP") and _answers(model, _diagonal(one[spec.name]))
        return (_marked(spec, takes),)
    if _answers(model, _each_missing(one, draft.specs)):
        return tuple(_marked(spec, True) for spec in draft.specs)
    deadline = clock.monotonic() + _NULL_TRIALS_S
    specs = []
    for spec in draft.specs:
        takes = clock.monotonic() < deadline and _answers(model, _without(one, [spec], draft.specs))
        specs.append(_marked(spec, takes))
    return tuple(specs)


def _marked(spec: TensorSpec, nullable: bool) -> TensorSpec:
    return structs.replace(spec, nullable=nullable or spec.optional)


def _diagonal(row: np.ndarray[Any, Any]) -> Arrays:
    """As many rows as features (up to a bound), each with another one missing."""
    width = row.shape[1]
    columns = np.unique(np.linspace(0, width - 1, min(width, _DIAGONAL_MAX)).astype(int))
    rows = np.repeat(row, len(columns), axis=0)
    rows[np.arange(len(columns)), columns] = np.nan
    return {"input": rows}


def _each_missing(one: Arrays, specs: Sequence[TensorSpec]) -> Arrays:
    parts = [_without(one, [spec], specs) for spec in specs[:_DIAGONAL_MAX]]
    if len(specs) > _DIAGONAL_MAX:
        parts.append(_without(one, specs, specs))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def with_gaps(one: Arrays, specs: Sequence[TensorSpec]) -> Arrays:
    """A row as often as there are optional columns (up to a bound), each time with another one missing."""
    optional = [spec for spec in specs if spec.optional][:_DIAGONAL_MAX]
    parts = [_without(one, [spec], specs) for spec in optional]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _without(one: Arrays, missing: Sequence[TensorSpec], specs: Sequence[TensorSpec]) -> Arrays:
    inputs: Arrays = {}
    for spec in specs:
        array = one[spec.name].copy()
        gone = spec in missing
        if numpy_dtype(spec.datatype).kind == "f":
            array[:] = np.nan if gone else array
            inputs[spec.name] = array
        else:
            mark = one.get(spec.name + MISSING_SUFFIX, np.zeros(1, dtype=bool))
            inputs |= {spec.name: array, spec.name + MISSING_SUFFIX: mark | gone}
    return inputs


def _answers(model: LoadedModel, inputs: Arrays) -> bool:
    """Whether the model answers, and with numbers: an answer that is NaN is a refusal in other words."""
    try:
        answers = model.predict(inputs, None)
    except Exception:
        return False
    return all(np.isfinite(array).all() for array in answers.values() if array.dtype.kind == "f")


# -- batches --------------------------------------------------------------------------------


def accepted(model: LoadedModel, inputs: Arrays) -> list[int]:
    """Which of the rows the model answers, each alone."""
    good = []
    for row in range(row_count(inputs)):
        try:
            model.predict(rows_of(inputs, [row]), None)
        except Exception:  # noqa: S112 - a guessed row may be one that the model refuses or fails on
            continue
        good.append(row)
    return good


def check_row_axis(model: LoadedModel, inputs: Arrays) -> None:
    """Raise `ModelLoadFailed` where a row, or the row twice, is answered with another number of rows.

    Then the first axis is none of rows (a mean over it, the steps of a recurrent model): no request could be answered.
    """
    for count in (1, 2):
        try:
            answers = model.predict(rows_of(inputs, [0] * count), None)
        except Exception:
            return  # one row a request is what it takes
        for name, array in answers.items():
            if array.ndim == 0 or len(array) != count:
                rows, shape = ("1 row", "2 rows")[count - 1], list(array.shape)
                raise ModelLoadFailed(
                    f"the model answers {rows} with {name!r} of shape {shape}: the first axis of "
                    "every input and output has to be the rows, and this one's is another (the steps of a sequence, "
                    "the layers of a state, a mean over all rows): export it with its rows first",
                    output=name,
                )


def is_batchable(model: LoadedModel, inputs: Arrays) -> bool:
    """Whether the model answers these rows (8 or more) together as it answers each alone."""
    good = accepted(model, inputs)
    if not good:
        return False
    rows = (good * TRIAL_ROWS)[: max(TRIAL_ROWS, len(good))]
    try:
        together = model.predict(rows_of(inputs, rows), None)
        alone = [model.predict(rows_of(inputs, [row]), None) for row in rows]
    except Exception:
        return False
    return all(_same(array, [answers.get(name) for answers in alone]) for name, array in together.items())


def _same(together: np.ndarray[Any, Any], alone: Sequence[np.ndarray[Any, Any] | None]) -> bool:
    parts = [array for array in alone if array is not None and array.ndim == together.ndim]
    if len(parts) != len(alone) or len(together) != len(alone):
        return False
    singly = np.concatenate(parts)
    if singly.shape != together.shape:
        return False
    if together.dtype.kind != "f":
        return bool(np.array_equal(singly, together))
    relative = RELATIVE if together.dtype == np.float64 else RELATIVE_FLOAT32
    scale = float(np.nanmax(np.abs(together), initial=0.0))
    return bool(np.allclose(singly, together, rtol=relative, atol=relative * scale, equal_nan=True))
