"""CatBoost models from the file to the answer: categories stay text, numbers may be missing."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from support.frameworks import needs, serving
from support.platform import Platform

needs("catboost")

import catboost

from tidegate.errors import NoSuchDevice, NotAModel, UnfitInput
from tidegate.packaging import read_source
from tidegate.runtimes import open_model

ZIPS = ("01234", "00501", "94110")


def table(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    ages = rng.integers(18, 80, rows).astype(float)
    ages[::17] = np.nan
    return pd.DataFrame({"age": ages, "zip": rng.choice(ZIPS, rows), "size": rng.normal(size=rows)})


def labels(frame: pd.DataFrame) -> Any:
    return np.where((frame.age > 40) ^ (frame.zip == "00501"), "yes", "no")


QUIET = {"iterations": 20, "depth": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False}


@pytest.fixture(scope="session")
def trained() -> Any:
    frame = table()
    return catboost.CatBoostClassifier(**QUIET).fit(frame, labels(frame), cat_features=["zip"])


@pytest.fixture(scope="session")
def cbm(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catboost") / "churn.cbm"
    trained.save_model(str(path))
    return path


def opened(path: Path, into: Path, **options: Any) -> Any:
    return open_model(path, "m", into=into / "package", **options)


def columns(frame: pd.DataFrame) -> dict[str, Any]:
    return {"age": frame.age.to_numpy(), "zip": frame.zip.to_numpy().astype(object), "size": frame["size"].to_numpy()}


def test_labels_and_probabilities_are_catboosts_own(trained: Any, cbm: Path, tmp_path: Path) -> None:
    manifest, runtime = opened(cbm, tmp_path)
    assert (manifest.framework, manifest.batchable) == ("catboost", True)
    assert [(spec.name, spec.datatype, spec.nullable) for spec in manifest.signature.inputs] == [
        ("age", "FP64", True),
        ("zip", "BYTES", False),
        ("size", "FP64", True),
    ]
    frame = table(50)
    answers = runtime.predict(columns(frame), None)
    assert answers["prediction"].tolist() == trained.predict(frame).tolist()
    np.testing.assert_array_equal(answers["probabilities"], trained.predict_proba(frame))
    assert manifest.signature.classes == ("no", "yes")


def test_a_leading_zero_is_part_of_the_category(trained: Any, cbm: Path, tmp_path: Path) -> None:
    _, runtime = opened(cbm, tmp_path)
    frame = pd.DataFrame({"age": [50.0, 50.0], "zip": ["00501", "501"], "size": [0.0, 0.0]})
    found = runtime.predict(columns(frame), None)["probabilities"]
    np.testing.assert_array_equal(found, trained.predict_proba(frame))
    assert found[0, 0] != found[1, 0]


def test_a_missing_category_is_refused_as_catboost_refuses_it(cbm: Path, tmp_path: Path) -> None:
    _, runtime = opened(cbm, tmp_path)
    with pytest.raises(UnfitInput, match="cat_feature"):
        runtime.predict({**columns(table(2)), "zip__missing": np.array([True, False])}, None)


def test_regression_and_three_classes_without_names(tmp_path: Path) -> None:
    rows = table(200)[["age", "size"]].to_numpy()
    regressor = catboost.CatBoostRegressor(**QUIET).fit(rows, rows[:, 1] * 3)
    regressor.save_model(str(tmp_path / "r.cbm"))
    manifest, runtime = opened(tmp_path / "r.cbm", tmp_path / "a")
    assert manifest.signature.kind == "matrix"
    np.testing.assert_array_equal(runtime.predict({"input": rows}, None)["prediction"], regressor.predict(rows))
    classes = catboost.CatBoostClassifier(**QUIET).fit(rows, np.arange(200) % 3)
    classes.save_model(str(tmp_path / "c.cbm"))
    _, runtime = opened(tmp_path / "c.cbm", tmp_path / "b")
    answers = runtime.predict({"input": rows}, None)
    assert answers["prediction"].tolist() == classes.predict(rows).ravel().tolist()
    np.testing.assert_array_equal(answers["probabilities"], classes.predict_proba(rows))


def test_a_pickled_model_answers_the_same(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(trained))
    _, runtime = opened(tmp_path / "m.pkl", tmp_path, allow_pickle=True)
    frame = table(20)
    assert runtime.predict(columns(frame), None)["prediction"].tolist() == trained.predict(frame).tolist()


def test_a_cut_file_and_a_device(cbm: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.cbm").write_bytes(cbm.read_bytes()[: cbm.stat().st_size // 2])
    with pytest.raises(NotAModel, match="cut off"):
        read_source(tmp_path / "cut.cbm")
    with pytest.raises(NoSuchDevice, match="available: cpu"):
        opened(cbm, tmp_path, device="cuda")


def check(url: str, path: str, trained: Any) -> None:
    frame = table(20)
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    answer = httpx.post(url + path, json={"features": records}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["prediction"] == trained.predict(frame).tolist()
    refused = httpx.post(url + path, json={"features": {**records[1], "zip": None}}, timeout=30)
    assert refused.status_code == 422
    assert "zip" in refused.text


@pytest.mark.slow
def test_from_the_file_to_the_gateways_answer(platform: Platform, cbm: Path, trained: Any, tmp_path: Path) -> None:
    data = tmp_path / "held.csv"
    frame = table(100)
    frame.assign(left=labels(frame)).to_csv(data, index=False)
    gate = ("--validation-data", str(data), "--target", "left", "--min-score", "0.7")
    platform.done("deploy", str(cbm), "--name", "churn", *gate)
    check(platform.gateway_url, "/predict/churn", trained)


@pytest.mark.slow
def test_served_alone(cbm: Path, trained: Any) -> None:
    with serving(str(cbm)) as url:
        check(url, "/predict", trained)
