"""CatBoost models: numbers as they are, categories and texts as text, the answers the model's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.errors import UnfitInput
from tidegate.runtimes.base.inputs import frame_of, matrix_of
from tidegate.runtimes.base.runtime import THREADS, Arrays, Task, Wanted, as_tensor, error_text, refusals, scalars
from tidegate.wire.signature import PREDICTION, PROBABILITIES, Scalar, TensorSpec


class CatBoostModel:
    """A `CatBoostClassifier`, a `CatBoostRegressor` or another of its models."""

    def __init__(self, model: Any, specs: tuple[TensorSpec, ...] = ()) -> None:
        self._model = model
        self._specs = specs
        self.text_indices = [*model.get_cat_feature_indices(), *model.get_text_feature_indices()]
        labels = np.asarray(getattr(model, "classes_", []))
        is_classifier = hasattr(model, "predict_proba")
        # Several labels a row are answers of several columns, without one class that is the highest.
        has_classes = is_classifier and labels.size > 0 and not _is_multilabel(model)
        self.classes: tuple[Scalar, ...] | None = scalars(labels) if has_classes else None
        kind = getattr(model, "_estimator_type", "other")
        self.task: Task = "classifier" if is_classifier else "regressor" if kind == "regressor" else "other"

    def with_specs(self, specs: tuple[TensorSpec, ...]) -> CatBoostModel:
        """The same model with these inputs."""
        return CatBoostModel(self._model, specs)

    @property
    def n_features(self) -> int:
        """Columns it was trained with."""
        return len(self._model.feature_names_)

    @property
    def names(self) -> list[str] | None:
        """Names of the columns; None for numbers without names."""
        names = [str(name) for name in self._model.feature_names_]
        unnamed = names == [str(index) for index in range(len(names))]
        return None if unnamed and not self.text_indices else names

    def borders(self) -> dict[int, Any]:
        """Where it splits, by column of numbers."""
        found: dict[int, Any] = self._model.get_borders()
        return found

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """The model's `predict`, a label or number a row, and `predict_proba` for classifiers."""
        answers: Arrays = {}
        with refusals():
            features = self._features(inputs)
            try:
                if wanted is None or PREDICTION in wanted:
                    answers[PREDICTION] = _flat(as_tensor(self._model.predict(features, thread_count=THREADS)))
                if self.classes and (wanted is None or PROBABILITIES in wanted):
                    answers[PROBABILITIES] = self._model.predict_proba(features, thread_count=THREADS)
            except Exception as error:
                # Its only error; the model loaded, so the input is at fault.
                if type(error).__name__ == "CatBoostError":
                    raise UnfitInput(f"the model refused the input: {error_text(error)}") from error
                raise
        return answers

    def _features(self, inputs: Arrays) -> Any:
        if self.names is None:
            return matrix_of(inputs)
        frame = frame_of(inputs, self._specs)
        # CatBoost knows categories by their text, and takes it only from columns of objects or whole numbers.
        texts = [name for name in frame.columns if frame[name].dtype.kind not in "fiub"]
        return frame.astype(dict.fromkeys(texts, object)) if texts else frame


def load_catboost(path: Any, model_class: str) -> Any:
    """The model as the class it was saved from, as far as its loss tells: then `predict` gives labels for classes."""
    import catboost

    plain = catboost.CatBoost()
    plain.load_model(str(path), format="cbm")
    wrapper = model_class or _class_for(plain)
    if wrapper == "CatBoost":
        return plain
    model = getattr(catboost, wrapper)()
    return model.load_model(str(path), format="cbm")


def _class_for(model: Any) -> str:
    return "CatBoostClassifier" if np.size(getattr(model, "classes_", [])) else "CatBoostRegressor"


def _is_multilabel(model: Any) -> bool:
    return str(model.get_all_params().get("loss_function", "")).startswith(("MultiLogloss", "MultiCrossEntropy"))


def _flat(prediction: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """CatBoost gives the labels of more than two classes as a column."""
    return prediction.ravel() if prediction.ndim == 2 and prediction.shape[1] == 1 else prediction
