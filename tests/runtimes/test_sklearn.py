from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tidegate.errors import UnfitInput
from tidegate.runtimes import load
from tidegate.runtimes.base.inputs import rows_to_inputs
from tidegate.runtimes.models.sklearn_model import no_near_tie, predicts_argmax

X, Y = load_iris(return_X_y=True)
FRAME = load_iris(as_frame=True).data
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def pipeline(people: pd.DataFrame) -> Any:
    columns = ColumnTransformer(
        [
            ("code", OneHotEncoder(handle_unknown="ignore"), ["code"]),
            ("plan", OneHotEncoder(), ["plan"]),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"]),
        ]
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000))
    return model.fit(people.drop(columns="target"), people.target)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(7, random_state=1).fit(X, NAMES),
        LogisticRegression(max_iter=1000).fit(X, Y),
        HistGradientBoostingClassifier(max_iter=5).fit(X, Y),
        SVC().fit(X, NAMES),
        KMeans(3, n_init=1, random_state=0).fit(X),
        LinearRegression().fit(X, Y),
        RandomForestRegressor(5).fit(X, np.column_stack([Y, -Y])),
        RandomForestClassifier(5).fit(X, np.column_stack([Y, Y > 1])),
        LogisticRegression().fit(X, Y > 0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_a_matrix_model_answers_what_the_original_answers(estimator: Any, opened: Any) -> None:
    manifest, runtime = opened(estimator)
    assert manifest.signature.kind == "matrix"
    assert manifest.signature.n_features == 4
    answers = runtime.predict({"input": X}, None)
    expected = estimator.predict(X)
    assert np.array_equal(answers["prediction"], expected)
    assert [spec.name for spec in manifest.signature.outputs] == list(answers)
    if "probabilities" in answers:
        assert np.array_equal(answers["probabilities"], estimator.predict_proba(X))
        assert list(manifest.signature.classes or ()) == estimator.classes_.tolist()


def test_only_what_is_wanted_is_computed(opened: Any) -> None:
    _, runtime = opened(LogisticRegression(max_iter=1000).fit(X, Y))
    assert list(runtime.predict({"input": X[:2]}, frozenset({"prediction"}))) == ["prediction"]
    assert list(runtime.predict({"input": X[:2]}, frozenset({"probabilities"}))) == ["probabilities"]


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(3, max_depth=2, random_state=0),
        ExtraTreesClassifier(3, max_depth=2, random_state=0),
        DecisionTreeClassifier(max_depth=2),
        BaggingClassifier(n_estimators=4, random_state=0),
        CalibratedClassifierCV(DecisionTreeClassifier(), cv=2),
        make_pipeline(StandardScaler(), RandomForestClassifier(4, max_depth=1, random_state=0)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_labels_from_probabilities_equal_predict_also_where_classes_tie(estimator: Any, opened: Any) -> None:
    coarse = np.round(X)
    estimator.fit(coarse, NAMES)
    assert predicts_argmax(estimator)
    _, runtime = opened(estimator)
    noise = np.random.default_rng(0).integers(0, 8, size=(3000, 4)).astype(float)
    assert np.array_equal(runtime.predict({"input": noise}, None)["prediction"], estimator.predict(noise))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=1000),
        LogisticRegression(C=1e-12, fit_intercept=False),  # coefficients near 0: all but a tie
        make_pipeline(StandardScaler(), LogisticRegression(C=1e9, max_iter=1000)),  # probabilities of 0 and 1
        GradientBoostingClassifier(n_estimators=2, max_depth=1, learning_rate=1e-12),
        HistGradientBoostingClassifier(max_iter=3),
    ],
    ids=["logistic", "nothing-learned", "sure", "boosting", "histogram"],
)
def test_labels_by_raw_scores_equal_predict_also_in_near_ties(estimator: Any, classes: int, opened: Any) -> None:
    kept = classes > Y
    estimator.fit(X[kept], NAMES[kept])
    _, runtime = opened(estimator)
    noise = np.random.default_rng(0).normal(size=(3000, 4)) * np.logspace(-20, 3, 3000)[:, None]
    rows = np.concatenate([noise, np.zeros((2, 4)), X])
    assert np.array_equal(runtime.predict({"input": rows}, None)["prediction"], estimator.predict(rows))
    for row in rows[::97]:
        one = row[None, :]
        assert np.array_equal(runtime.predict({"input": one}, None)["prediction"], estimator.predict(one))


def test_only_a_clear_winner_is_told_by_its_probability() -> None:
    assert no_near_tie(np.array([[0.1, 0.9], [0.7, 0.3]]))
    assert not no_near_tie(np.array([[0.1, 0.9], [0.5, 0.5]]))
    assert not no_near_tie(np.array([[0.4, 0.2, 0.4]]))
    assert not no_near_tie(np.array([[np.nan, 0.9]]))
    assert not no_near_tie(np.array([[1.0]]))


def test_boosting_and_logistic_regression_are_asked_for_their_own_labels() -> None:
    assert not predicts_argmax(HistGradientBoostingClassifier())
    assert not predicts_argmax(LogisticRegression())

    class Different(RandomForestClassifier):  # type: ignore[misc] # scikit-learn has no types
        def predict(self, features: Any) -> Any:
            return super().predict(features)

    assert not predicts_argmax(Different().fit(X, Y))
    replaced = RandomForestClassifier(2).fit(X, Y)
    assert predicts_argmax(replaced)
    replaced.predict = lambda rows: np.zeros(len(rows))
    assert not predicts_argmax(replaced)


def test_named_columns_take_records_and_packed_rows_without_a_warning(opened: Any) -> None:
    estimator = RandomForestClassifier(5, random_state=0).fit(FRAME, NAMES)
    manifest, runtime = opened(estimator)
    assert [spec.name for spec in manifest.signature.inputs] == list(FRAME.columns)
    assert manifest.signature.packed_datatype == "FP64"
    expected = estimator.predict(FRAME)
    assert np.array_equal(runtime.predict({"anything": X}, None)["prediction"], expected)
    by_column = rows_to_inputs(records(FRAME), manifest.signature)
    assert np.array_equal(runtime.predict(by_column, None)["prediction"], expected)


def test_mixed_columns_keep_text_integers_and_missing_values(people: pd.DataFrame, opened: Any) -> None:
    estimator = pipeline(people)
    manifest, runtime = opened(estimator)
    specs = {spec.name: (spec.datatype, spec.nullable) for spec in manifest.signature.inputs}
    assert specs == {
        "age": ("FP64", True),
        "income": ("FP64", True),
        "code": ("BYTES", True),
        "plan": ("INT64", False),
    }
    assert manifest.example["code"] in ("007", "010", "Rome")
    assert manifest.batchable
    features = people.drop(columns="target")
    features.loc[::3, "income"] = np.nan
    features.loc[::4, "code"] = np.nan
    answers = runtime.predict(rows_to_inputs(records(features), manifest.signature), None)
    assert np.array_equal(answers["prediction"], estimator.predict(features))
    assert np.allclose(answers["probabilities"], estimator.predict_proba(features))


def test_an_unseen_category_and_a_missing_one_are_the_clients_fault(people: pd.DataFrame, opened: Any) -> None:
    manifest, runtime = opened(pipeline(people))
    with pytest.raises(UnfitInput, match="unknown categories"):
        runtime.predict(rows_to_inputs([{**manifest.example, "plan": 99}], manifest.signature), None)
    with pytest.raises(UnfitInput, match="refused"):
        runtime.predict(rows_to_inputs([{**manifest.example, "plan": None}], manifest.signature), None)


def test_nan_is_refused_where_the_model_refuses_it(opened: Any) -> None:
    manifest, runtime = opened(LogisticRegression(max_iter=1000).fit(X, Y))
    assert not manifest.signature.inputs[0].nullable
    with pytest.raises(UnfitInput, match="NaN"):
        runtime.predict({"input": np.array([[np.nan, 1, 1, 1]])}, None)
    with pytest.raises(UnfitInput, match="features"):
        runtime.predict({"input": np.ones((1, 7))}, None)


def test_a_text_model_has_one_input_called_text(opened: Any) -> None:
    texts = ["good film", "bad film", "great day", "awful day"] * 5
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ["+", "-"] * 10)
    manifest, runtime = opened(estimator)
    (spec,) = manifest.signature.inputs
    assert (spec.name, spec.datatype, spec.nullable) == ("text", "BYTES", False)
    answers = runtime.predict({"text": np.array(texts, dtype=object)}, None)
    assert answers["prediction"].tolist() == estimator.predict(texts).tolist()


def test_no_rows_in_no_rows_out(opened: Any) -> None:
    _, runtime = opened(RandomForestClassifier(3).fit(X, NAMES))
    answers = runtime.predict({"input": np.empty((0, 4))}, None)
    assert answers["prediction"].shape == (0,)
    assert answers["probabilities"].shape == (0, 3)


def test_a_model_reloaded_by_its_manifest_answers_the_same(people: pd.DataFrame, opened: Any, tmp_path: Any) -> None:
    manifest, runtime = opened(pipeline(people))
    again = load(manifest, tmp_path / "m-package")
    inputs = rows_to_inputs(records(people.drop(columns="target")), manifest.signature)
    first, second = runtime.predict(inputs, None), again.predict(inputs, None)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert again.signature == manifest.signature


class Centred:
    """Answers a row by its distance from the batch's mean: a batch is not its rows."""

    n_features_in_ = 4

    def predict(self, features: Any) -> Any:
        return np.asarray(features)[:, 0] - np.asarray(features)[:, 0].mean()


def test_a_model_whose_rows_depend_on_one_another_is_not_batchable() -> None:
    from tidegate.runtimes.models.sklearn_model import make_sklearn
    from tidegate.runtimes.signatures.drafts import matrix
    from tidegate.runtimes.signatures.trial import is_batchable

    draft = matrix(4)
    rows = {"input": X[::12]}
    assert not is_batchable(make_sklearn(Centred(), "matrix", draft.specs, False), rows)
    tree = DecisionTreeClassifier().fit(X, Y)
    assert is_batchable(make_sklearn(tree, "matrix", draft.specs, True), rows)
