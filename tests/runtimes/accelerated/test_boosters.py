"""XGBoost's and LightGBM's models: their forms answer and refuse as they do, and what has no form says why."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tidegate.errors import UnfitInput
from tidegate.runtimes.accelerated.build import timing
from tidegate.runtimes.accelerated.build.from_boosters import NEARLY_ZERO
from tidegate.runtimes.accelerated.build.from_trees import ensemble_of
from tidegate.runtimes.accelerated.build.preparation import prepared
from tidegate.runtimes.accelerated.build.probes import split_rows
from tidegate.runtimes.accelerated.build.trying import Original, Record, accelerate
from tidegate.runtimes.accelerated.serve.serving import FastModel
from tidegate.runtimes.base.runtime import LoadedModel, output_spec
from tidegate.runtimes.models.booster_model import BoosterModel
from tidegate.runtimes.models.sklearn_model import make_sklearn
from tidegate.wire.signature import PREDICTION, Signature, TensorSpec

CANCER, CANCER_LABEL = load_breast_cancer(return_X_y=True)
IRIS, IRIS_LABEL = load_iris(return_X_y=True)
IRIS_NAME = np.array(["setosa", "versicolor", "virginica"], dtype=object)[IRIS_LABEL]
DIABETES, DIABETES_VALUE = load_diabetes(return_X_y=True)
GAPPY = np.where(np.random.default_rng(0).random(CANCER.shape) < 0.1, np.nan, CANCER)
AROUND_ZERO = DIABETES * (np.random.default_rng(1).random(DIABETES.shape) < 0.6)
QUIET: dict[str, Any] = {"n_estimators": 20, "n_jobs": 1, "verbose": -1}
FEW: dict[str, Any] = {"n_estimators": 20, "n_jobs": 1}
XGBOOST, LIGHTGBM = "trees-float32", "trees-float64"


def xgboost_trained(objective: str, x: Any, y: Any) -> Any:
    return xgb.train({"objective": objective, "nthread": 1}, xgb.DMatrix(x, label=y), 20)


def lightgbm_trained(objective: str, x: Any, y: Any) -> Any:
    return lgb.train({"objective": objective, "num_threads": 1, "verbose": -1}, lgb.Dataset(x, label=y), 20)


KINDS: dict[str, tuple[Any, Any, Any, str]] = {
    "xgboost, two classes, gaps": (xgb.XGBClassifier(**FEW), GAPPY, CANCER_LABEL, XGBOOST),
    "xgboost, three classes": (xgb.XGBClassifier(**FEW), IRIS, IRIS_LABEL, XGBOOST),
    "xgboost, values": (xgb.XGBRegressor(**FEW), DIABETES, DIABETES_VALUE, XGBOOST),
    "xgboost, base score": (xgb.XGBRegressor(**FEW, base_score=1000.0), DIABETES, DIABETES_VALUE, XGBOOST),
    "xgboost, counts": (xgb.XGBRegressor(**FEW, objective="count:poisson"), AROUND_ZERO, DIABETES_VALUE, XGBOOST),
    "xgboost, forest": (xgb.XGBRFClassifier(**FEW), CANCER, CANCER_LABEL, XGBOOST),
    "xgboost, scaled": (make_pipeline(StandardScaler(), xgb.XGBClassifier(**FEW)), CANCER, CANCER_LABEL, XGBOOST),
    "xgboost, native": (xgboost_trained, "binary:logistic", CANCER_LABEL, XGBOOST),
    "lightgbm, two classes, gaps": (lgb.LGBMClassifier(**QUIET), GAPPY, CANCER_LABEL, LIGHTGBM),
    "lightgbm, names": (lgb.LGBMClassifier(**QUIET), IRIS, IRIS_NAME, LIGHTGBM),
    "lightgbm, values around 0": (lgb.LGBMRegressor(**QUIET), AROUND_ZERO, DIABETES_VALUE, LIGHTGBM),
    "lightgbm, counts": (lgb.LGBMRegressor(**QUIET, objective="poisson"), DIABETES, DIABETES_VALUE, LIGHTGBM),
    "lightgbm, forest": (
        lgb.LGBMClassifier(**QUIET, boosting_type="rf", bagging_freq=1, bagging_fraction=0.7),
        CANCER,
        CANCER_LABEL,
        LIGHTGBM,
    ),
    "lightgbm, native": (lightgbm_trained, "binary", CANCER_LABEL, LIGHTGBM),
    "lightgbm, native values": (lightgbm_trained, "regression", CANCER[:, 0] * 2.0, LIGHTGBM),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timing need not be good here, and on a busy machine must not decide."""
    monkeypatch.setattr(timing, "TIMING_S", 0.01)
    monkeypatch.setattr(timing, "GAIN_MIN", 0.0)


def subject_of(model: Any, x: Any, y: Any) -> Original:
    if callable(model):
        model, x = model(x, CANCER, y), CANCER
    else:
        model.fit(x, y)
    specs = (TensorSpec("input", "FP64", (-1, x.shape[1])),)
    adopted: LoadedModel = (
        BoosterModel(model, labels=True)
        if type(model).__name__ == "Booster"
        else make_sklearn(model, "matrix", specs, hasattr(model, "predict_proba"))
    )
    rows = {"input": np.ascontiguousarray(x[1::2][:100])}
    outputs = tuple(output_spec(name, array) for name, array in adopted.predict(rows, None).items())
    return Original(model, adopted, Signature("matrix", specs, outputs, adopted.classes), rows)


def tried(subject: Original, folder: Path) -> Record:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return accelerate(subject, folder, False, lambda _done, _message: None)


@pytest.mark.parametrize("name", KINDS)
def test_a_booster_gets_a_form_that_answers_and_refuses_as_it_does(name: str, tmp_path: Path) -> None:
    model, x, y, form = KINDS[name]
    subject = subject_of(model, x, y)
    record = tried(subject, tmp_path / "form")
    assert record.kept == form, record
    assert record.rows["rows at the splits"] > 100
    kept = next(entry for entry in record.tried if entry["form"] == form)
    assert kept["largest_difference"] < 1e-6
    assert record.rows["rows with missing values"] > 500 or "scaled" in name


def test_every_split_of_xgboost_is_the_original_s_on_both_sides_and_sums_are_to_the_last_bit(tmp_path: Path) -> None:
    subject = subject_of(xgb.XGBRegressor(n_estimators=40, n_jobs=1), DIABETES, DIABETES_VALUE)
    tried(subject, tmp_path / "form")
    fast = FastModel(tmp_path / "form", subject.signature)
    found = prepared(subject.estimator)
    rows = split_rows(DIABETES, ensemble_of(found), found)
    assert len(rows) > 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = subject.model.predict({"input": rows}, None)[PREDICTION]
    for batch in (slice(None), slice(0, 1)):
        got = fast.predict({"input": rows[batch]}, None)[PREDICTION]
        assert got.dtype == np.float32
        assert np.array_equal(got, expected[batch])


def test_lightgbm_takes_the_nearly_zero_for_zero_and_so_does_its_form(tmp_path: Path) -> None:
    x = np.repeat([[-1.0], [0.0], [1.0]], 100, axis=0)
    y = np.repeat([1.0, 5.0, 9.0], 100)
    subject = subject_of(lgb.LGBMRegressor(**QUIET), x, y)
    record = tried(subject, tmp_path / "form")
    assert record.kept == LIGHTGBM, record
    fast = FastModel(tmp_path / "form", subject.signature)
    edge = [NEARLY_ZERO, np.nextafter(NEARLY_ZERO, 1), 5e-324, 1e-36]
    rows = {"input": np.array([[0.0], [-0.0], *[[sign * value] for value in edge for sign in (1, -1)]])}
    expected = subject.model.predict(rows, None)[PREDICTION]
    np.testing.assert_allclose(fast.predict(rows, None)[PREDICTION], expected, rtol=1e-6)


def test_training_that_stopped_early_is_asked_up_to_its_best_round(tmp_path: Path) -> None:
    model = xgb.XGBClassifier(n_estimators=80, early_stopping_rounds=3, n_jobs=1)
    model.fit(CANCER[::2], CANCER_LABEL[::2], eval_set=[(CANCER[1::2], CANCER_LABEL[1::2])], verbose=False)
    assert len(ensemble_of(prepared(model)).trees) == model.best_iteration + 1 < 80


def test_a_pipeline_refuses_what_its_scaler_refuses_though_xgboost_takes_it(tmp_path: Path) -> None:
    subject = subject_of(*KINDS["xgboost, scaled"][:3])
    tried(subject, tmp_path / "form")
    fast = FastModel(tmp_path / "form", subject.signature)
    row = CANCER[:1].copy()
    row[0, 4] = np.inf
    with pytest.raises(UnfitInput, match="infinity"):
        fast.predict({"input": row}, None)
    row[0, 4] = 1e39  # infinite as a float32, which XGBoost takes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = subject.model.predict({"input": row}, None)[PREDICTION]
    assert fast.predict({"input": row}, None)[PREDICTION] == expected


def _categories() -> tuple[Any, Any]:
    x = np.stack((np.random.default_rng(1).normal(size=500), np.arange(500) * 7 % 23), axis=1)
    return x, (x[:, 1] % 3 == 1).astype(int)


def _lightgbm_on_categories() -> Any:
    x, y = _categories()
    return lgb.LGBMClassifier(**QUIET).fit(x, y, categorical_feature=[1])


def _xgboost_on_categories() -> Any:
    x, y = _categories()
    return xgb.XGBClassifier(**FEW, feature_types=["q", "c"], enable_categorical=True, max_cat_to_onehot=1).fit(x, y)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_lightgbm_on_categories, "it splits on categories"),
        (_xgboost_on_categories, "it splits on categories"),
        (lambda: xgb.XGBClassifier(**FEW, booster="dart").fit(*_categories()), "it is boosted by dart"),
        (lambda: xgb.XGBClassifier(**FEW, missing=-1.0).fit(*_categories()), "it takes -1.0 for a missing value"),
        (lambda: lgb.LGBMRegressor(**QUIET, linear_tree=True).fit(*_categories()), "its leaves are linear models"),
        (lambda: lgb.LGBMClassifier(**QUIET, zero_as_missing=True).fit(*_categories()), "0 for a missing value"),
    ],
)
def test_what_has_no_equal_form_is_served_as_it_is_with_the_reason(make: Any, reason: str, tmp_path: Path) -> None:
    model = make()
    specs = (TensorSpec("input", "FP64", (-1, 2)),)
    original = make_sklearn(model, "matrix", specs, hasattr(model, "predict_proba"))
    rows = {"input": _categories()[0][:20]}
    outputs = tuple(output_spec(name, array) for name, array in original.predict(rows, None).items())
    signature = Signature("matrix", specs, outputs, original.classes)
    record = tried(Original(model, original, signature, rows), tmp_path / "form")
    assert record.kept is None
    assert reason in record.reason
    assert not (tmp_path / "form").exists()
