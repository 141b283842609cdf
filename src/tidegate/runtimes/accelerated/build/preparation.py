"""A pipeline's scalers and imputers as steps on float64 arrays, as scikit-learn does them. Reads attributes only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Step = tuple[str, Array]


class CannotConvert(Exception):
    """There is no such form of this model; says why."""


@dataclass(frozen=True)
class Prepared:
    """The last estimator and what is done to its input before."""

    estimator: Any
    steps: list[Step]
    kinds: list[str]

    def arrays(self) -> dict[str, Array]:
        """As a form keeps them."""
        return {f"step-{index}": array for index, (_, array) in enumerate(self.steps)}

    @property
    def names(self) -> tuple[str, ...]:
        """As a form names them."""
        return tuple(name for name, _ in self.steps)

    def undone(self, column: int, value: float) -> float:
        """About the input that becomes `value` in this column."""
        for name, array in reversed(self.steps):
            value = _UNDO[name](value, float(array[column]))
        return value

    def on_sparse(self) -> Prepared:
        """The same where the original's input is sparse: its scalers multiply by one over, and XGBoost takes 0 for
        missing, which a sparse matrix leaves out.
        """
        steps = [("multiply", 1 / array) if name == "divide" else (name, array) for name, array in self.steps]
        if type(self.estimator).__module__.startswith("xgboost"):
            steps.append(("blank", np.zeros(int(self.estimator.n_features_in_))))
        return Prepared(self.estimator, steps, self.kinds)


_UNDO: dict[str, Any] = {
    "subtract": lambda value, by: value + by,
    "divide": lambda value, by: value * by,
    "multiply": lambda value, by: value / by,
    "add": lambda value, by: value - by,
    "impute": lambda value, _: value,
    "blank": lambda value, _: value,
}


def prepared(estimator: Any) -> Prepared:
    """Take a pipeline apart. Raises `CannotConvert` for a step that is no plain scaler or imputer."""
    steps: list[Step] = []
    kinds: list[str] = []
    while True:
        kind, module = type(estimator).__name__, type(estimator).__module__
        if kind in ("GridSearchCV", "RandomizedSearchCV") and hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif kind == "Pipeline" and module == "sklearn.pipeline":
            for _, inner in estimator.steps[:-1]:
                if inner not in (None, "passthrough"):
                    kinds.append(type(inner).__name__)
                    steps += steps_of(inner)
            estimator = estimator.steps[-1][1]
        else:
            return Prepared(estimator, steps, [*kinds, kind])


def steps_of(inner: Any) -> list[Step]:
    """One transformer's steps. Raises `CannotConvert`."""
    kind = type(inner).__name__
    maker = _MAKERS.get(kind) if type(inner).__module__.startswith("sklearn.") else None
    if maker is None:
        raise CannotConvert(f"the step {kind} is not a scaler or imputer that is known here")
    return [(name, np.asarray(array, dtype=np.float64)) for name, array in maker(inner) if array is not None]


def _standard(inner: Any) -> list[tuple[str, Any]]:
    return [
        ("subtract", inner.mean_ if inner.with_mean else None),
        ("divide", inner.scale_ if inner.with_std else None),
    ]


def _robust(inner: Any) -> list[tuple[str, Any]]:
    return [
        ("subtract", inner.center_ if inner.with_centering else None),
        ("divide", inner.scale_ if inner.with_scaling else None),
    ]


def _min_max(inner: Any) -> list[tuple[str, Any]]:
    if inner.clip:
        raise CannotConvert("MinMaxScaler(clip=True) is not known here")
    return [("multiply", inner.scale_), ("add", inner.min_)]


def _max_abs(inner: Any) -> list[tuple[str, Any]]:
    if getattr(inner, "clip", False):
        raise CannotConvert("MaxAbsScaler(clip=True) is not known here")
    return [("divide", inner.scale_)]


def _imputer(inner: Any) -> list[tuple[str, Any]]:
    plain = isinstance(inner.missing_values, float) and np.isnan(inner.missing_values) and not inner.add_indicator
    try:
        # As it fills them in: a float32 where it was trained on those.
        statistics = np.asarray(inner.statistics_).astype(getattr(inner, "_fill_dtype", np.float64))
        known = statistics.dtype.kind in "fiu" and not np.isnan(statistics.astype(np.float64)).any()
    except (TypeError, ValueError):  # text
        known = False
    if not plain or not known:
        raise CannotConvert("this SimpleImputer does more than to put a number where one is missing")
    return [("impute", statistics)]


_MAKERS = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "SimpleImputer": _imputer,
}
