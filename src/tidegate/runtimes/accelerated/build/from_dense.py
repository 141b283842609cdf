"""Linear models and perceptrons as dense layers: the same products in the same order, without scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.runtimes.accelerated.build.preparation import CannotConvert, Prepared
from tidegate.runtimes.accelerated.serve.form import AcceleratedForm, FormDraft, Head
from tidegate.runtimes.base.runtime import scalars

Array = np.ndarray[Any, Any]

REGRESSORS = frozenset(
    {"LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "BayesianRidge"}
    | {"HuberRegressor", "SGDRegressor", "LinearSVR", "ARDRegression", "TheilSenRegressor"}
)
CLASSIFIERS = frozenset(
    {"LogisticRegression", "LogisticRegressionCV", "RidgeClassifier", "RidgeClassifierCV", "LinearSVC", "Perceptron"}
    | {"SGDClassifier", "LinearDiscriminantAnalysis"}
)
PERCEPTRONS = frozenset({"MLPClassifier", "MLPRegressor"})
KINDS = REGRESSORS | CLASSIFIERS | PERCEPTRONS


def dense_form(found: Prepared) -> FormDraft:
    """Raises `CannotConvert`."""
    estimator = found.estimator
    kind = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn.") or kind not in KINDS:
        raise CannotConvert(f"a {kind} is no linear model or perceptron that is known here")
    layers = _perceptron(estimator) if kind in PERCEPTRONS else [_linear(estimator)]
    arrays = found.arrays()
    for index, (weight, bias, _) in enumerate(layers):
        arrays |= {f"weight-{index}": weight, f"bias-{index}": bias}
    classes: Any = getattr(estimator, "classes_", None)
    if isinstance(classes, list) or np.ndim(classes) > 1:
        raise CannotConvert("it predicts several labels at once")
    form = AcceleratedForm(
        name="dense-float64",
        engine="dense",
        n_features=int(estimator.n_features_in_),
        head=_head(estimator, kind),
        classes=None if classes is None else scalars(classes),
        steps=found.names,
        activations=tuple(name for _, _, name in layers),
    )
    return FormDraft(form, arrays)


def _linear(estimator: Any) -> tuple[Array, Array, str]:
    coefficients, intercept = np.asarray(estimator.coef_), np.asarray(estimator.intercept_, dtype=np.float64)
    if coefficients.dtype != np.float64:
        raise CannotConvert(f"its coefficients are {coefficients.dtype}")
    weight = coefficients.T if coefficients.ndim == 2 else coefficients[:, None]
    return weight, np.broadcast_to(intercept.ravel(), (weight.shape[1],)).copy(), "identity"


def _perceptron(estimator: Any) -> list[tuple[Array, Array, str]]:
    if estimator.coefs_[0].dtype != np.float64:
        raise CannotConvert(f"its weights are {estimator.coefs_[0].dtype}")
    hidden = [estimator.activation] * (len(estimator.coefs_) - 1)
    names = [*hidden, estimator.out_activation_]
    return list(zip(estimator.coefs_, estimator.intercepts_, names, strict=True))


def _head(estimator: Any, kind: str) -> Head:
    if kind in REGRESSORS or kind == "MLPRegressor":
        return "value"
    if kind == "MLPClassifier":
        if estimator._label_binarizer.y_type_.startswith("multilabel"):
            raise CannotConvert("it predicts several labels at once")
        return "half" if len(estimator.classes_) == 2 else "highest"
    if len(estimator.classes_) == 2:
        return "logistic"
    return "one_vs_rest" if kind == "SGDClassifier" else "softmax"
