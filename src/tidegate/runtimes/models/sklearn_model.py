"""Estimators with scikit-learn's interface, also XGBoost's and LightGBM's: the answers are the estimator's own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tidegate.runtimes.base.inputs import columns_of, frame_of, matrix_of
from tidegate.runtimes.base.runtime import Arrays, Task, Wanted, as_tensor, refusals, scalars
from tidegate.wire.signature import MISSING_SUFFIX, PREDICTION, PROBABILITIES, InputKind, Signature, TensorSpec

Form = Literal["matrix", "frame", "array", "texts"]

TEXT_INPUT = "text"
PREDICT = "predict"

_ARGMAX_OF_PROBABILITIES = frozenset(
    {
        # Each one's `predict` is written as `classes_.take(argmax(predict_proba(X)))`, read in scikit-learn 1.6 to 1.9.
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "sklearn.ensemble._bagging.BaggingClassifier",
        "sklearn.calibration.CalibratedClassifierCV",
    }
)
_ARGMAX_BUT_FOR_TIES = frozenset(
    {
        # These compare raw scores, of which the probabilities are a rising function: only rounding can turn a near tie
        # round, and then `predict` is asked.
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.ensemble._gb.GradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
    }
)
NEAR_TIE = 1e-9
"""Probabilities further apart than this are in the order of their scores, whatever was rounded."""
_TEXT_STEPS = frozenset({"CountVectorizer", "TfidfVectorizer", "HashingVectorizer"})


@dataclass(frozen=True)
class OtherFunction:
    """An estimator whose answers are those of another method than `predict` (MLflow's `pyfunc_predict_fn`)."""

    estimator: Any
    name: str


class SklearnModel:
    """An estimator behind named arrays. `form` is what the estimator is given, `function` the method that answers."""

    def __init__(
        self,
        estimator: Any,
        form: Form,
        specs: tuple[TensorSpec, ...],
        has_probabilities: bool,
        function: str = PREDICT,
    ) -> None:
        self.function = function
        self.estimator = estimator
        self.form = form
        self.specs = specs
        self.task: Task = task_of(estimator)
        self.classes = classes_of(estimator) if has_probabilities or self.task == "classifier" else None
        self.has_probabilities = has_probabilities
        self._argmax = has_probabilities and predicts_argmax(estimator)
        self._clear_argmax = has_probabilities and predicts_argmax(estimator, _ARGMAX_BUT_FOR_TIES)
        self._categories = frame_categories(estimator, [spec.name for spec in specs]) if form == "frame" else {}

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """The estimator's `predict`, and `predict_proba` for classifiers that have it."""
        answers: Arrays = {}
        with refusals():
            features, probabilities = self.features(inputs), None
            if self.has_probabilities and (wanted is None or PROBABILITIES in wanted):
                probabilities = np.asarray(self.estimator.predict_proba(features))
            if wanted is None or PREDICTION in wanted:
                answers[PREDICTION] = self._prediction(features, probabilities)
        return answers if probabilities is None else {**answers, PROBABILITIES: probabilities}

    def _prediction(self, features: Any, probabilities: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
        if probabilities is not None and (self._argmax or (self._clear_argmax and no_near_tie(probabilities))):
            classes = last_step(self.estimator).classes_
            return as_tensor(classes.take(np.argmax(probabilities, axis=1), axis=0))
        return as_tensor(getattr(self.estimator, self.function)(features))

    def features(self, inputs: Arrays) -> Any:
        """What the estimator is called with."""
        if self.form == "matrix":
            return matrix_of(inputs)
        if self.form == "frame":
            return frame_of(inputs, self.specs, self._categories)
        columns = columns_of(inputs, self.specs)
        marks = [inputs.get(spec.name + MISSING_SUFFIX) for spec in self.specs]
        if self.form == "texts":
            return [
                None if mark is not None and mark[row] else text
                for mark in marks
                for row, text in enumerate(columns[0])
            ]
        return _stack(columns, marks)


def _stack(columns: list[np.ndarray[Any, Any]], marks: list[np.ndarray[Any, Any] | None]) -> np.ndarray[Any, Any]:
    """Columns side by side, for a model that was trained on an array without names."""
    is_text = any(column.dtype.kind == "O" for column in columns)
    stacked = np.empty((len(columns[0]), len(columns)), dtype=object if is_text else np.result_type(*columns))
    for index, (column, mark) in enumerate(zip(columns, marks, strict=True)):
        if mark is not None and mark.any():
            stacked = stacked if stacked.dtype.kind in "fO" else stacked.astype(np.float64)
            stacked[:, index] = np.where(mark, np.nan, column.astype(object if is_text else np.float64))
        else:
            stacked[:, index] = column
    return stacked


def make_sklearn(
    estimator: Any, kind: InputKind, specs: tuple[TensorSpec, ...], has_probabilities: bool
) -> SklearnModel:
    """The estimator, given its input in the form it was trained with."""
    function = PREDICT
    if isinstance(estimator, OtherFunction):
        estimator, function, has_probabilities = estimator.estimator, estimator.name, False
    return SklearnModel(estimator, form_of(estimator, kind), specs, has_probabilities, function)


def serve_sklearn(estimator: Any, signature: Signature) -> SklearnModel:
    """As `make_sklearn`, for a model whose signature is inferred."""
    has_probabilities = any(spec.name == PROBABILITIES for spec in signature.outputs)
    return make_sklearn(estimator, signature.kind, signature.inputs, has_probabilities)


def form_of(estimator: Any, kind: InputKind) -> Form:
    """Names where it was trained with names, none where it was not: anything else makes scikit-learn warn."""
    if kind == "matrix":
        return "matrix"
    if wants_text(estimator):
        return "texts"
    if feature_names(estimator) is None and n_features(estimator) is not None:
        return "array"
    return "frame"


def last_step(estimator: Any) -> Any:
    """The estimator that answers: a pipeline's last step, a search's best."""
    while True:
        kind = type(estimator).__name__
        if kind == "Pipeline" and type(estimator).__module__ == "sklearn.pipeline":
            estimator = estimator.steps[-1][1]
        elif kind in ("GridSearchCV", "RandomizedSearchCV") and hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def first_step(estimator: Any) -> Any:
    """The estimator that sees the input."""
    while True:
        kind = type(estimator).__name__
        if kind in ("Pipeline",) and getattr(estimator, "steps", None):
            steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
            if not steps or steps[0] is estimator:
                return estimator
            estimator = steps[0]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def no_near_tie(probabilities: np.ndarray[Any, Any]) -> bool:
    """Whether every row's highest probability is well above its second. `probabilities` is (rows, classes)."""
    if probabilities.shape[1] < 2:
        return False
    highest = np.partition(probabilities, -2, axis=1)
    return bool((highest[:, -1] - highest[:, -2] > NEAR_TIE).all())


def predicts_argmax(estimator: Any, kinds: frozenset[str] = _ARGMAX_OF_PROBABILITIES) -> bool:
    """Whether `predict` is the class of the highest probability: by its definition, or as `kinds` says it is."""
    last = last_step(estimator)
    if any("predict" in getattr(one, "__dict__", {}) for one in (estimator, last)):
        return False  # one of its own, whatever its class has
    if f"{type(last).__module__}.{type(last).__qualname__}" not in kinds:
        return False
    return np.ndim(getattr(last, "classes_", [])) == 1 and getattr(last, "n_outputs_", 1) == 1


def wants_text(estimator: Any) -> bool:
    """Whether the first step takes a sequence of texts."""
    return any(cls.__name__ in _TEXT_STEPS for cls in inspect.getmro(type(first_step(estimator))))


def feature_names(estimator: Any) -> list[str] | None:
    """Names of the columns it was trained with; None when it was trained without names or does not know."""
    names = _attribute(estimator, "feature_names_in_")
    if names is None and hasattr(first_step(estimator), "booster_"):
        names = list(first_step(estimator).booster_.feature_name())
        if all(name == f"Column_{index}" for index, name in enumerate(names)):
            return None
    return None if names is None else [str(name) for name in names]


def n_features(estimator: Any) -> int | None:
    """Number of columns it was trained with, when it knows."""
    number = _attribute(estimator, "n_features_in_")
    return None if number is None else int(number)


def _attribute(estimator: Any, name: str) -> Any:
    for candidate in (estimator, first_step(estimator)):
        try:
            value = getattr(candidate, name, None)
        except Exception:  # noqa: S112 - a property of someone else's class may raise anything: then it does not know
            continue
        if value is not None:
            return value
    return None


def classes_of(estimator: Any) -> Any:
    """Labels in the order of the probabilities; None for several outputs."""
    classes = _attribute(estimator, "classes_")
    if classes is None:
        classes = getattr(last_step(estimator), "classes_", None)
    return None if classes is None or isinstance(classes, list) or np.ndim(classes) != 1 else scalars(classes)


def can_give_probabilities(estimator: Any) -> bool:
    """Whether there are classes and `predict_proba` to go with them."""
    return hasattr(estimator, "predict_proba") and classes_of(estimator) is not None


def task_of(estimator: Any) -> Task:
    """Which metrics make sense."""
    from sklearn.base import is_classifier, is_regressor

    try:
        if is_classifier(estimator):
            return "classifier"
        if is_regressor(estimator):
            return "regressor"
    except Exception:
        # An estimator without scikit-learn's tags: judge it by what it has.
        return "classifier" if can_give_probabilities(estimator) else "other"
    return "classifier" if can_give_probabilities(estimator) else "other"


def frame_categories(estimator: Any, names: list[str]) -> Mapping[str, Any]:
    """The columns to make categorical in a request's data frame, with the categories to give them.

    XGBoost gets a request's own (None): it matches them by name and refuses new ones, as it did for its trainer.
    LightGBM takes new ones for missing values.
    """
    found = category_columns(estimator, names)
    return dict.fromkeys(found) if hasattr(first_step(estimator), "get_booster") else found


def category_columns(estimator: Any, names: list[str]) -> Mapping[str, Any]:
    """Columns that must be pandas categories, with their categories where the model keeps them apart from itself."""
    last = last_step(estimator)
    if last is not first_step(estimator):
        return {}
    if hasattr(last, "booster_") and last.booster_.pandas_categorical:
        indices = lightgbm_category_indices(last.booster_)
        return dict(zip([names[index] for index in indices], last.booster_.pandas_categorical, strict=False))
    if hasattr(last, "get_booster"):
        booster = last.get_booster()
        types = booster.feature_types or []
        return xgboost_categories(booster, [name for name, kind in zip(names, types, strict=False) if kind == "c"])
    return {}


def lightgbm_category_indices(booster: Any) -> list[int]:
    """Which columns LightGBM was told are categories: it writes them down among its parameters."""
    for line in booster.model_to_string(num_iteration=1).splitlines():
        if line.startswith("[categorical_feature:"):
            listed = line.partition(":")[2].strip(" ]")
            return [int(index) for index in listed.split(",") if index.strip().isdigit()]
    return []


def xgboost_categories(booster: Any, names: list[str]) -> dict[str, Any]:
    """Categories by column as the booster keeps them (XGBoost 3.1 and later); None where it does not."""
    if not names:
        return {}
    try:
        kept = dict(booster.get_categories(export_to_arrow=True).to_arrow())
    except (AttributeError, ImportError, ValueError):
        return dict.fromkeys(names)
    return {name: kept[name].to_pylist() if kept.get(name) is not None else None for name in names}
