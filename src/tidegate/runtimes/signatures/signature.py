"""Which inputs a model may take: drafts from MLflow's signature, the model's own attributes and the validation data.

An inspection tries the drafts in order and keeps the first that the model answers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from msgspec import structs

from tidegate.packaging.mlmodel import PackageLayout
from tidegate.runtimes.models.booster_model import BoosterModel
from tidegate.runtimes.models.catboost_model import CatBoostModel
from tidegate.runtimes.models.graph_model import GraphModel
from tidegate.runtimes.models.python_folder import PythonClass
from tidegate.runtimes.models.sklearn_model import (
    TEXT_INPUT,
    OtherFunction,
    category_columns,
    feature_names,
    n_features,
    wants_text,
)
from tidegate.runtimes.signatures.declared import declared_of
from tidegate.runtimes.signatures.drafts import SignatureDraft, matrix
from tidegate.runtimes.signatures.hints import Hint, column_hints, read_booster
from tidegate.runtimes.signatures.mlflow_schema import mlflow_draft
from tidegate.wire.signature import TensorSpec

FREE_SIDES = (1, 8, 32, 224)


def drafts_of(model: Any, layout: PackageLayout) -> list[SignatureDraft]:
    """What the package and the model say themselves, most binding first."""
    declared = mlflow_draft(layout)
    own = _own_drafts(model)
    if declared is None or isinstance(model, GraphModel):
        return own
    hints = own[0].hints if own and len(own[0].hints) == len(declared.specs) else declared.hints
    return [replace(declared, hints=hints), *own]


def _own_drafts(model: Any) -> list[SignatureDraft]:
    if isinstance(model, GraphModel):
        return [draft for specs in model.drafts() for draft in _tensors(specs)]
    if isinstance(model, CatBoostModel):
        return [_catboost_draft(model)]
    if isinstance(model, BoosterModel):
        return [_booster_draft(model)]
    if isinstance(model, PythonClass):
        declared = declared_of(model)
        return [] if declared is None else [SignatureDraft(*declared)]
    return _sklearn_drafts(model.estimator if isinstance(model, OtherFunction) else model)


def _sklearn_drafts(model: Any) -> list[SignatureDraft]:
    if wants_text(model):
        return [SignatureDraft("columns", (TensorSpec(TEXT_INPUT, "BYTES", (-1,)),), column_hints(model, 1))]
    names, count = feature_names(model), n_features(model)
    if names is not None:
        hints = _with_categories(column_hints(model, len(names)), category_columns(model, names), names)
        return [_columns(names, hints)]
    return [_unnamed(column_hints(model, count))] if count else []


def _booster_draft(model: BoosterModel) -> SignatureDraft:
    names = model.names
    hints = [Hint() for _ in range(model.n_features)]
    read_booster(model.booster, hints)
    if names is None:
        return matrix(model.n_features, hints)
    return _columns(names, _with_categories(hints, model.text_columns, names))


def _tensors(specs: tuple[TensorSpec, ...]) -> list[SignatureDraft]:
    """Pictures and texts may be too small to be answered: axes of any length are tried with several."""
    has_free = any(-1 in spec.shape[1:] for spec in specs)
    return [SignatureDraft("tensors", specs, free_side=side) for side in (FREE_SIDES if has_free else (1,))]


def _catboost_draft(model: CatBoostModel) -> SignatureDraft:
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


def _columns(names: list[str], hints: list[Hint]) -> SignatureDraft:
    """Numbers are FP64 unless the model tells integers or booleans apart (categories): it was trained on either."""
    specs = tuple(TensorSpec(name, hint.datatype or "FP64", (-1,)) for name, hint in zip(names, hints, strict=True))
    return SignatureDraft("columns", specs, hints)


def _unnamed(hints: list[Hint]) -> SignatureDraft:
    if any(hint.datatype == "BYTES" for hint in hints):
        return _columns([f"x{index}" for index in range(len(hints))], hints)
    return matrix(len(hints), hints, "BOOL" if all(hint.datatype == "BOOL" for hint in hints) else "FP64")


def drafts_of_table(frame: Any, target: str) -> list[SignatureDraft]:
    """For a model that knows nothing of its columns: the validation data's, as a data frame and as a matrix."""
    features = frame.drop(columns=[target] if target else [])
    draft = SignatureDraft(
        "columns", tuple(TensorSpec(str(name), _column_datatype(features[name]), (-1,)) for name in features)
    )
    numeric = not draft.text_columns
    return [matrix(len(draft.specs)), draft] if numeric else [draft]


def with_table_types(draft: SignatureDraft, frame: Any) -> SignatureDraft:
    """A draft whose text and boolean columns are those of the validation data, where the model does not say itself."""
    if draft.kind != "columns":
        return draft
    specs = []
    for spec, hint in zip(draft.specs, draft.hints or [Hint() for _ in draft.specs], strict=True):
        datatype = spec.datatype
        if hint.datatype is None and datatype == "FP64" and spec.name in frame.columns:
            datatype = _column_datatype(frame[spec.name])
        specs.append(structs.replace(spec, datatype=datatype))
    return replace(draft, specs=tuple(specs))


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
