"""The validation gate: one metric of the model's own answers on held-out rows, and the score it must reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.errors import InvalidArgument, ScoreBelowGate, ValidationDataUnusable
from tidegate.runtimes.base.runtime import Arrays, LoadedModel, Task
from tidegate.runtimes.signatures.tables import Validation
from tidegate.wire.signature import PROBABILITIES

DEFAULT_MIN_SCORE = 0.8
LABELS = ("accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall")
PROBABILITY = ("roc_auc", "log_loss")
NUMBERS = ("r2", "rmse", "mae", "mape")
METRICS = (*LABELS, *PROBABILITY, *NUMBERS)
LOWER_IS_BETTER = frozenset({"log_loss", "rmse", "mae", "mape"})


@dataclass(frozen=True)
class Score:
    """What the gate measured; `min_score` is the highest value that passes where lower is better.

    `from_scores`: it is of labels, and the model's predictions are the scores that they were taken from.
    """

    metric: str
    value: float
    min_score: float
    rows: int
    from_scores: bool = False

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score is a better one."""
        return self.metric not in LOWER_IS_BETTER

    def check(self) -> None:
        """Raise `ScoreBelowGate` unless the score passes."""
        passed = self.value >= self.min_score if self.higher_is_better else self.value <= self.min_score
        if passed:
            return
        limit = "below the minimum" if self.higher_is_better else "above the highest value allowed"
        raise ScoreBelowGate(
            f"{self.metric} is {self.value:.4g} on {self.rows} rows, {limit}, {self.min_score:g} (--min-score)",
            metric=self.metric,
            score=self.value,
            min_score=self.min_score,
            rows=self.rows,
        )


def check_request(validation: Validation) -> None:
    """Raise `InvalidArgument` for a metric that does not exist, or one that needs a limit and has none."""
    metric, min_score = validation.metric, validation.min_score
    if not validation.target:
        raise InvalidArgument("validation data needs the name of its target column: give --target", field="target")
    if metric is not None and metric not in METRICS:
        raise InvalidArgument(f"there is no metric {metric!r}: choose one of {', '.join(METRICS)}", field="metric")
    if metric in LOWER_IS_BETTER and min_score is None:
        raise InvalidArgument(
            f"lower is better for {metric}, so there is no default: give the highest value that passes as --min-score",
            field="min_score",
        )
    if min_score is not None and not math.isfinite(min_score):
        raise InvalidArgument(f"min_score is {min_score}: give a finite number", field="min_score")


def chosen_metric(validation: Validation, task: Task, y_true: Any) -> str:
    """The metric asked for, else accuracy for classifiers and R² for regressors."""
    if validation.metric is None:
        numeric = y_true.dtype.kind == "f" and task != "classifier"
        return "r2" if task == "regressor" or numeric else "accuracy"
    if task == "regressor" and validation.metric not in NUMBERS:
        raise InvalidArgument(
            f"{validation.metric} needs a classifier and this model is a regressor: choose one of {', '.join(NUMBERS)}",
            field="metric",
        )
    return validation.metric


def score(model: LoadedModel, answers: Arrays, target: Any, validation: Validation) -> Score:
    """Measure the model's `answers` against the `target` column. Does not judge: see `Score.check`."""
    metric = chosen_metric(validation, model.task, target)
    names = list(answers)
    predicted = answers[names[0]]
    y_true = target.to_numpy() if metric in NUMBERS else _as_labels(target, model, predicted)
    value = _measure(metric, y_true, predicted, answers, model)
    if not math.isfinite(value):
        raise ValidationDataUnusable(
            f"{metric} is not defined on the {len(y_true)} rows of {validation.filename!r} "
            "(too few rows, or all of one class)"
        )
    min_score = DEFAULT_MIN_SCORE if validation.min_score is None else validation.min_score
    return Score(metric, value, min_score, len(y_true), metric in LABELS and _are_scores(predicted, y_true, model))


def _measure(metric: str, y_true: Any, predicted: np.ndarray[Any, Any], answers: Arrays, model: LoadedModel) -> float:
    from sklearn import metrics

    if metric in NUMBERS:
        y_pred = _one_dimensional(predicted, y_true, metric)
        numbers: dict[str, Callable[[Any, Any], Any]] = {
            "r2": metrics.r2_score,
            "rmse": metrics.root_mean_squared_error,
            "mae": metrics.mean_absolute_error,
            "mape": metrics.mean_absolute_percentage_error,
        }
        return float(numbers[metric](y_true.astype(float), y_pred)) if len(y_true) > 1 or metric != "r2" else math.nan
    if metric in PROBABILITY:
        return _probability_score(metric, y_true, _probabilities(answers, model, metric), model)
    return _label_score(metric, y_true, _labels(predicted, y_true, model))


def _label_score(metric: str, y_true: Any, labels: Any) -> float:
    from sklearn import metrics

    if metric == "accuracy":
        return float(metrics.accuracy_score(y_true, labels))
    if metric == "balanced_accuracy":
        return float(metrics.balanced_accuracy_score(y_true, labels))
    if metric == "f1_macro":
        return float(metrics.f1_score(y_true, labels, average="macro", zero_division=0))
    present = sorted(set(y_true.tolist()) | set(labels.tolist()))
    if len(present) > 2:
        raise InvalidArgument(
            f"{metric} is for two classes and here are {len(present)}: choose f1_macro, balanced_accuracy or accuracy",
            field="metric",
        )
    named = {"f1": metrics.f1_score, "precision": metrics.precision_score, "recall": metrics.recall_score}
    return float(named[metric](y_true, labels, pos_label=present[-1], zero_division=0))


def _probability_score(metric: str, y_true: Any, probabilities: np.ndarray[Any, Any], model: LoadedModel) -> float:
    from sklearn import metrics

    labels = list(model.classes) if model.classes is not None else sorted(set(y_true.tolist()))
    if metric == "log_loss":
        return float(metrics.log_loss(y_true, probabilities, labels=labels))
    if len(set(y_true.tolist())) < 2:
        return math.nan
    if probabilities.shape[1] == 2:
        return float(metrics.roc_auc_score(y_true == labels[1], probabilities[:, 1]))
    return float(metrics.roc_auc_score(y_true, probabilities, multi_class="ovr", labels=labels))


def _probabilities(answers: Arrays, model: LoadedModel, metric: str) -> np.ndarray[Any, Any]:
    """A column per class, from wherever this kind of model has them."""
    names = list(answers)
    found = answers.get(PROBABILITIES)
    if found is None and len(names) > 1:
        found = answers[names[1]]
    if found is None and answers[names[0]].dtype.kind == "f" and model.task == "classifier":
        found = answers[names[0]]
        found = np.column_stack([1 - found, found]) if found.ndim == 1 else found
    if found is None or found.ndim != 2:
        raise InvalidArgument(
            f"{metric} needs probabilities and this model gives none: choose one of {', '.join(LABELS)}", field="metric"
        )
    return found


def _are_scores(predicted: np.ndarray[Any, Any], y_true: Any, model: LoadedModel) -> bool:
    """Whether these are no labels themselves."""
    if predicted.dtype.kind != "f":
        return False
    if predicted.ndim == 2 and predicted.shape[1] > 1:
        return True
    return np.asarray(y_true).dtype.kind in "iub" and model.classes is None


def _labels(predicted: np.ndarray[Any, Any], y_true: Any, model: LoadedModel) -> np.ndarray[Any, Any]:
    """Labels, also of models that answer with scores: the class of the highest, or 1 above one half."""
    if _are_scores(predicted, y_true, model):
        columns = predicted.shape[1] if predicted.ndim == 2 else 1
        predicted = np.argmax(predicted, axis=1) if columns > 1 else (predicted.ravel() > 0.5).astype(np.int64)
        if model.classes is not None and len(model.classes) == columns:
            predicted = np.array(model.classes)[predicted]
    predicted = predicted.ravel() if predicted.ndim == 2 and predicted.shape[1] == 1 else predicted
    if predicted.ndim != 1:
        raise InvalidArgument("the model has several outputs, and the gate's metrics are for one", field="metric")
    return predicted.astype(str) if predicted.dtype.kind == "O" else predicted


def _as_labels(target: Any, model: LoadedModel, predicted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The target in the labels' own type; raises when none of its values is a label of the model."""
    known = model.classes or (tuple(predicted.tolist()) if predicted.dtype.kind == "O" else ())
    if known and all(isinstance(label, str) for label in known):
        values = target.astype(str).to_numpy().astype(str)
    else:
        values = target.to_numpy()
        values = values.astype(str) if values.dtype.kind in "OUT" else values
    if model.classes and not set(values.tolist()) & set(model.classes):
        raise ValidationDataUnusable(
            f"no value of the target is a class of the model: the target has {_few(set(values.tolist()))}, "
            f"the model knows {_few(set(model.classes))}"
        )
    return np.asarray(values)


def _one_dimensional(predicted: np.ndarray[Any, Any], y_true: Any, metric: str) -> np.ndarray[Any, Any]:
    if predicted.size != len(y_true) or predicted.dtype.kind not in "fiub":
        raise InvalidArgument(f"{metric} needs one number a row, which this model does not answer", field="metric")
    if y_true.dtype.kind not in "fiub":
        raise ValidationDataUnusable(f"the target holds text, and {metric} needs numbers")
    return predicted.ravel()


def _few(values: set[Any]) -> str:
    return ", ".join(repr(value) for value in sorted(values, key=str)[:5]) + (" …" if len(values) > 5 else "")
