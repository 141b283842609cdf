"""What a fitted estimator gives away about its columns: their types, and values it has seen. Reads attributes only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.runtimes.base.inputs import is_missing
from tidegate.runtimes.base.runtime import v2_datatype

VALUES_MAX = 64
"""Most values remembered for one column."""

_ONE_TO_ONE = frozenset(
    {"SimpleImputer", "StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "PowerTransformer"}
    | {"QuantileTransformer", "FunctionTransformer", "IterativeImputer", "KNNImputer"}
)
_PER_COLUMN = ("statistics_", "mean_", "center_", "data_min_", "data_max_")
_PER_ROW = ("_fit_X", "support_vectors_", "cluster_centers_", "theta_", "means_", "X_train_", "centroids_")


@dataclass
class Hint:
    """One column: its V2 datatype where the model shows that it is no plain number, and values it would take.

    `exact`: the values are in the form that a request has, whatever the datatype.
    """

    datatype: str | None = None
    values: list[Any] = field(default_factory=list)
    exact: bool = False

    def add(self, values: Any) -> None:
        """Remember some more values, without the missing ones."""
        room = VALUES_MAX - len(self.values)
        items = [item.item() if isinstance(item, np.generic) else item for item in values]
        self.values += [item for item in items if not is_missing(item) and item not in self.values][: max(room, 0)]


def column_hints(estimator: Any, count: int) -> list[Hint]:
    """One hint per input column; empty ones where the estimator shows nothing."""
    hints = [Hint() for _ in range(count)]
    _walk(estimator, list(range(count)), hints, depth=0)
    return hints


def _walk(estimator: Any, columns: Sequence[int], hints: list[Hint], depth: int) -> None:
    if depth > 8 or estimator is None or isinstance(estimator, str) or not columns:
        return
    kind = type(estimator).__name__
    if kind == "Pipeline":
        _walk_pipeline(estimator, columns, hints, depth)
    elif kind == "ColumnTransformer":
        _walk_columns(estimator, columns, hints, depth)
    else:
        _read(estimator, [hints[column] for column in columns])
        for inner in _inner(estimator):
            _walk(inner, columns, hints, depth + 1)


def _walk_pipeline(pipeline: Any, columns: Sequence[int], hints: list[Hint], depth: int) -> None:
    """Only as far as a step's columns are still the input's."""
    for _, step in pipeline.steps:
        _walk(step, columns, hints, depth + 1)
        if step not in (None, "passthrough") and type(step).__name__ not in _ONE_TO_ONE:
            return


def _walk_columns(transformer: Any, columns: Sequence[int], hints: list[Hint], depth: int) -> None:
    places = getattr(transformer, "_transformer_to_input_indices", {})
    chosen = {name: where for name, _, where in getattr(transformer, "transformers", [])}
    for name, inner, *_ in getattr(transformer, "transformers_", []):
        seen = [columns[index] for index in places.get(name, []) if index < len(columns)]
        if _chooses_booleans(chosen.get(name)):
            for column in seen:
                hints[column].datatype = "BOOL"
        _walk(inner, seen, hints, depth + 1)


def _chooses_booleans(selector: Any) -> bool:
    """Whether it is scikit-learn's selector of columns by type, and was told to take booleans only."""
    wanted = getattr(selector, "dtype_include", None)
    wanted = wanted if isinstance(wanted, list | tuple | set) else [wanted]
    return bool(wanted) and all(one in (bool, np.bool_, "bool", "boolean") for one in wanted)


def _inner(estimator: Any) -> list[Any]:
    """The estimators inside that see the same columns."""
    if type(estimator).__name__ == "FeatureUnion":
        return [inner for _, inner in estimator.transformer_list]
    calibrated = getattr(estimator, "calibrated_classifiers_", None)
    if calibrated:
        return [calibrated[0].estimator]
    inside = getattr(estimator, "estimators_", None)
    if inside is not None and len(inside):
        return [inner for inner in np.ravel(np.array(inside, dtype=object))[:4] if not isinstance(inner, str)]
    single = [getattr(estimator, name, None) for name in ("best_estimator_", "regressor_", "_preprocessor")]
    return [inner for inner in single if inner is not None]


def _read(estimator: Any, hints: list[Hint]) -> None:
    _read_categories(estimator, hints)
    _read_vocabulary(estimator, hints)
    for name in _PER_COLUMN:
        values: Any = getattr(estimator, name, None)
        if np.ndim(values) == 1 and len(values) == len(hints):
            for hint, value in zip(hints, values, strict=True):
                _note(hint, [value])
    for name in _PER_ROW:
        rows = getattr(estimator, name, None)
        if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == len(hints):
            for index, hint in enumerate(hints):
                hint.add(rows[:VALUES_MAX, index])
    _read_tree(getattr(estimator, "tree_", None), hints)
    if hasattr(estimator, "booster_"):
        read_booster(estimator.booster_, hints)
    elif hasattr(estimator, "get_booster"):
        read_booster(estimator.get_booster(), hints)


def _note(hint: Hint, values: Any) -> None:
    """Remember values, and that the column is text where they are."""
    if any(isinstance(value, str) for value in values):
        hint.datatype = hint.datatype or "BYTES"
    hint.add(values)


def _read_categories(estimator: Any, hints: list[Hint]) -> None:
    categories = getattr(estimator, "categories_", None)
    if not isinstance(categories, list) or len(categories) != len(hints):
        return
    for hint, known in zip(hints, categories, strict=True):
        present = [value for value in known if not is_missing(value)]
        if present and hint.datatype is None:
            hint.datatype = _category_datatype(present)
        hint.values = []
        hint.add(present)


def _category_datatype(present: list[Any]) -> str | None:
    if any(isinstance(value, str) for value in present):
        return "BYTES"
    datatype = v2_datatype(np.array(present).dtype)
    return "INT64" if datatype.startswith(("INT", "UINT")) else datatype if datatype == "BOOL" else None


def _read_vocabulary(estimator: Any, hints: list[Hint]) -> None:
    if len(hints) != 1 or not hasattr(estimator, "build_analyzer"):
        return
    words = list(getattr(estimator, "vocabulary_", None) or ["some", "words", "of", "text"])
    hints[0].datatype = "BYTES"
    hints[0].add(" ".join(words[start::7][:4]) for start in range(min(8, len(words))))


def _read_tree(tree: Any, hints: list[Hint]) -> None:
    if tree is None or getattr(tree, "n_features", None) != len(hints):
        return
    for feature, threshold in list(zip(tree.feature, tree.threshold, strict=True))[:512]:
        if feature >= 0:
            hints[feature].add([round(float(threshold), 4)])


def read_booster(booster: Any, hints: list[Hint]) -> None:
    """Values either side of where a booster's first trees split; categories are left to those that know their names."""
    if type(booster).__module__.startswith("xgboost"):
        _read_xgboost(booster, hints)
        return
    for line in booster.model_to_string(num_iteration=1).splitlines():
        if line.startswith("feature_infos="):
            for hint, seen in zip(hints, line.partition("=")[2].split(), strict=False):
                if seen.startswith("[") and hint.datatype is None:
                    low, _, high = seen.strip("[]").partition(":")
                    hint.add([round((float(low) + float(high)) / 2, 4), float(low), float(high)])


def _read_xgboost(booster: Any, hints: list[Hint]) -> None:
    names = booster.feature_names or [f"f{index}" for index in range(len(hints))]
    types = booster.feature_types or []
    for hint, kind in zip(hints, types, strict=False):
        if kind == "i":  # "indicator": what XGBoost makes of a data frame's booleans
            hint.datatype = "BOOL"
            hint.add([False, True])
    for text in booster.get_dump(dump_format="json")[:4]:
        nodes = [json.loads(text)]
        while nodes:
            node = nodes.pop()
            nodes += node.get("children", [])
            index = names.index(node["split"]) if node.get("split") in names else None
            is_category = index is not None and index < len(types) and types[index] == "c"
            is_plain = index is not None and not is_category and hints[index].datatype != "BOOL"
            if index is not None and is_plain and isinstance(node.get("split_condition"), int | float):
                hints[index].add([round(float(node["split_condition"]), 4)])
