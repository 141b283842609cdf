"""The validation gate: what it measures, and what it says about data that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tidegate.errors import InvalidArgument, ScoreBelowGate, ValidationDataUnusable
from tidegate.runtimes import Inspection, InspectOptions, inspect_model
from tidegate.runtimes.inspection.gate import METRICS
from tidegate.runtimes.signatures.tables import Validation

IRIS = load_iris(as_frame=True).frame.rename(columns={"target": "kind"})
DIABETES = load_diabetes(as_frame=True).frame
Scorer = Callable[..., Inspection]


@pytest.fixture
def scored(packaged: Any, tmp_path: Path) -> Scorer:
    """Inspect a model against a frame (written as CSV) or the bytes of a file."""

    def score(
        model: Any, data: Any, target: str, metric: str | None = None, min_score: float | None = None
    ) -> Inspection:
        path = tmp_path / "upload"
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            data.to_csv(path, index=False)
        validation = Validation(path, "rows.csv", target, metric, min_score)
        return inspect_model(packaged(model), InspectOptions(True, validation))

    return score


@pytest.fixture(scope="module")
def binary() -> tuple[Any, pd.DataFrame]:
    frame = IRIS.assign(kind=np.where(IRIS.kind == 2, "yes", "no"))
    return LogisticRegression(max_iter=1000).fit(frame.drop(columns="kind"), frame.kind), frame


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall"])
def test_label_metrics_are_sklearns(binary: Any, scored: Scorer, metric: str) -> None:
    model, frame = binary
    found = scored(model, frame, "kind", metric, 0.5).score
    labels = model.predict(frame.drop(columns="kind"))
    expected: Any = {
        "accuracy": metrics.accuracy_score(frame.kind, labels),
        "balanced_accuracy": metrics.balanced_accuracy_score(frame.kind, labels),
        "f1": metrics.f1_score(frame.kind, labels, pos_label="yes"),
        "f1_macro": metrics.f1_score(frame.kind, labels, average="macro"),
        "precision": metrics.precision_score(frame.kind, labels, pos_label="yes"),
        "recall": metrics.recall_score(frame.kind, labels, pos_label="yes"),
    }
    assert found is not None
    assert found.value == pytest.approx(expected[metric])


def test_probability_metrics_are_sklearns(binary: Any, scored: Scorer) -> None:
    model, frame = binary
    scores = model.predict_proba(frame.drop(columns="kind"))
    auc, loss = scored(model, frame, "kind", "roc_auc").score, scored(model, frame, "kind", "log_loss", 1.0).score
    assert auc is not None
    assert loss is not None
    assert auc.value == pytest.approx(metrics.roc_auc_score(frame.kind == "yes", scores[:, 1]))
    assert loss.value == pytest.approx(metrics.log_loss(frame.kind, scores))
    assert not loss.higher_is_better


def test_regressors_are_scored_by_r2_and_by_errors(scored: Scorer) -> None:
    features = DIABETES.drop(columns="target")
    model = LinearRegression().fit(features, DIABETES.target)
    with pytest.raises(ScoreBelowGate, match=r"r2 is 0\.5\d+ on 442 rows, below the minimum, 0.8"):
        scored(model, DIABETES, "target")
    passed = scored(model, DIABETES, "target", "rmse", 60).score
    assert passed is not None
    assert passed.value == pytest.approx(metrics.root_mean_squared_error(DIABETES.target, model.predict(features)))
    with pytest.raises(ScoreBelowGate, match=r"rmse is .* above the highest value allowed, 10"):
        scored(model, DIABETES, "target", "rmse", 10)
    with pytest.raises(InvalidArgument, match="lower is better for rmse"):
        scored(model, DIABETES, "target", "rmse")
    with pytest.raises(InvalidArgument, match="needs a classifier"):
        scored(model, DIABETES, "target", "accuracy")


def test_metrics_for_two_classes_say_so_for_three(scored: Scorer) -> None:
    model = RandomForestClassifier(5, random_state=0).fit(IRIS.drop(columns="kind"), IRIS.kind)
    with pytest.raises(InvalidArgument, match=r"f1 is for two classes and here are 3: choose f1_macro"):
        scored(model, IRIS, "kind", "f1")
    auc = scored(model, IRIS, "kind", "roc_auc").score
    assert auc is not None
    assert auc.value > 0.95
    assert "roc_auc" in METRICS


def test_text_labels_that_look_like_numbers_are_compared_as_text(scored: Scorer) -> None:
    model = LogisticRegression(max_iter=1000).fit(IRIS.drop(columns="kind"), IRIS.kind.astype(str))
    found = scored(model, IRIS, "kind").score
    assert found is not None
    assert found.value > 0.9


def test_leading_zeros_survive_where_the_model_was_trained_on_text(scored: Scorer) -> None:
    frame = pd.DataFrame({"code": ["007", "010", "7", "10"] * 10, "y": [1, 0, 0, 1] * 10})
    model = make_pipeline(ColumnTransformer([("c", OneHotEncoder(), ["code"])]), LogisticRegression(C=100.0))
    found = scored(model.fit(frame[["code"]], frame.y), frame, "y")
    assert found.score is not None
    assert found.score.value == 1.0
    assert found.example == {"code": "007"}


def test_columns_are_found_by_name_and_extra_ones_left_out(scored: Scorer) -> None:
    model = LogisticRegression(max_iter=1000).fit(IRIS.drop(columns="kind"), IRIS.kind)
    found = scored(model, IRIS[IRIS.columns[::-1]].assign(id=range(150)), "kind")
    assert found.score is not None
    assert found.score.value > 0.9
    assert "'id'" in found.notes[0]


def test_an_unnamed_model_takes_all_columns_in_file_order(scored: Scorer) -> None:
    model = LogisticRegression(max_iter=1000).fit(IRIS.drop(columns="kind").to_numpy(), IRIS.kind)
    assert scored(model, IRIS, "kind").example == IRIS.drop(columns="kind").iloc[0].tolist()
    with pytest.raises(ValidationDataUnusable, match=r"takes 4 features without names; 'rows\.csv' has 5"):
        scored(model, IRIS.assign(id=1), "kind")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"a,kind\n", "no rows"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "neither CSV nor Parquet"),
        (b"caf\xe9,kind\n1,2\n", "not UTF-8"),
        (b"PAR1nonsense", "Parquet but cannot be read"),
        (b'a,kind\n1,2\n"3,4,5\n', "cannot be read as CSV"),
        (b"a;b;kind\n1;2;0\n", "lacks 'sepal length"),
        (IRIS.to_csv(index=False).replace("5.1", "long", 1).encode(), "holds 'long' in data row 1"),
        (
            IRIS.astype(object).assign(kind=[*IRIS.kind[:-2], None, None]).to_csv(index=False).encode(),
            "missing in 2 rows",
        ),
        (IRIS.assign(kind="other").to_csv(index=False).encode(), "no value of the target is a class"),
        (IRIS.assign(**{"petal width (cm)": None}).to_csv(index=False).encode(), "does not fit the model"),
    ],
)
def test_unusable_data_is_described(scored: Scorer, content: bytes, told: str) -> None:
    model = LogisticRegression(max_iter=1000).fit(IRIS.drop(columns="kind"), IRIS.kind)
    with pytest.raises(ValidationDataUnusable) as caught:
        scored(model, content, "kind")
    assert told in caught.value.message


def test_parquet_is_read_too(packaged: Any, tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=1000).fit(IRIS.drop(columns="kind"), IRIS.kind)
    path = tmp_path / "rows"
    IRIS.to_parquet(path)
    found = inspect_model(packaged(model), InspectOptions(True, Validation(path, "rows.parquet", "kind")))
    assert found.score is not None
    assert found.score.rows == 150
