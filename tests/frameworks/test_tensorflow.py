"""SavedModels and Keras files from the file to the answer, compared with TensorFlow's own answers."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from support.frameworks import needs, serving
from support.platform import Platform

needs("tensorflow", "keras")

import keras
import tensorflow as tf
from tritonclient import grpc

from tidegate.errors import ModelLoadFailed, NoSuchDevice, PickleNotGranted
from tidegate.packaging import read_source
from tidegate.runtimes import open_model

# Keras, as of 3.15, saves variables in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# As the runtime sets it: TensorFlow takes it only before its first operation, which here is a test's.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

LEFT = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
RIGHT = np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32)
WEIGHTS = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)


class TwoSided(tf.Module):  # type: ignore[misc]
    """Two inputs and two outputs; texts by a signature of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(WEIGHTS)

    def serve(self, left: Any, right: Any) -> Any:
        logits = tf.concat([left, right], 1) @ self.weights
        return {"logits": logits, "probability": tf.nn.softmax(logits)}

    def words(self, text: Any) -> Any:
        return {"length": tf.strings.length(text, unit="UTF8_CHAR"), "upper": tf.strings.upper(text, encoding="utf-8")}


def saved(folder: Path, *, default: str = "serve") -> Path:
    module = TwoSided()
    floats = [tf.TensorSpec([None, 4], tf.float32, "left"), tf.TensorSpec([None, 2], tf.float32, "right")]
    serve = tf.function(module.serve).get_concrete_function(*floats)
    words = tf.function(module.words).get_concrete_function(tf.TensorSpec([None], tf.string, "text"))
    signatures = {"serve": serve, "words": words}
    more = {} if default == "words" else {"words": words}
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signatures[default], **more})
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("tensorflow") / "two")


def network() -> Any:
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="left"), keras.Input((1,), name="right", dtype="int32")
    hidden = keras.layers.Dense(8, activation="relu")(left)
    place = keras.layers.Flatten()(keras.layers.Embedding(5, 8)(right))
    both = keras.layers.Add()([hidden, place])
    label = keras.layers.Dense(3, activation="softmax", name="label")(both)
    return keras.Model([left, right], [label, keras.layers.Dense(1, name="price")(both)])


@pytest.fixture(scope="session")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "two.keras"
    network().save(path)
    return path


def opened(path: Path, into: Path, **options: Any) -> Any:
    return open_model(path, "m", into=into / "package", **options)


def said() -> dict[str, np.ndarray[Any, Any]]:
    return {name: value.numpy() for name, value in TwoSided().serve(LEFT, RIGHT).items()}


def test_a_saved_model_by_the_names_of_its_signature(folder: Path, tmp_path: Path) -> None:
    manifest, runtime = opened(folder, tmp_path)
    assert (manifest.framework, manifest.batchable) == ("tensorflow", True)
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.signature.inputs] == [
        ("left", "FP32", (-1, 4)),
        ("right", "FP32", (-1, 2)),
    ]
    answers = runtime.predict({"left": LEFT, "right": RIGHT}, None)
    for name, expected in said().items():
        np.testing.assert_allclose(answers[name], expected, rtol=1e-6, atol=1e-6)


def test_texts_go_in_and_come_out_whole(tmp_path: Path) -> None:
    _, runtime = opened(saved(tmp_path / "words", default="words"), tmp_path)
    texts = np.array(["007", "größe", ""], dtype=object)
    answers = runtime.predict({"text": texts}, None)
    assert answers["upper"].tolist() == ["007", "GRÖSSE" if "SS" in answers["upper"][1] else "GRÖßE", ""]
    assert answers["length"].tolist() == [3, 5, 0]


def test_a_graph_that_reaches_files_needs_the_grant(tmp_path: Path) -> None:
    class Reader(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "name")])  # type: ignore[untyped-decorator]
        def read(self, name: Any) -> Any:
            return {"content": tf.map_fn(tf.io.read_file, name)}

    module = Reader()
    tf.saved_model.save(module, str(tmp_path / "reader"), signatures={"serving_default": module.read})
    with pytest.raises(PickleNotGranted, match="ReadFile"):
        opened(tmp_path / "reader", tmp_path)


def test_a_saved_model_without_a_signature_to_serve(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(ModelLoadFailed, match="serving_default"):
        opened(tmp_path / "empty", tmp_path)


def test_a_keras_file_with_several_inputs_and_outputs(keras_file: Path, tmp_path: Path) -> None:
    assert read_source(keras_file).pickle_reason is None
    manifest, runtime = opened(keras_file, tmp_path)
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.signature.inputs] == [
        ("left", "FP32", (-1, 4)),
        ("right", "INT32", (-1, 1)),
    ]
    places = np.arange(5, dtype=np.int32).reshape(5, 1)
    expected = network()([LEFT, places], training=False)
    answers = runtime.predict({"left": LEFT, "right": places}, None)
    assert list(answers) == ["label", "price"]
    for answer, one in zip(answers.values(), expected, strict=True):
        np.testing.assert_allclose(answer, one.numpy(), rtol=1e-5, atol=1e-6)
    assert tf.config.threading.get_intra_op_parallelism_threads() == 1


def test_one_input_and_dictionaries(tmp_path: Path) -> None:
    plain = keras.Sequential([keras.Input((4,), name="row"), keras.layers.Dense(2, name="score")])
    plain.save(tmp_path / "plain.keras")
    _, runtime = opened(tmp_path / "plain.keras", tmp_path / "a")
    np.testing.assert_allclose(runtime.predict({"row": LEFT}, None)["score"], plain(LEFT).numpy(), rtol=1e-5, atol=1e-6)
    given = {"b": keras.Input((4,), name="b"), "a": keras.Input((4,), name="a")}
    named = keras.Model(given, {"sum": keras.layers.Add()([given["a"], given["b"]]), "same": given["b"] * 1.0})
    named.save(tmp_path / "named.keras")
    manifest, runtime = opened(tmp_path / "named.keras", tmp_path / "b")
    assert {spec.name for spec in manifest.signature.inputs} == {"a", "b"}
    answers = runtime.predict({"a": LEFT, "b": LEFT * 2}, None)
    np.testing.assert_allclose(answers["sum"], LEFT * 3, rtol=1e-6)
    np.testing.assert_allclose(answers["same"], LEFT * 2, rtol=1e-6)


def test_a_lambda_needs_the_grant(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda row: row * 2)]).save(tmp_path / "lambda.keras")
    with pytest.raises(PickleNotGranted, match="Lambda"):
        opened(tmp_path / "lambda.keras", tmp_path)
    _, runtime = opened(tmp_path / "lambda.keras", tmp_path / "granted", allow_pickle=True)
    np.testing.assert_allclose(next(iter(runtime.predict({"input_layer": LEFT}, None).values())), LEFT * 2)


def test_a_class_from_elsewhere_needs_the_grant(keras_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.keras"
    with zipfile.ZipFile(keras_file) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = content.replace(
                    b'"module": "keras.layers", "class_name": "Add"', b'"module": "os", "class_name": "system"'
                )
            new.writestr(name, content)
    assert "'os'" in str(read_source(bad).pickle_reason)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_a_device_that_is_not_there(keras_file: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSuchDevice, match="available: cpu"):
        opened(keras_file, tmp_path, device="cuda:0")


def check_rows(url: str) -> None:
    """TensorFlow Serving's own two forms, and V2."""
    expected = said()
    rows = [{"left": left.tolist(), "right": right.tolist()} for left, right in zip(LEFT, RIGHT, strict=True)]
    asked = {"signature_name": "serving_default", "instances": rows}
    answer = httpx.post(f"{url}/v1/models/two:predict", json=asked, timeout=30)
    assert answer.status_code == 200, answer.text
    for name in expected:
        np.testing.assert_allclose([row[name] for row in answer.json()["predictions"]], expected[name], rtol=1e-5)
    columns = {"inputs": {"left": LEFT.tolist(), "right": RIGHT.tolist()}}
    answer = httpx.post(f"{url}/v1/models/two:predict", json=columns, timeout=30)
    np.testing.assert_allclose(answer.json()["outputs"]["logits"], expected["logits"], rtol=1e-5)
    wrong = httpx.post(f"{url}/v1/models/two:predict", json={**columns, "signature_name": "other"}, timeout=30)
    assert wrong.status_code == 422
    assert wrong.json()["error"] == "signature_name: the model has no signature 'other'; it has serving_default, words"
    check_other_signature(url)
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
        for name, array in (("left", LEFT), ("right", RIGHT))
    ]
    answer = httpx.post(f"{url}/v2/models/two/infer", json={"inputs": inputs}, timeout=30)
    found = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]}
    np.testing.assert_allclose(found["probability"], expected["probability"], rtol=1e-5)


def check_other_signature(url: str) -> None:
    """TensorFlow Serving's `signature_name`, and the parameter of the same name in V2."""
    said = httpx.get(f"{url}/v1/models/two/metadata", timeout=30).json()["metadata"]["signature_def"]["signature_def"]
    assert list(said) == ["serving_default", "words"]
    assert said["words"]["inputs"]["text"]["dtype"] == "DT_STRING"
    asked: dict[str, Any] = {"signature_name": "words", "instances": ["007", "tide"]}
    answer = httpx.post(f"{url}/v1/models/two:predict", json=asked, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == [{"length": 3, "upper": "007"}, {"length": 4, "upper": "TIDE"}]
    asked = {"signature_name": "words", "inputs": {"left": [[1, 2, 3, 4]]}}
    wrong = httpx.post(f"{url}/v1/models/two:predict", json=asked, timeout=30)
    assert wrong.status_code == 422
    assert "text" in wrong.json()["error"]
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["gate"]}
    body: dict[str, Any] = {"inputs": [text], "outputs": [{"name": "upper"}], "parameters": {"signature_name": "words"}}
    answer = httpx.post(f"{url}/v2/models/two/infer", json=body, timeout=30)
    assert [(one["name"], one["data"]) for one in answer.json()["outputs"]] == [("upper", ["GATE"])]
    empty = {"inputs": [{**text, "shape": [0], "data": []}], "parameters": {"signature_name": "words"}}
    answer = httpx.post(f"{url}/v2/models/two/infer", json=empty, timeout=30)
    assert {one["name"]: one["shape"] for one in answer.json()["outputs"]} == {"length": [0], "upper": [0]}


@pytest.mark.slow
def test_from_the_saved_model_to_the_gateways_answer(platform: Platform, folder: Path) -> None:
    platform.done("deploy", str(folder), "--name", "two", timeout_s=180)
    check_rows(platform.gateway_url)


@pytest.mark.slow
def test_from_the_keras_file_to_the_gateways_answer(platform: Platform, keras_file: Path) -> None:
    platform.done("deploy", str(keras_file), "--name", "network", timeout_s=180)
    row = {"left": LEFT[0].tolist(), "right": [3]}
    answer = platform.ask("/v1/models/network:predict", {"instances": [row]})
    assert answer.status_code == 200, answer.text
    label, price = network()([LEFT[:1], np.array([[3]], np.int32)], training=False)
    np.testing.assert_allclose(answer.json()["predictions"][0]["label"], label.numpy()[0], rtol=1e-5)
    np.testing.assert_allclose(answer.json()["predictions"][0]["price"], price.numpy()[0], rtol=1e-5)


@pytest.mark.slow
def test_served_alone(folder: Path, tmp_path: Path) -> None:
    two = shutil.copytree(folder, tmp_path / "two")
    with serving(str(two)) as url:
        check_rows(url)
        with grpc.InferenceServerClient(f"127.0.0.1:{int(url.rpartition(':')[2]) + 1}") as client:
            text = grpc.InferInput("text", [1], "BYTES")
            text.set_data_from_numpy(np.array(["tide"], dtype=object))
            answer = client.infer("two", [text], parameters={"signature_name": "words"})
            assert answer.as_numpy("length").tolist() == [4]
