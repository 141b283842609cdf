"""Twenty different real models on data that ships with scikit-learn and Python, each with the answers that are right.

Used by twenty_models.py. What the environment lacks (XGBoost, LightGBM) is replaced by a spare of another kind.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

ROWS = 200
MODELS = 20


@dataclass(frozen=True)
class Case:
    """One model as a file, with rows to ask and what its own `predict` and `predict_proba` say of them.

    `register` holds further arguments of `tidegate register`.
    """

    name: str
    kind: str
    file: Path
    rows: Sequence[Any]
    predictions: Sequence[Any]
    confidences: Sequence[float] | None
    register: Sequence[str] = ()


@dataclass(frozen=True)
class Recipe:
    """How one model is made: its data, the untrained model, and how it is written."""

    name: str
    data: Callable[[], Any]
    model: Callable[[], Any]
    save: Callable[[Recipe, Any, Any, Path], Case]


def make(folder: Path) -> list[Case]:
    """Train and write all of them into `folder`."""
    recipes = [recipe for recipe in _recipes() if recipe is not None]
    return [_make(recipe, folder) for recipe in [*recipes, *_spares()][:MODELS]]


def _make(recipe: Recipe, folder: Path) -> Case:
    x, y = recipe.data()
    return recipe.save(recipe, recipe.model().fit(x, y), x, folder)


# -- data -------------------------------------------------------------------------------------------------------------


def _breast_cancer() -> Any:
    return datasets.load_breast_cancer(return_X_y=True)


def _digits() -> Any:
    return datasets.load_digits(return_X_y=True)


def _diabetes() -> Any:
    return datasets.load_diabetes(return_X_y=True)


def _wine() -> Any:
    return datasets.load_wine(return_X_y=True)


def _iris() -> Any:
    """Labels are strings, as in many real tables."""
    iris = datasets.load_iris()
    return iris.data, iris.target_names[iris.target].astype(object)


def _diabetes_columns() -> Any:
    return datasets.load_diabetes(return_X_y=True, as_frame=True, scaled=False)


def _diabetes_table() -> Any:
    """Named columns of numbers and strings; the question is whether the disease goes on faster than usual."""
    frame, progress = _diabetes_columns()
    frame = frame.assign(
        sex=frame["sex"].map({1.0: "female", 2.0: "male"}).astype(object),
        age_band=pd.cut(frame["age"], [0, 35, 50, 65, 120], labels=["young", "middle", "older", "old"]).astype(object),
    )
    return frame, np.where(progress > progress.median(), "faster", "slower")


def _breast_cancer_missing() -> Any:
    """One value in twenty is missing."""
    x, y = _breast_cancer()
    return np.where(np.random.default_rng(0).random(x.shape) < 0.05, np.nan, x), y


def _friedman() -> Any:
    """Large enough for a forest of more than 50 MB."""
    return datasets.make_friedman1(n_samples=20_000, n_features=10, noise=1.0, random_state=0)


def _docstrings() -> Any:
    """Sentences of the standard library's own documentation, and the module each comes from."""
    texts, labels = [], []
    for name in ("argparse", "asyncio", "datetime", "decimal", "email.message", "logging", "pathlib", "unittest"):
        for _, member in inspect.getmembers(importlib.import_module(name)):
            documented = [member, *(vars(member).values() if inspect.isclass(member) else ())]
            found = {" ".join(doc.split()) for doc in map(inspect.getdoc, documented) if doc and len(doc) > 40}
            texts += sorted(found)
            labels += [name] * len(found)
    return pd.DataFrame({"text": texts}), np.asarray(labels, dtype=object)


# -- models -----------------------------------------------------------------------------------------------------------


def _recipes() -> list[Recipe | None]:
    return [
        Recipe("linear", _diabetes, LinearRegression, _as_joblib),
        Recipe("ridge-columns", _diabetes_columns, RidgeCV, _as_joblib),
        Recipe("logistic", _breast_cancer, _scaled(lambda: LogisticRegression(max_iter=1000)), _as_joblib),
        Recipe("svm-rbf", _digits, lambda: SVC(gamma=0.001), _as_joblib),
        Recipe("svm-linear", _wine, _scaled(LinearSVC), _as_joblib),
        Recipe("neighbours", _digits, KNeighborsClassifier, _as_joblib),
        Recipe("naive-bayes", _iris, GaussianNB, _as_joblib),
        Recipe("tree", _wine, lambda: DecisionTreeClassifier(random_state=0), _as_joblib),
        Recipe("forest", _breast_cancer, lambda: RandomForestClassifier(100, random_state=0), _as_joblib),
        Recipe("forest-large", _friedman, lambda: RandomForestRegressor(40, random_state=0), _as_joblib),
        Recipe("extra-trees", _digits, lambda: ExtraTreesClassifier(100, random_state=0), _as_joblib),
        Recipe("boosting", _diabetes, lambda: GradientBoostingRegressor(random_state=0), _as_joblib),
        Recipe("boosting-missing", _breast_cancer_missing, _hist_gradient_boosting, _as_joblib),
        Recipe("neural", _digits, _scaled(lambda: MLPClassifier((64, 32), max_iter=300, random_state=0)), _as_joblib),
        Recipe("strings", _diabetes_table, _table_pipeline, _as_joblib_with_data),
        Recipe("text", _docstrings, _text_pipeline, _as_joblib_with_data),
        _optional("xgboost", _breast_cancer, "XGBClassifier", n_estimators=100, n_jobs=1),
        _optional("lightgbm", _diabetes, "LGBMRegressor", n_estimators=100, n_jobs=1, verbose=-1),
        Recipe("onnx", _breast_cancer, lambda: RandomForestClassifier(100, random_state=1), _as_onnx),
        Recipe("skops", _wine, _scaled(lambda: LogisticRegression(max_iter=1000)), _as_skops),
    ]


def _spares() -> list[Recipe]:
    return [
        Recipe("ada-boost", _wine, lambda: AdaBoostClassifier(random_state=0), _as_joblib),
        Recipe("bagging", _diabetes, lambda: BaggingRegressor(random_state=0), _as_joblib),
    ]


def _optional(module: str, data: Callable[[], Any], name: str, **options: Any) -> Recipe | None:
    if importlib.util.find_spec(module) is None:
        return None
    return Recipe(module, data, lambda: getattr(importlib.import_module(module), name)(**options), _as_joblib)


def _scaled(model: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: make_pipeline(StandardScaler(), model())


def _hist_gradient_boosting() -> Any:
    return HistGradientBoostingClassifier(random_state=0)


def _table_pipeline() -> Any:
    numbers = ["age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), numbers), ("words", OneHotEncoder(handle_unknown="ignore"), ["sex", "age_band"])]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def _text_pipeline() -> Any:
    return make_pipeline(ColumnTransformer([("text", TfidfVectorizer(), "text")]), LogisticRegression(max_iter=1000))


# -- files and the answers that are right -----------------------------------------------------------------------------


def _as_joblib(recipe: Recipe, model: Any, x: Any, folder: Path) -> Case:
    path = folder / f"{recipe.name}.joblib"
    joblib.dump(model, path)
    return _case(recipe, model, x, path, ("--allow-pickle",))


def _as_joblib_with_data(recipe: Recipe, model: Any, x: Any, folder: Path) -> Case:
    """Types of text columns are in no scikit-learn model: the gate's own data tell them."""
    case = _as_joblib(recipe, model, x, folder)
    data = folder / f"{recipe.name}.parquet"
    x.assign(answer=model.predict(x)).to_parquet(data)
    return Case(**{**case.__dict__, "register": (*case.register, "--validation-data", str(data), "--target", "answer")})


def _as_skops(recipe: Recipe, model: Any, x: Any, folder: Path) -> Case:
    import skops.io

    path = folder / f"{recipe.name}.skops"
    skops.io.dump(model, path)
    return _case(recipe, model, x, path)


def _as_onnx(recipe: Recipe, model: Any, x: Any, folder: Path) -> Case:
    """The right answers are ONNX Runtime's own, which computes in 32 bits."""
    import onnxruntime
    from skl2onnx import to_onnx

    onnx = to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
    path = folder / f"{recipe.name}.onnx"
    path.write_bytes(onnx)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    sample = _sample(x)
    labels, probabilities = session.run(None, {session.get_inputs()[0].name: sample.astype(np.float32)})
    return Case(recipe.name, "ONNX", path, sample.tolist(), labels.tolist(), probabilities.max(axis=1).tolist())


def _case(recipe: Recipe, model: Any, x: Any, path: Path, register: Sequence[str] = ()) -> Case:
    sample = _sample(x)
    proba = getattr(model, "predict_proba", None)
    last = model[-1] if hasattr(model, "steps") else model
    return Case(
        name=recipe.name,
        kind=type(last).__name__,
        file=path,
        rows=_rows(sample),
        predictions=np.asarray(model.predict(sample)).tolist(),
        confidences=proba(sample).max(axis=1).tolist() if proba else None,
        register=register,
    )


def _sample(x: Any) -> Any:
    """Rows drawn from the data, the same for each run."""
    chosen = np.random.default_rng(0).integers(0, len(x), ROWS)
    return x.iloc[chosen] if isinstance(x, pd.DataFrame) else x[chosen]


def _rows(sample: Any) -> list[Any]:
    """Rows as plain JSON takes them: records for named columns, lists otherwise, null for what is missing."""
    if isinstance(sample, pd.DataFrame):
        return [dict(row) for row in sample.to_dict("records")]
    return [[None if np.isnan(value) else value for value in row] for row in sample.tolist()]
