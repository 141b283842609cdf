"""Native boosters of XGBoost and LightGBM: what their `predict` returns is the answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.runtimes.base import Arrays, Task, Wanted, as_tensor, refusals
from tidegate.runtimes.inputs import columns_of, frame_of, matrix_of
from tidegate.runtimes.loading import THREADS
from tidegate.runtimes.sklearn_model import lightgbm_category_indices, xgboost_categories
from tidegate.wire.signature import MISSING_SUFFIX, PREDICTION, Scalar, TensorSpec


class BoosterModel:
    """A `xgboost.Booster` or a `lightgbm.Booster`."""

    def __init__(self, booster: Any, specs: tuple[TensorSpec, ...] | None = None) -> None:
        self.booster = booster
        self._is_xgboost = type(booster).__module__.startswith("xgboost")
        self.classes: tuple[Scalar, ...] | None = None
        self.task: Task = _task(booster, self._is_xgboost)
        self._specs = specs or ()
        self._categories = _categories(booster, self._is_xgboost)

    def with_specs(self, specs: tuple[TensorSpec, ...]) -> BoosterModel:
        """The same booster with these inputs."""
        return BoosterModel(self.booster, specs)

    @property
    def names(self) -> list[str] | None:
        """Names of the columns it was trained with, if they had names."""
        names = list(self.booster.feature_names or []) if self._is_xgboost else list(self.booster.feature_name())
        unnamed = not names or all(name == f"Column_{index}" for index, name in enumerate(names))
        return None if unnamed else [str(name) for name in names]

    @property
    def n_features(self) -> int:
        """Columns it was trained with."""
        return int(self.booster.num_features() if self._is_xgboost else self.booster.num_feature())

    @property
    def text_columns(self) -> dict[str, Any]:
        """Columns that hold categories, with the categories where they are known."""
        return self._categories

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """`prediction`: the booster's own scores."""
        if wanted is not None and PREDICTION not in wanted:
            return {}
        with refusals():
            features = self._features(inputs)
            if not self._is_xgboost:
                return {PREDICTION: as_tensor(self.booster.predict(features, num_threads=THREADS))}
            return {PREDICTION: as_tensor(self.booster.predict(self._matrix(features)))}

    def _features(self, inputs: Arrays) -> Any:
        if not self._specs or self.names is None:
            return matrix_of(inputs)
        if self._categories:
            # XGBoost matches a request's own categories by name, and refuses new ones itself.
            known = dict.fromkeys(self._categories) if self._is_xgboost else self._categories
            return frame_of(inputs, self._specs, known)
        columns = columns_of(inputs, self._specs)
        marks = [inputs.get(spec.name + MISSING_SUFFIX) for spec in self._specs]
        return np.column_stack([_floats(column, mark) for column, mark in zip(columns, marks, strict=True)])

    def _matrix(self, features: Any) -> Any:
        from xgboost import DMatrix

        names = None if hasattr(features, "columns") else self.booster.feature_names
        types = None if hasattr(features, "columns") else self.booster.feature_types
        return DMatrix(features, feature_names=names, feature_types=types, enable_categorical=True, nthread=THREADS)


def _floats(column: np.ndarray[Any, Any], mark: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    floats = column.astype(np.float64)
    return floats if mark is None else np.where(mark, np.nan, floats)


def _task(booster: Any, is_xgboost: bool) -> Task:
    if is_xgboost:
        import json

        objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    else:
        objective = str(booster.params.get("objective") or _lightgbm_objective(booster))
    if objective.startswith(("binary", "multi", "cross_entropy")):
        return "classifier"
    return "other" if objective.startswith(("rank", "lambdarank", "survival")) else "regressor"


def _lightgbm_objective(booster: Any) -> str:
    for line in booster.model_to_string(num_iteration=1).splitlines():
        if line.startswith("objective="):
            return str(line.partition("=")[2])
    return "regression"


def _categories(booster: Any, is_xgboost: bool) -> dict[str, Any]:
    if is_xgboost:
        names, types = booster.feature_names or [], booster.feature_types or []
        return xgboost_categories(booster, [name for name, kind in zip(names, types, strict=False) if kind == "c"])
    if not booster.pandas_categorical:
        return {}
    names = booster.feature_name()
    indices = lightgbm_category_indices(booster)
    return dict(zip([names[index] for index in indices], booster.pandas_categorical, strict=False))
