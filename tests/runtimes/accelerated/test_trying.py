"""Real models of each kind: which form is kept, that it answers as the original does, and that it refuses the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tidegate.errors import ModelLoadFailed, UnfitInput
from tidegate.runtimes.accelerated.build import timing
from tidegate.runtimes.accelerated.build.from_trees import floor_float32
from tidegate.runtimes.accelerated.build.trying import Original, Record, accelerate, kind_of
from tidegate.runtimes.accelerated.serve.serving import FastModel
from tidegate.runtimes.base.runtime import output_spec
from tidegate.runtimes.models.sklearn_model import make_sklearn
from tidegate.wire.signature import PREDICTION, PROBABILITIES, Signature, TensorSpec

CANCER, CANCER_LABEL = load_breast_cancer(return_X_y=True)
IRIS, IRIS_LABEL = load_iris(return_X_y=True)
IRIS_NAME = np.array(["setosa", "versicolor", "virginica"])[IRIS_LABEL]
DIABETES, DIABETES_VALUE = load_diabetes(return_X_y=True)
GAPPY = np.where(np.random.default_rng(0).random(CANCER.shape) < 0.1, np.nan, CANCER)

KINDS: dict[str, tuple[Any, Any, Any]] = {
    "forest": (RandomForestClassifier(30, random_state=0), CANCER, CANCER_LABEL),
    "forest of names": (RandomForestClassifier(20, max_depth=4, random_state=0), IRIS, IRIS_NAME),
    "forest with gaps": (RandomForestClassifier(20, max_depth=6, random_state=0), GAPPY, CANCER_LABEL),
    "scaled forest": (
        make_pipeline(StandardScaler(), RandomForestClassifier(10, max_depth=5, random_state=0)),
        CANCER,
        CANCER_LABEL,
    ),
    "extra trees": (ExtraTreesClassifier(20, random_state=0), CANCER, CANCER_LABEL),
    "tree": (DecisionTreeClassifier(random_state=0), CANCER, CANCER_LABEL),
    "forest of values": (RandomForestRegressor(20, random_state=0), DIABETES, DIABETES_VALUE),
    "boosting": (GradientBoostingClassifier(n_estimators=20, random_state=0), CANCER, CANCER_LABEL),
    "boosting of names": (GradientBoostingClassifier(n_estimators=8, random_state=0), IRIS, IRIS_NAME),
    "boosting of values": (GradientBoostingRegressor(n_estimators=20, random_state=0), DIABETES, DIABETES_VALUE),
    "histogram": (HistGradientBoostingClassifier(max_iter=10, random_state=0), GAPPY, CANCER_LABEL),
    "histogram of counts": (
        HistGradientBoostingRegressor(max_iter=10, loss="poisson", random_state=0),
        DIABETES,
        DIABETES_VALUE,
    ),
    "logistic": (make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), CANCER, CANCER_LABEL),
    "logistic of names": (make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), IRIS, IRIS_NAME),
    "one against the rest": (
        make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)),
        IRIS,
        IRIS_LABEL,
    ),
    "ridge": (make_pipeline(StandardScaler(), Ridge()), DIABETES, DIABETES_VALUE),
    "perceptron": (
        make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=2000, random_state=0)),
        IRIS,
        IRIS_NAME,
    ),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timing need not be good here, and on a busy machine must not decide."""
    monkeypatch.setattr(timing, "TIMING_S", 0.01)
    monkeypatch.setattr(timing, "GAIN_MIN", 0.0)


def subject_of(estimator: Any, x: Any, y: Any) -> Original:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x[::2], y[::2])
    specs = (TensorSpec("input", "FP64", (-1, x.shape[1])),)
    model = make_sklearn(estimator, "matrix", specs, hasattr(estimator, "predict_proba"))
    rows = {"input": np.ascontiguousarray(x[1::2][:100])}
    outputs = tuple(output_spec(name, array) for name, array in model.predict(rows, None).items())
    return Original(estimator, model, Signature("matrix", specs, outputs, model.classes), rows)


def tried(subject: Original, folder: Path, asked: bool = False) -> Record:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return accelerate(subject, folder, asked, lambda _done, _message: None)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_on_the_list_gets_a_form_that_answers_and_refuses_as_it_does(name: str, tmp_path: Path) -> None:
    subject = subject_of(*KINDS[name])
    record = tried(subject, tmp_path / "form")
    assert record.kept in ("trees-float32", "trees-float64", "dense-float64"), record
    assert record.rows["rows around them"] > 500
    if record.kept.startswith("trees"):
        assert record.rows["rows at the splits"] > 100
    fast = FastModel(tmp_path / "form", subject.signature)
    rows = {"input": KINDS[name][1]}
    expected, got = subject.model.predict(rows, None), fast.predict(rows, None)
    assert list(expected) == list(got)
    for output, array in expected.items():
        assert got[output].dtype == array.dtype
        if array.dtype.kind == "f":
            np.testing.assert_allclose(got[output], array, rtol=0 if output == PROBABILITIES else 1e-5, atol=1e-5)
        else:
            assert got[output].tolist() == array.tolist()
    if fast.form.takes_nan:
        return
    broken = KINDS[name][1][:3].copy()
    broken[1, 0] = np.nan
    with pytest.raises(UnfitInput, match="NaN"):
        fast.predict({"input": broken}, None)


def test_a_tie_of_votes_goes_to_the_class_the_original_gives_it(tmp_path: Path) -> None:
    # Half of the trees for each class, with leaves that are no whole numbers: float32 sums would tip them.
    rng = np.random.default_rng(3)
    x = rng.integers(0, 3, size=(400, 4)).astype(float)
    y = rng.integers(0, 2, size=400)
    subject = subject_of(RandomForestClassifier(10, random_state=0), x, y)
    record = tried(subject, tmp_path / "form")
    assert record.kept is not None
    fast = FastModel(tmp_path / "form", subject.signature)
    assert fast.form.band > 0
    every = np.array(np.meshgrid(*[np.arange(3.0)] * 4)).reshape(4, -1).T
    expected = subject.model.predict({"input": every}, None)
    assert fast.predict({"input": every}, None)[PREDICTION].tolist() == expected[PREDICTION].tolist()


def test_only_what_is_wanted_is_computed_and_other_shapes_are_refused(tmp_path: Path) -> None:
    subject = subject_of(*KINDS["logistic"])
    tried(subject, tmp_path / "form")
    fast = FastModel(tmp_path / "form", subject.signature)
    assert list(fast.predict({"input": CANCER[:2]}, frozenset({PREDICTION}))) == [PREDICTION]
    for wrong in (CANCER[:2, :5], CANCER[:2].astype(str).astype(object), CANCER[0]):
        with pytest.raises(UnfitInput):
            fast.predict({"input": wrong}, None)
    big = CANCER[:1].copy()
    big[0, 3] = np.inf
    with pytest.raises(UnfitInput, match="infinity"):
        fast.predict({"input": big}, None)


def test_a_value_too_large_for_float32_is_refused_by_trees_as_by_the_original(tmp_path: Path) -> None:
    subject = subject_of(*KINDS["forest"])
    tried(subject, tmp_path / "form")
    fast = FastModel(tmp_path / "form", subject.signature)
    big = CANCER[:1].copy()
    big[0, 3] = 1e39
    warnings.simplefilter("ignore")  # pytest puts the filters back after each test
    for model in (subject.model, fast):
        with pytest.raises(UnfitInput, match="too large"):
            model.predict({"input": big}, None)


def test_histogram_boosting_on_categories_falls_back_to_the_original(tmp_path: Path) -> None:
    x = CANCER.copy()
    x[:, 0] = np.random.default_rng(0).integers(0, 5, size=len(x))
    x[:, 0] += (CANCER_LABEL * 2) % 5
    estimator = HistGradientBoostingClassifier(max_iter=20, categorical_features=[0], random_state=0)
    record = tried(subject_of(estimator, x, CANCER_LABEL), tmp_path / "form")
    assert record.kept is None
    assert record.reason
    assert "categories" in {entry["form"]: entry["reason"] for entry in record.tried}["trees"]
    assert not (tmp_path / "form").exists()


def test_what_skl2onnx_fails_on_falls_back_to_the_original(tmp_path: Path) -> None:
    # skl2onnx 1.20 on the histogram boosting of scikit-learn 1.9.
    estimator = make_pipeline(PCA(4), HistGradientBoostingClassifier(max_iter=5, random_state=0))
    record = tried(subject_of(estimator, CANCER, CANCER_LABEL), tmp_path / "form", asked=True)
    assert record.kept is None
    assert record.reason == "no form is equal to the original"
    reasons = {entry["form"]: entry["reason"] for entry in record.tried}
    assert reasons["skl2onnx-float32"]  # not converted, or converted wrongly: what it is depends on its release
    assert not (tmp_path / "form").exists()


def test_other_kinds_are_tried_on_request_only(tmp_path: Path) -> None:
    subject = subject_of(make_pipeline(StandardScaler(), PCA(4), LogisticRegression()), CANCER, CANCER_LABEL)
    assert kind_of(subject.estimator)[1] is False
    record = tried(subject, tmp_path / "form")
    assert record.kept is None
    assert record.tried == []
    assert "--accelerate" in record.reason
    asked = tried(subject, tmp_path / "form", asked=True)
    assert {entry["form"] for entry in asked.tried} >= {"skl2onnx-float32", "skl2onnx-float64"}


def test_a_graph_that_differs_is_refused_with_the_place_and_the_amount(tmp_path: Path) -> None:
    record = tried(subject_of(GaussianNB(), CANCER, CANCER_LABEL), tmp_path / "form", asked=True)
    for entry in record.tried:
        assert entry["equal"] or entry["reason"]


def test_a_missing_or_damaged_form_is_said_and_nothing_else_is_served(tmp_path: Path) -> None:
    subject = subject_of(*KINDS["tree"])
    tried(subject, tmp_path / "form")
    (tmp_path / "form" / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelLoadFailed, match="cannot be loaded"):
        FastModel(tmp_path / "form", subject.signature)
    with pytest.raises(ModelLoadFailed, match="--no-accelerate"):
        FastModel(tmp_path / "nowhere", subject.signature)


@settings(max_examples=300, deadline=None)
@given(st.floats(-1e30, 1e30, allow_nan=False), st.integers(-3, 3))
def test_a_float32_threshold_splits_every_float32_as_the_float64_one_does(threshold: float, steps: int) -> None:
    value = np.float32(threshold)
    for _ in range(abs(steps)):
        value = np.nextafter(value, np.float32(np.copysign(np.inf, steps)))
    floor = floor_float32(np.array([threshold]))[0]
    assert bool(value <= floor) == bool(float(value) <= threshold)
