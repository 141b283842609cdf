"""Which inputs a model may take: drafts from MLflow's signature, the model's own attributes and the validation data.

An inspection tries the drafts in order and keeps the first that the model answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.packaging.mlmodel import Layout
from tidegate.runtimes.base import v2_datatype
from tidegate.runtimes.booster_model import BoosterModel
from tidegate.runtimes.catboost_model import CatBoostModel
from tidegate.runtimes.declared import declared_of
from tidegate.runtimes.graph_model import GraphModel
from tidegate.runtimes.hints import Hint, column_hints, read_booster
from tidegate.runtimes.python_folder import PythonClass
from tidegate.runtimes.sklearn_model import (
    TEXT_INPUT,
    OtherFunction,
    category_columns,
    feature_names,
    n_features,
    wants_text,
)
from tidegate.wire.signature import MATRIX_INPUT, InputKind, ParamSpec, TensorSpec

FREE_SIDES = (1, 8, 32, 224)

_OF_MLFLOW = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
}


@dataclass(frozen=True)
class Draft:
    """Inputs a model may take, and values that it may have seen in them (per column, or per feature of a matrix).

    `rows` are whole rows that the model's author gave as examples. `free_side` is how long a row made for a trial is
    along axes of any length (a sentence, a picture).
    """

    kind: InputKind
    specs: tuple[TensorSpec, ...]
    hints: list[Hint] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    free_side: int = 1

    @property
    def text_columns(self) -> set[str]:
        """Columns whose values are text, also where a file shows digits."""
        return {spec.name for spec in self.specs if spec.datatype == "BYTES"}


def drafts_of(model: Any, layout: Layout) -> list[Draft]:
    """What the package and the model say themselves, most binding first."""
    declared = mlflow_draft(layout)
    own = _own_drafts(model)
    if declared is None or isinstance(model, GraphModel):
        return own
    hints = own[0].hints if own and len(own[0].hints) == len(declared.specs) else declared.hints
    return [Draft(declared.kind, declared.specs, hints), *own]


def _own_drafts(model: Any) -> list[Draft]:
    if isinstance(model, GraphModel):
        return [draft for specs in model.drafts() for draft in _tensors(specs)]
    if isinstance(model, CatBoostModel):
        return [_catboost_draft(model)]
    if isinstance(model, BoosterModel):
        return [_booster_draft(model)]
    if isinstance(model, PythonClass):
        declared = declared_of(model)
        return [] if declared is None else [Draft(*declared)]
    return _sklearn_drafts(model.estimator if isinstance(model, OtherFunction) else model)


def _sklearn_drafts(model: Any) -> list[Draft]:
    if wants_text(model):
        return [Draft("columns", (TensorSpec(TEXT_INPUT, "BYTES", (-1,)),), column_hints(model, 1))]
    names, count = feature_names(model), n_features(model)
    if names is not None:
        hints = _with_categories(column_hints(model, len(names)), category_columns(model, names), names)
        return [_columns(names, hints)]
    return [_unnamed(column_hints(model, count))] if count else []


def _booster_draft(model: BoosterModel) -> Draft:
    names = model.names
    hints = [Hint() for _ in range(model.n_features)]
    read_booster(model.booster, hints)
    if names is None:
        return matrix(model.n_features, hints)
    return _columns(names, _with_categories(hints, model.text_columns, names))


def _tensors(specs: tuple[TensorSpec, ...]) -> list[Draft]:
    """Pictures and texts may be too small to be answered: axes of any length are tried with several."""
    has_free = any(-1 in spec.shape[1:] for spec in specs)
    return [Draft("tensors", specs, free_side=side) for side in (FREE_SIDES if has_free else (1,))]


def _catboost_draft(model: CatBoostModel) -> Draft:
    hints = [Hint() for _ in range(model.n_features)]
    for index, borders in model.borders().items():
        hints[index].add(round(float(border), 4) for border in borders)
    for index in model.text_indices:
        hints[index].datatype = "BYTES"
    return matrix(model.n_features, hints) if model.names is None else _columns(model.names, hints)


def _with_categories(hints: list[Hint], categories: Any, names: list[str]) -> list[Hint]:
    for name, known in categories.items():
        hint = hints[names.index(name)]
        hint.values = []
        hint.add([] if known is None else known)
        is_number = bool(known) and all(isinstance(value, int) for value in known)
        hint.datatype = hint.datatype or ("INT64" if is_number else "BYTES")
    return hints


def _columns(names: list[str], hints: list[Hint]) -> Draft:
    """Numbers are FP64 unless the model tells integers or booleans apart (categories): it was trained on either."""
    specs = tuple(TensorSpec(name, hint.datatype or "FP64", (-1,)) for name, hint in zip(names, hints, strict=True))
    return Draft("columns", specs, hints)


def _unnamed(hints: list[Hint]) -> Draft:
    if any(hint.datatype == "BYTES" for hint in hints):
        return _columns([f"x{index}" for index in range(len(hints))], hints)
    return matrix(len(hints), hints, "BOOL" if all(hint.datatype == "BOOL" for hint in hints) else "FP64")


def matrix(count: int, hints: list[Hint] | None = None, datatype: str = "FP64") -> Draft:
    """One 2-D tensor of so many numbers a row."""
    spec = TensorSpec(MATRIX_INPUT, datatype, (-1, count))
    return Draft("matrix", (spec,), hints or [Hint() for _ in range(count)])


def drafts_of_table(frame: Any, target: str) -> list[Draft]:
    """For a model that knows nothing of its columns: the validation data's, as a data frame and as a matrix."""
    features = frame.drop(columns=[target])
    draft = Draft("columns", tuple(TensorSpec(str(name), _column_datatype(features[name]), (-1,)) for name in features))
    numeric = not draft.text_columns
    return [matrix(len(draft.specs)), draft] if numeric else [draft]


def with_table_types(draft: Draft, frame: Any) -> Draft:
    """A draft whose text and boolean columns are those of the validation data, where the model does not say itself."""
    if draft.kind != "columns":
        return draft
    specs = []
    for spec, hint in zip(draft.specs, draft.hints or [Hint() for _ in draft.specs], strict=True):
        datatype = spec.datatype
        if hint.datatype is None and datatype == "FP64" and spec.name in frame.columns:
            datatype = _column_datatype(frame[spec.name])
        specs.append(TensorSpec(spec.name, datatype, spec.shape, spec.nullable))
    return Draft(draft.kind, tuple(specs), draft.hints)


def _column_datatype(column: Any) -> str:
    if column.dtype in (np.dtype(bool), "boolean") or _is_boolean_with_gaps(column):
        return "BOOL"
    return "FP64" if _is_number(column) or _is_number_with_junk(column) else "BYTES"


def _is_boolean_with_gaps(column: Any) -> bool:
    """What pandas makes of true, false and empty fields: objects."""
    present = column.dropna() if column.dtype.kind == "O" else ()
    return len(present) > 0 and all(isinstance(value, bool | np.bool_) for value in present)


def _is_number_with_junk(column: Any) -> bool:
    """Mostly numbers, with some text among them: the text is the mistake (scikit-learn would read "4.9")."""
    import pandas as pd

    present = column.dropna()
    numeric = float(pd.to_numeric(present, errors="coerce").notna().mean()) if len(present) else 0.0
    return 0.5 < numeric < 1.0


def _is_number(column: Any) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return bool(is_numeric_dtype(column.dtype)) and not bool(is_bool_dtype(column.dtype))


def mlflow_draft(layout: Layout) -> Draft | None:
    """The inputs of the signature in `MLmodel`; None when it has none, or types that are no tensors."""
    text = (layout.mlmodel.get("signature") or {}).get("inputs")
    try:
        inputs = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if not isinstance(inputs, list) or not inputs or not all(isinstance(item, dict) for item in inputs):
        return None
    if all(item.get("type") == "tensor" for item in inputs):
        return _mlflow_tensors(inputs)
    if not all(item.get("type") in _OF_MLFLOW for item in inputs):
        return None
    if not all(item.get("name") for item in inputs):
        numeric = all(_OF_MLFLOW[item["type"]] != "BYTES" for item in inputs)
        return matrix(len(inputs)) if numeric else None
    specs = tuple(TensorSpec(item["name"], _OF_MLFLOW[item["type"]], (-1,)) for item in inputs)
    return Draft("columns", specs, [Hint() for _ in specs])


def mlflow_params(layout: Layout) -> tuple[ParamSpec, ...]:
    """The params of the signature in `MLmodel`. Only MLflow's own loader passes them on."""
    text = (layout.mlmodel.get("signature") or {}).get("params") if layout.format == "pyfunc" else None
    try:
        params = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return ()
    found = [item for item in params or [] if isinstance(item, dict) and item.get("name")]
    return tuple(
        ParamSpec(str(item["name"]), str(item.get("type") or item.get("dtype")), item.get("shape") is not None)
        for item in found
    )


def _mlflow_tensors(inputs: list[dict[str, Any]]) -> Draft:
    specs = []
    for item in inputs:
        spec = item.get("tensor-spec") or {}
        shape = (-1, *spec.get("shape", [-1])[1:])
        dtype = np.dtype(object) if spec.get("dtype") in ("object", "str") else np.dtype(spec.get("dtype", "float64"))
        specs.append(TensorSpec(item.get("name") or MATRIX_INPUT, v2_datatype(dtype), shape))
    if len(specs) == 1 and len(specs[0].shape) == 2 and specs[0].datatype != "BYTES":
        return Draft("matrix", (TensorSpec(MATRIX_INPUT, specs[0].datatype, specs[0].shape),))
    return Draft("tensors", tuple(specs))
