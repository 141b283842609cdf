"""Boolean columns are found wherever the model, or its validation data, says that they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tidegate.runtimes import InspectOptions, inspect_model
from tidegate.runtimes.base.inputs import rows_to_inputs
from tidegate.runtimes.signatures.tables import Validation


def members() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"age": rng.integers(18, 80, 120) * 1.0, "member": rng.random(120) > 0.5})


def selected() -> Any:
    columns = [
        ("numbers", StandardScaler(), make_column_selector(dtype_include=np.number)),
        ("flags", "passthrough", make_column_selector(dtype_include=bool)),
    ]
    return make_pipeline(ColumnTransformer(columns), LogisticRegression())


@pytest.mark.parametrize("make", [lambda: xgboost.XGBClassifier(n_estimators=3), selected], ids=["xgboost", "selector"])
def test_a_model_that_tells_its_boolean_columns_takes_booleans(make: Any, opened: Any) -> None:
    frame = members()
    estimator = make().fit(frame, frame.member)
    manifest, runtime = opened(estimator)
    assert [(spec.name, spec.datatype) for spec in manifest.signature.inputs] == [("age", "FP64"), ("member", "BOOL")]
    assert type(manifest.example["member"]) is bool
    answers = runtime.predict(rows_to_inputs(frame.to_dict("records"), manifest.signature), None)
    assert np.array_equal(answers["prediction"], estimator.predict(frame))
    assert np.allclose(answers["probabilities"], estimator.predict_proba(frame))


def test_a_matrix_of_categories_that_are_booleans_is_boolean(opened: Any) -> None:
    rows = members()[["member"]].to_numpy()
    manifest, runtime = opened(make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, rows[:, 0]))
    assert [(spec.datatype, spec.shape) for spec in manifest.signature.inputs] == [("BOOL", (-1, 1))]
    assert runtime.predict({"input": np.array([[True], [False]])}, None)["prediction"].tolist() == [True, False]


def test_true_false_and_empty_fields_of_the_validation_data_are_booleans(packaged: Any, tmp_path: Path) -> None:
    frame = members()
    package = packaged(HistGradientBoostingClassifier(max_iter=5).fit(frame, frame.member))
    frame.assign(target=frame.member).to_csv(tmp_path / "rows.csv", index=False)
    text = (tmp_path / "rows.csv").read_text().replace("True,True", ",True", 1)
    (tmp_path / "rows.csv").write_text(text)
    validation = Validation(tmp_path / "rows.csv", "rows.csv", "target", min_score=0.0)
    signature = inspect_model(package, InspectOptions(allow_pickle=True, validation=validation)).signature
    assert {spec.name: (spec.datatype, spec.nullable) for spec in signature.inputs}["member"] == ("BOOL", True)
