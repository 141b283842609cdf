"""Model objects in hand become files in the safest format that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tidegate.client.registration.saving import save_model
from tidegate.errors import InvalidArgument, PickleNotGranted

X = np.arange(40, dtype=float).reshape(20, 2)
Y = (X[:, 0] > 19).astype(int)


def fitted(*steps: Any) -> Any:
    return make_pipeline(*steps, LogisticRegression()).fit(X, Y)


def test_a_model_of_known_types_needs_no_grant(tmp_path: Path) -> None:
    model = fitted(StandardScaler())
    path = save_model(model, tmp_path, allow_pickle=False)
    assert path.suffix == ".skops"
    assert skops.io.load(path).predict(X).tolist() == model.predict(X).tolist()


def test_a_model_that_must_be_pickled_needs_one(tmp_path: Path) -> None:
    model = fitted(FunctionTransformer(np.log1p), _Shift())
    with pytest.raises(PickleNotGranted, match=r"skops does not trust .*allow_pickle=True"):
        save_model(model, tmp_path, allow_pickle=False)
    path = save_model(model, tmp_path, allow_pickle=True)
    assert path.suffix == ".joblib"
    assert joblib.load(path).predict(X).tolist() == model.predict(X).tolist()


class _Shift(StandardScaler):  # type: ignore[misc]
    """A type that nobody else knows."""


def test_an_onnx_model_is_saved_as_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("skl2onnx")
    model = onnx.to_onnx(fitted(), X[:1])
    path = save_model(model, tmp_path, allow_pickle=False)
    assert (path.suffix, path.read_bytes()) == (".onnx", model.SerializeToString())


def test_an_xgboost_booster_is_saved_as_ubj(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, Y), num_boost_round=2)
    path = save_model(booster, tmp_path, allow_pickle=False)
    again = xgboost.Booster(model_file=path)
    assert path.suffix == ".ubj"
    assert again.predict(xgboost.DMatrix(X)).tolist() == booster.predict(xgboost.DMatrix(X)).tolist()


def test_a_lightgbm_booster_is_saved_as_text(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 1}, lightgbm.Dataset(X, Y), num_boost_round=2)
    path = save_model(booster, tmp_path, allow_pickle=False)
    assert path.read_text().startswith("tree")


@pytest.mark.parametrize("thing", [{"a": 1}, 3, None, [LogisticRegression()]])
def test_what_is_no_model_is_refused(tmp_path: Path, thing: Any) -> None:
    with pytest.raises(InvalidArgument, match="no predict method"):
        save_model(thing, tmp_path, allow_pickle=True)


def test_what_cannot_be_pickled_says_so(tmp_path: Path) -> None:
    model = fitted(FunctionTransformer(lambda x: x))
    with pytest.raises(InvalidArgument, match="cannot be pickled"):
        save_model(model, tmp_path, allow_pickle=True)
