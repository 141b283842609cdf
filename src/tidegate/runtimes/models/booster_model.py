"""Native boosters of XGBoost and LightGBM.

One that tells classes apart answers as their classifiers do, a label and probabilities a row; any other, and one that
came as an MLflow directory (whose clients know its answers), what its own `predict` returns.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tidegate.runtimes.base.inputs import columns_of, frame_of, matrix_of
from tidegate.runtimes.base.runtime import THREADS, Arrays, Task, Wanted, as_tensor, refusals
from tidegate.runtimes.models.sklearn_model import lightgbm_category_indices, xgboost_categories
from tidegate.wire.signature import MISSING_SUFFIX, PREDICTION, PROBABILITIES, Scalar, TensorSpec

_PROBABILITIES = frozenset({"binary:logistic", "multi:softprob", "binary", "multiclass", "multiclassova"})
"""Objectives whose `predict` returns the probabilities of classes."""


class BoosterModel:
    """A `xgboost.Booster` or a `lightgbm.Booster`.

    `labels`: it may answer with labels and probabilities, where it has them (`has_labels`). The file of a booster does
    not keep the names of its classes: they are 0, 1, ….
    """

    def __init__(self, booster: Any, specs: tuple[TensorSpec, ...] | None = None, *, labels: bool = False) -> None:
        self.booster = booster
        self._is_xgboost = type(booster).__module__.startswith("xgboost")
        self._objective = _objective(booster, self._is_xgboost)
        self.task: Task = _task(self._objective)
        self.has_labels = labels and self._objective in _PROBABILITIES
        self.classes: tuple[Scalar, ...] | None = (
            tuple(range(_class_count(booster, self._is_xgboost))) if self.has_labels else None
        )
        self._specs = specs or ()
        self._categories = _categories(booster, self._is_xgboost)

    def with_specs(self, specs: tuple[TensorSpec, ...], *, labels: bool) -> BoosterModel:
        """The same booster with these inputs."""
        return BoosterModel(self.booster, specs, labels=labels)

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
        """`prediction`, a label or the booster's own score, and `probabilities` beside labels."""
        if wanted is not None and not wanted & {PREDICTION, PROBABILITIES}:
            return {}
        with refusals():
            features = self._features(inputs)
            if self._is_xgboost:
                scores = as_tensor(self.booster.predict(self._matrix(features)))
            else:
                scores = as_tensor(self.booster.predict(features, num_threads=THREADS))
        answers = _labelled(scores) if self.has_labels else {PREDICTION: scores}
        return {name: array for name, array in answers.items() if wanted is None or name in wanted}

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


def _labelled(scores: np.ndarray[Any, Any]) -> Arrays:
    """The class of the highest probability, as the libraries' classifiers choose it, and all of them."""
    probabilities = np.column_stack([1 - scores, scores]) if scores.ndim == 1 else scores
    return {PREDICTION: probabilities.argmax(axis=1), PROBABILITIES: probabilities}


def _class_count(booster: Any, is_xgboost: bool) -> int:
    if is_xgboost:
        return max(int(_xgboost_config(booster)["learner_model_param"]["num_class"]), 2)
    return max(int(booster.num_model_per_iteration()), 2)


def _objective(booster: Any, is_xgboost: bool) -> str:
    if is_xgboost:
        return str(_xgboost_config(booster)["objective"]["name"])
    return str(booster.params.get("objective") or _lightgbm_objective(booster)).split(" ")[0]


def _xgboost_config(booster: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(booster.save_config())["learner"]
    return config


def _task(objective: str) -> Task:
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
