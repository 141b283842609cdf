"""Takes a model of a data frame apart: encoders and scalers of its columns, which become a table, and what follows.

What a table does with each category is found by asking the model's own encoders, so that it is theirs whatever their
options are: rare categories, dropped ones, unknown ones. `table_trial` then shows that table and encoders are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.errors import UnfitInput
from tidegate.runtimes.accelerated.build.preparation import CannotConvert, steps_of
from tidegate.runtimes.accelerated.serve.form import CategoryColumn, NumberColumns, TableForm
from tidegate.runtimes.accelerated.serve.steps import FINITE
from tidegate.runtimes.base.inputs import column_inputs, is_missing
from tidegate.runtimes.base.runtime import Arrays, numpy_dtype, refusals
from tidegate.runtimes.models.sklearn_model import SklearnModel
from tidegate.runtimes.signatures.trial import rows_of
from tidegate.wire.signature import MISSING_SUFFIX, TensorSpec

Array = np.ndarray[Any, Any]

ENCODERS = frozenset({"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"})
CATEGORIES_MAX = 100_000
WIDTH_MAX = 20_000
"""Past this a row as dense numbers is no faster than the original's sparse one."""
NO_UNICODE = b"\xff"
_EXACT_MAX = 2**53


@dataclass(frozen=True)
class PipelineSplit:
    """A pipeline's steps up to the last encoder, and those that follow."""

    head: list[Any]
    rest: list[Any]

    @property
    def kinds(self) -> list[str]:
        """In words, as `Prepared.kinds`."""
        return [type(step).__name__ for step in (*self.head, *self.rest)]

    @property
    def tail(self) -> Any:
        """What follows, as an estimator of its own."""
        return _joined(self.rest)

    def transform(self, features: Any) -> Any:
        """What the steps make of the model's own input."""
        return _joined(self.head).transform(features)


def _joined(steps: list[Any]) -> Any:
    from sklearn.pipeline import Pipeline

    return steps[0] if len(steps) == 1 else Pipeline([(f"step-{index}", step) for index, step in enumerate(steps)])


def split_of(estimator: Any) -> PipelineSplit | None:
    """None for a model without encoders, or that does not begin with them."""
    steps = list(_flat(estimator))
    ends = [index for index, step in enumerate(steps[:-1]) if _is_sklearn(step, ENCODERS | {"ColumnTransformer"})]
    return PipelineSplit(steps[: ends[-1] + 1], steps[ends[-1] + 1 :]) if ends else None


def _flat(estimator: Any) -> Iterator[Any]:
    """The steps of pipelines inside pipelines."""
    if type(estimator).__name__ in ("GridSearchCV", "RandomizedSearchCV") and hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    if not _is_sklearn(estimator, {"Pipeline"}):
        yield estimator
        return
    for _, step in estimator.steps:
        if step is not None and not isinstance(step, str):
            yield from _flat(step)


def _is_sklearn(step: Any, kinds: Any) -> bool:
    return type(step).__module__.startswith("sklearn.") and type(step).__name__ in kinds


# -- as a form ---------------------------------------------------------------------------------------------------------


@dataclass
class _Draft:
    """The table as it grows. `ask` gives the model's matrix of some rows."""

    model: SklearnModel
    split: PipelineSplit
    row: Arrays
    specs: tuple[TensorSpec, ...]
    categories: list[CategoryColumn] = field(default_factory=list)
    numbers: list[NumberColumns] = field(default_factory=list)
    place: list[Array] = field(default_factory=list)
    value: list[Array] = field(default_factory=list)
    refused: list[Array] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    width: int = 0

    def ask(self, inputs: Arrays) -> Array:
        return dense(self.split.transform(self.model.features(inputs)))


def dense(matrix: Any) -> Array:
    """A transformer's answer as (rows, columns) of float64, whether it is sparse or a data frame."""
    if hasattr(matrix, "toarray"):
        matrix = matrix.toarray()
    found: Array = np.asarray(matrix).astype(np.float64)
    return found


def table_of(
    model: SklearnModel, split: PipelineSplit, rows: Arrays, specs: tuple[TensorSpec, ...]
) -> tuple[TableForm, dict[str, Array]]:
    """The table and its arrays. `specs`: one a column, `rows` some that the model answers. Raises `CannotConvert`."""
    draft = _Draft(model, split, rows_of(rows, [0]), specs)
    for transformers, columns in _blocks(split, specs):
        if any(_is_sklearn(step, ENCODERS) for step in transformers):
            _add_categories(draft, transformers, columns)
        else:
            _add_numbers(draft, transformers, columns)
    if draft.width > WIDTH_MAX:
        raise CannotConvert(f"its encoders make {draft.width:,} columns of its input")
    made = draft.ask(draft.row).shape[1]
    if made != draft.width:
        raise CannotConvert(f"its encoders make {made} columns, where {draft.width} were expected")
    arrays = dict(draft.arrays)
    if draft.categories:
        arrays["table-place"] = np.concatenate(draft.place).astype(np.int64)
        arrays["table-value"] = np.concatenate(draft.value).astype(np.float64)
        arrays["table-refused"] = np.concatenate(draft.refused)
    texts = [spec for spec in specs if spec.datatype == "BYTES"]
    unicode = bool(texts) and _alone(draft, texts[0], NO_UNICODE) is None
    form = TableForm(len(specs), draft.width, unicode, tuple(draft.categories), tuple(draft.numbers))
    return form, arrays


def _blocks(split: PipelineSplit, specs: Sequence[TensorSpec]) -> Iterator[tuple[list[Any], list[int]]]:
    """Transformers one after the other, with the columns they are given, in the order of the matrix."""
    first = split.head[0]
    if not _is_sklearn(first, {"ColumnTransformer"}):
        yield split.head, list(range(len(specs)))
        return
    if len(split.head) > 1:
        raise CannotConvert(f"a {type(split.head[1]).__name__} follows its ColumnTransformer")
    if first.transformer_weights:
        raise CannotConvert("its ColumnTransformer weighs its parts")
    places = _places(first, specs)
    for name, transformer, _ in first.transformers_:
        columns = [places[index] for index in first._transformer_to_input_indices.get(name, [])]
        if columns and not (isinstance(transformer, str) and transformer == "drop"):
            yield list(_transformers(transformer)), columns


def _places(transformer: Any, specs: Sequence[TensorSpec]) -> list[int]:
    """Where each column that it was trained on is in the signature."""
    names = getattr(transformer, "feature_names_in_", None)
    own = [spec.name for spec in specs]
    if names is None or not set(map(str, names)) <= set(own):
        return list(range(len(own)))
    return [own.index(str(name)) for name in names]


def _transformers(transformer: Any) -> Iterator[Any]:
    if isinstance(transformer, str):  # passthrough
        return
    for step in _flat(transformer):
        is_identity = type(step).__name__ == "FunctionTransformer" and step.func is None
        if not is_identity:
            yield step


def _add_numbers(draft: _Draft, transformers: list[Any], columns: list[int]) -> None:
    specs = [draft.specs[column] for column in columns]
    wrong = [spec for spec in specs if spec.datatype in ("BYTES", "FP16")]
    if wrong:
        by = "".join(f" through {type(inner).__name__}" for inner in transformers)
        raise CannotConvert(f"the column {wrong[0].name!r} ({wrong[0].datatype}) comes to the model{by}")
    steps = [step for inner in transformers for step in ((FINITE, np.zeros(0)), *steps_of(inner))]
    part = len(draft.numbers)
    draft.arrays |= {f"table-{part}-step-{index}": array for index, (_, array) in enumerate(steps)}
    draft.numbers.append(NumberColumns(tuple(columns), draft.width, tuple(name for name, _ in steps)))
    draft.width += len(columns)


# -- categories --------------------------------------------------------------------------------------------------------


def _add_categories(draft: _Draft, transformers: list[Any], columns: list[int]) -> None:
    """Look up each column by itself: imputers and encoders do nothing else, and are the only ones taken."""
    encoders = [index for index, step in enumerate(transformers) if _is_sklearn(step, ENCODERS)]
    before, after = transformers[: encoders[0]], transformers[encoders[0] + 1 :]
    if len(encoders) > 1 or any(not _is_sklearn(step, {"SimpleImputer"}) or step.add_indicator for step in before):
        raise CannotConvert("its encoders come after more than a SimpleImputer")
    for step in after:
        steps_of(step)  # one number from each, or none of it is taken
    encoder = transformers[encoders[0]]
    for index, (column, width) in enumerate(zip(columns, _widths(encoder), strict=True)):
        _add_column(draft, column, list(encoder.categories_[index]), width)
        draft.width += width


def _widths(encoder: Any) -> list[int]:
    """How many columns of the matrix become of each column."""
    if type(encoder).__name__ == "OneHotEncoder":
        return [int(width) for width in encoder._n_features_outs]
    if type(encoder).__name__ == "TargetEncoder" and encoder.target_type_ == "multiclass":
        raise CannotConvert("its TargetEncoder knows several classes")
    return [1] * len(encoder.categories_)


def _add_column(draft: _Draft, column: int, known: list[Any], width: int) -> None:
    spec = draft.specs[column]
    categories = _plain([value for value in known if not is_missing(value)], spec)
    own = slice(draft.width, draft.width + width)
    lines = list(draft.ask(_with_column(draft.row, spec, categories))[:, own]) if categories else []
    others = [_alone(draft, spec, None), _alone(draft, spec, unknown(categories, spec))]
    lines += [np.zeros(width) if line is None else line[own] for line in others]
    place, value = _one_each(np.array(lines), spec)
    draft.categories.append(CategoryColumn(column, tuple(categories), spec.datatype == "BYTES"))
    draft.place.append(np.where(place < 0, -1, place + draft.width))
    draft.value.append(value)
    draft.refused.append(np.array([*[False] * len(categories), *(line is None for line in others)]))


def _plain(categories: list[Any], spec: TensorSpec) -> list[Any]:
    """As plain Python values, which are found by their hash."""
    values = [value.item() if isinstance(value, np.generic) else value for value in categories]
    if len(values) > CATEGORIES_MAX:
        raise CannotConvert(f"the column {spec.name!r} has {len(values):,} categories")
    is_text = spec.datatype == "BYTES"
    if any(isinstance(value, str) != is_text or not isinstance(value, str | int | float) for value in values):
        raise CannotConvert(f"the categories of the column {spec.name!r} are not all {spec.datatype}")
    if any(not is_text and abs(value) > _EXACT_MAX for value in values):
        raise CannotConvert(f"a category of the column {spec.name!r} is too large for a float64")
    return values


def unknown(categories: list[Any], spec: TensorSpec) -> Any:
    """A value that is none of the categories; None where both truth values are."""
    if spec.datatype == "BYTES":
        return "?" * (1 + max((len(value) for value in categories), default=0))
    dtype = numpy_dtype(spec.datatype)
    if dtype.kind == "b":
        rest = {False, True} - set(categories)
        return rest.pop() if rest else None
    free = (dtype.type(number).item() for number in range(len(categories) + 1))
    return next(number for number in free if number not in categories)


def _alone(draft: _Draft, spec: TensorSpec, value: Any) -> Array | None:
    """The matrix of the row with this value in the column; None where it is refused."""
    try:
        with refusals():
            found: Array = draft.ask(_with_column(draft.row, spec, [value]))[0]
    except UnfitInput:
        return None
    return found


def _with_column(row: Arrays, spec: TensorSpec, values: list[Any]) -> Arrays:
    """The row once for each value of one of its columns."""
    if spec.name not in row:  # a matrix
        (name, matrix), *_ = row.items()
        changed = np.repeat(matrix, len(values), axis=0)
        changed[:, int(spec.name[1:])] = [np.nan if value is None else value for value in values]
        return {name: changed}
    rows = rows_of(row, [0] * len(values))
    rows.pop(spec.name + MISSING_SUFFIX, None)
    return rows | column_inputs(values, spec)


def _one_each(table: Array, spec: TensorSpec) -> tuple[Array, Array]:
    """For each code the column that is not 0 (-1: none is) and what is in it. Raises `CannotConvert` for several."""
    filled = (table != 0) | np.isnan(table)
    if (filled.sum(axis=1) > 1).any():
        raise CannotConvert(f"a category of the column {spec.name!r} becomes several numbers")
    if table.shape[1] == 0:  # one category, and that dropped
        return np.full(len(table), -1), np.zeros(len(table))
    place = np.where(filled.any(axis=1), filled.argmax(axis=1), -1)
    return place, table[np.arange(len(table)), np.maximum(place, 0)]
