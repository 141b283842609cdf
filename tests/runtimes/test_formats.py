"""One real model per format, each compared with the library's own answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import msgspec
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from tidegate.errors import MissingLibrary, ModelLoadFailed, NotAModel, PickleNotGranted, UnfitInput
from tidegate.packaging import read_source, wrap
from tidegate.runtimes import InspectOptions, inspect_model, load, open_model
from tidegate.runtimes.base.inputs import rows_to_inputs
from tidegate.runtimes.base.runtime import as_tensor
from tidegate.runtimes.signatures.tables import Validation
from tidegate.wire.signature import TensorSpec

X, Y = load_breast_cancer(return_X_y=True)
FRAME = load_breast_cancer(as_frame=True).data


def open_file(path: Path, **options: Any) -> Any:
    return open_model(path, "m", into=path.parent / (path.name + "-package"), **options)


# -- ONNX --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forest() -> Any:
    return RandomForestClassifier(8, max_depth=4, random_state=0).fit(X.astype(np.float32), Y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipmap", [False, True])
def test_onnx_keeps_its_own_names(forest: Any, tmp_path: Path, zipmap: bool) -> None:
    from skl2onnx import to_onnx

    options = {"zipmap": zipmap}
    graph = to_onnx(forest, X[:1].astype(np.float32), options={id(forest): options})
    path = tmp_path / "m.onnx"
    path.write_bytes(graph.SerializeToString())
    manifest, runtime = open_file(path)
    signature = manifest.signature
    assert (manifest.framework, signature.kind, signature.n_features) == ("onnx", "tensors", 30)
    assert [(spec.name, spec.datatype, spec.shape) for spec in signature.inputs] == [("X", "FP32", (-1, 30))]
    assert [spec.shape for spec in signature.outputs] == [(-1,), (-1, 2)]
    assert signature.classes == (0, 1)
    assert manifest.batchable
    assert len(manifest.example) == 30
    label, scores = runtime.predict({"X": X}, None).values()
    assert np.mean(label == forest.predict(X)) == 1.0
    assert np.allclose(scores, forest.predict_proba(X), atol=1e-5)
    again = load(manifest, Path(manifest.package_dir)).predict({"X": X[:3]}, frozenset({signature.outputs[1].name}))
    assert np.allclose(next(iter(again.values())), scores[:3])
    with pytest.raises(UnfitInput, match="refused"):
        runtime.predict({"X": X[:, :5]}, None)


def test_an_onnx_graph_that_answers_one_number_for_all_rows_is_refused_by_name(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])]
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("ReduceSum", ["square"], ["loss"], keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info("square", TensorProto.FLOAT, ["n", 4]),
        helper.make_tensor_value_info("loss", TensorProto.FLOAT, []),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    path = tmp_path / "loss.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    with pytest.raises(ModelLoadFailed, match=r"output 'loss' is a single value .* one for each row"):
        open_file(path)


def test_an_onnx_graph_of_text_refuses_bytes_that_are_no_text(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info("x", TensorProto.STRING, ["n"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.STRING, ["n"])]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", inputs, outputs)
    path = tmp_path / "same.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    _, runtime = open_file(path)
    assert runtime.predict({"x": np.array(["é", "abc"], dtype=object)}, None)["y"].tolist() == ["é", "abc"]
    with pytest.raises(UnfitInput, match="'x' holds bytes that are not UTF-8"):
        runtime.predict({"x": np.array(["abc", b"\xff\xfe"], dtype=object)}, None)


@pytest.mark.parametrize("unit", ["ns", "us", "D"])
def test_a_model_that_answers_times_answers_text(tmp_path: Path, unit: str) -> None:
    days = np.array(["2024-01-02", "2024-03-04"], dtype=f"datetime64[{unit}]")
    joblib.dump(DummyClassifier(strategy="most_frequent").fit(X, days[(Y == 0).astype(int)]), tmp_path / "m.joblib")
    manifest, runtime = open_file(tmp_path / "m.joblib", allow_pickle=True)
    said = "2024-01-02T00:00:00"
    assert runtime.predict({"input": X[:2]}, None)["prediction"].tolist() == [said, said]
    assert said in (manifest.signature.classes or ())
    assert next(spec.datatype for spec in manifest.signature.outputs) == "BYTES"


def test_bytes_that_a_model_answers_stay_bytes() -> None:
    given = np.array([b"abc", b"\xff\xfe", "text", None], dtype=object)
    assert as_tensor(given).tolist() == ["abc", b"\xff\xfe", "text", ""]
    assert as_tensor(np.array([b"abc", b"\xff"])).tolist() == ["abc", b"\xff"]


@pytest.mark.filterwarnings("ignore")
def test_an_onnx_graph_for_one_row_answers_several(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    double = helper.make_node("Mul", ["x", "x"], ["z"])
    squares = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4])]
    graph = helper.make_graph([double], "g", inputs, squares)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "one.onnx"
    path.write_bytes(model.SerializeToString())
    manifest, runtime = open_file(path)
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(runtime.predict({"x": rows}, None)["z"], rows * rows)
    assert manifest.batchable


# -- XGBoost and LightGBM --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["ubj", "json"])
def test_an_xgboost_file_saved_from_the_classifier_gives_labels_again(tmp_path: Path, suffix: str) -> None:
    model = xgboost.XGBClassifier(n_estimators=4).fit(FRAME, Y)
    path = tmp_path / f"m.{suffix}"
    model.save_model(path)
    manifest, runtime = open_file(path)
    assert manifest.framework == "xgboost"
    assert [spec.name for spec in manifest.signature.inputs] == list(FRAME.columns)
    answers = runtime.predict({"packed": X}, None)
    assert np.array_equal(answers["prediction"], model.predict(FRAME))
    assert np.array_equal(answers["probabilities"], model.predict_proba(FRAME))


@pytest.mark.parametrize("suffix", ["ubj", "json"])
def test_an_xgboost_file_of_a_newer_version_is_refused_and_of_an_older_one_is_not(tmp_path: Path, suffix: str) -> None:
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, Y), num_boost_round=3)
    saved = bytes(booster.save_raw(suffix))
    here = [int(part) for part in xgboost.__version__.split(".")[:2]]
    for major, refused in ((here[0] + 1, True), (here[0] - 1, False)):
        path = tmp_path / f"m{major}.{suffix}"
        if suffix == "json":
            path.write_bytes(saved.replace(b'"version":[%d,' % here[0], b'"version":[%d,' % major))
        else:
            head, key, tail = saved.rpartition(b"version[#L")
            path.write_bytes(head + key + tail[:9] + bytes([major]) + tail[10:])
        assert path.read_bytes() != saved
        if refused:
            with pytest.raises(ModelLoadFailed, match=rf"saved with XGBoost {major}\.{here[1]} .*--requirements"):
                open_file(path)
        else:
            found = open_file(path)[1].predict({"input": X}, None)["probabilities"]
            assert np.array_equal(found[:, 1], booster.predict(xgboost.DMatrix(X)))


def test_a_native_xgboost_booster_of_two_classes_gives_labels_and_its_scores(tmp_path: Path) -> None:
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, Y), num_boost_round=3)
    path = tmp_path / "m.ubj"
    booster.save_model(path)
    manifest, runtime = open_file(path)
    assert manifest.signature.inputs[0].nullable
    rows = X.copy()
    rows[::2, 3] = np.nan
    answers = runtime.predict({"input": rows}, None)
    scores = booster.predict(xgboost.DMatrix(rows))
    assert np.array_equal(answers["probabilities"][:, 1], scores)
    assert np.array_equal(answers["prediction"], scores > 0.5)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_lightgbm_file_predicts_the_labels_that_the_gate_scores(classes: int, tmp_path: Path) -> None:
    label = (np.arange(len(X)) % classes + Y) % classes
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(X, label)
    path = tmp_path / "m.txt"
    model.booster_.save_model(path)
    manifest, runtime = open_file(path)
    assert (manifest.framework, manifest.signature.classes) == ("lightgbm", tuple(range(classes)))
    answers = runtime.predict({"input": X}, None)
    assert np.array_equal(answers["prediction"], model.predict(X))
    assert np.array_equal(answers["probabilities"], model.predict_proba(X))
    assert runtime.predict({"input": X[:2]}, frozenset({"prediction"})).keys() == {"prediction"}
    again = load(manifest, Path(manifest.package_dir)).predict({"input": X}, None)
    assert np.array_equal(again["prediction"], answers["prediction"])
    table = pd.DataFrame(X).assign(target=label)
    table.to_csv(tmp_path / "rows.csv", index=False)
    gate = inspect_model(
        Path(manifest.package_dir),
        InspectOptions(validation=Validation(tmp_path / "rows.csv", "rows.csv", "target", min_score=0.0)),
    )
    assert gate.score is not None
    assert gate.score.value == pytest.approx(np.mean(answers["prediction"] == label))
    assert gate.notes == []


def test_a_booster_registered_with_its_scores_goes_on_with_them(tmp_path: Path) -> None:
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, Y), num_boost_round=3)
    booster.save_model(tmp_path / "m.txt")
    manifest, _ = open_file(tmp_path / "m.txt")
    old = msgspec.structs.replace(manifest.signature, outputs=(TensorSpec("prediction", "FP64", (-1,)),), classes=None)
    runtime = load(msgspec.structs.replace(manifest, signature=old), Path(manifest.package_dir))
    assert np.array_equal(runtime.predict({"input": X}, None)["prediction"], booster.predict(X))


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_lightgbm_booster_answers_its_scores_and_the_gate_says_what_it_scored(tmp_path: Path) -> None:
    import mlflow.lightgbm

    booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, Y), num_boost_round=3)
    mlflow.lightgbm.save_model(booster, tmp_path / "model", pip_requirements=[])
    _, runtime = open_file(tmp_path / "model")
    assert np.array_equal(runtime.predict({"input": X}, None)["prediction"], booster.predict(X))
    pd.DataFrame(X).assign(target=Y).to_csv(tmp_path / "rows.csv", index=False)
    found = inspect_model(
        tmp_path / "model", InspectOptions(validation=Validation(tmp_path / "rows.csv", "rows.csv", "target"))
    )
    assert "what it predicts are the scores" in found.notes[0]


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_pandas_categories_survive(people: pd.DataFrame, opened: Any, library: str) -> None:
    features = people.drop(columns="target").assign(code=people.code.astype("category"))
    if library == "lightgbm":
        model: Any = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(features, people.target)
    else:
        model = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True).fit(features, people.target)
    manifest, runtime = opened(model)
    assert {spec.name: spec.datatype for spec in manifest.signature.inputs}["code"] == "BYTES"
    assert manifest.example["code"] in ("007", "010", "Rome")
    rows = people.drop(columns="target").to_dict("records")[:40]
    expected = model.predict_proba(features.iloc[:40])
    for some in (rows, rows[:1]):
        answers = runtime.predict(rows_to_inputs(some, manifest.signature), None)
        assert np.allclose(answers["probabilities"], expected[: len(some)])


# -- skops --------------------------------------------------------------------------------


class Stubborn(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A class that skops does not know."""

    def fit(self, rows: Any, labels: Any) -> Stubborn:
        self.classes_, self.n_features_in_ = np.unique(labels), rows.shape[1]
        return self

    def predict(self, rows: Any) -> Any:
        return np.full(len(rows), self.classes_[0])


def test_skops_needs_no_grant_for_what_it_trusts(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=5000).fit(X, Y)
    path = tmp_path / "m.skops"
    skops.io.dump(model, path)
    manifest, runtime = open_file(path)
    assert (manifest.framework, manifest.pickle_granted) == ("skops", False)
    assert np.array_equal(runtime.predict({"input": X}, None)["prediction"], model.predict(X))


@pytest.mark.parametrize("name", ["m.skops", "m.joblib"])
def test_another_minor_version_of_scikit_learn_is_refused_and_the_way_to_serve_it_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.2.3")
        dump = skops.io.dump if name.endswith(".skops") else joblib.dump
        dump(LogisticRegression(max_iter=5000).fit(X, Y), tmp_path / name)
    with pytest.raises(ModelLoadFailed, match=r"saved with scikit-learn 1\.2\.3 .*'tidegate register FILE") as refused:
        open_file(tmp_path / name, allow_pickle=True)
    assert "an environment with scikit-learn 1.2 for it" in refused.value.message


def test_skops_names_the_types_it_does_not_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, Stubborn.__module__, sys.modules[Stubborn.__module__])
    path = tmp_path / "m.skops"
    skops.io.dump(Stubborn().fit(X, Y), path)
    with pytest.raises(PickleNotGranted, match=r"Stubborn.*--allow-pickle"):
        open_file(path)
    path = path.rename(tmp_path / "granted.skops")
    assert open_file(path, allow_pickle=True)[0].signature.n_features == 30


# -- MLflow --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fmt", ["skops", "pickle", "cloudpickle"])
def test_an_mlflow_sklearn_directory_is_read_without_mlflow(tmp_path: Path, fmt: str) -> None:
    import mlflow.sklearn
    from mlflow.models import infer_signature

    model = LinearRegression().fit(FRAME, Y)
    folder = tmp_path / "model"
    signature = infer_signature(FRAME, model.predict(FRAME))
    mlflow.sklearn.save_model(
        model, folder, serialization_format=fmt, signature=signature, pip_requirements=[], input_example=FRAME[5:7]
    )
    source = read_source(folder)
    assert source.needs_pickle_grant == (fmt != "skops")
    manifest, runtime = open_file(folder, allow_pickle=fmt != "skops")
    assert manifest.example == pytest.approx(FRAME.iloc[5].to_dict())
    assert np.allclose(runtime.predict({"rows": X}, None)["prediction"], model.predict(FRAME))


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_sklearn_directory_answers_with_its_pyfunc_predict_fn(tmp_path: Path) -> None:
    import mlflow.sklearn

    names = np.array(["no", "yes"])[Y]
    model = LogisticRegression(max_iter=5000).fit(FRAME, names)
    folder = tmp_path / "model"
    mlflow.sklearn.save_model(
        model, folder, pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle", pip_requirements=[]
    )
    manifest, runtime = open_file(folder, allow_pickle=True)
    for one in (runtime, load(manifest, Path(manifest.package_dir))):
        answers = one.predict({"packed": X}, None)
        assert answers.keys() == {"prediction"}
        assert np.array_equal(answers["prediction"], model.predict_proba(FRAME))
    FRAME.assign(target=names).to_csv(tmp_path / "rows.csv", index=False)
    validation = Validation(tmp_path / "rows.csv", "rows.csv", "target")
    found = inspect_model(folder, InspectOptions(allow_pickle=True, validation=validation))
    assert found.score is not None
    assert found.score.value == pytest.approx(np.mean(model.predict(FRAME) == names))


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_python_function_needs_a_grant_and_is_loaded_by_mlflow(tmp_path: Path) -> None:
    import mlflow.pyfunc
    from mlflow.types import ColSpec, Schema

    class Adder(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined] # MLflow exports it untyped
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # MLflow reads hints
            return model_input["a"] + model_input["b"]

    signature = mlflow.models.ModelSignature(Schema([ColSpec("double", "a"), ColSpec("double", "b")]))
    folder = tmp_path / "adder"
    mlflow.pyfunc.save_model(folder, python_model=Adder(), signature=signature, pip_requirements=[])
    with pytest.raises(PickleNotGranted, match="Python function"):
        open_file(folder)
    manifest, runtime = open_file(folder.rename(tmp_path / "granted"), allow_pickle=True)
    assert manifest.framework == "pyfunc"
    inputs = rows_to_inputs([{"a": 1.0, "b": 2.0}, {"a": 5.0, "b": 0.5}], manifest.signature)
    assert runtime.predict(inputs, None)["prediction"].tolist() == [3.0, 5.5]


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_xgboost_directory_keeps_the_class(tmp_path: Path) -> None:
    import mlflow.xgboost

    model = xgboost.XGBClassifier(n_estimators=3).fit(X, Y)
    mlflow.xgboost.save_model(model, tmp_path / "model", pip_requirements=[])
    manifest, runtime = open_file(tmp_path / "model")
    assert manifest.framework == "xgboost"
    assert np.array_equal(runtime.predict({"input": X}, None)["prediction"], model.predict(X))


def test_our_packages_can_be_loaded_by_mlflow(tmp_path: Path) -> None:
    import mlflow.pyfunc

    model = LogisticRegression(max_iter=5000).fit(X, Y)
    skops.io.dump(model, tmp_path / "m.skops")
    package = wrap(read_source(tmp_path / "m.skops"), tmp_path / "package")
    assert np.array_equal(mlflow.pyfunc.load_model(str(package.dir)).predict(X), model.predict(X))


def test_a_missing_framework_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightgbm.train({"verbose": -1}, lightgbm.Dataset(X, Y), num_boost_round=1).save_model(tmp_path / "m.txt")
    package = wrap(read_source(tmp_path / "m.txt"), tmp_path / "package")
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingLibrary, match="pip install lightgbm"):
        inspect_model(package.dir, InspectOptions())


def test_a_damaged_onnx_file_is_no_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(json.dumps({"flavors": {"onnx": {"data": "model.onnx"}}}))
    (folder / "model.onnx").write_bytes(b"\x08\x08nonsense")
    with pytest.raises(NotAModel, match="no ONNX model"):
        inspect_model(folder, InspectOptions())
