"""Tensors of a model as the columns that are watched, the same for validation data and for captured rows."""

from __future__ import annotations

import numpy as np

from tidegate.core.monitoring.columns import PROJECTIONS, watched_columns
from tidegate.wire.signature import Signature, TensorSpec

LABEL = TensorSpec("prediction", "INT64", (-1,))


def test_a_matrix_without_names_has_numbered_columns_whatever_its_tensor_is_called() -> None:
    signature = Signature("matrix", (TensorSpec("input", "FP64", (-1, 3)),), (LABEL,))
    for name in ("input", "x"):
        found = watched_columns(signature, {name: np.arange(6.0).reshape(2, 3)}, {"prediction": np.array([0, 1])})
        assert list(found.values) == ["feature_0", "feature_1", "feature_2", "prediction"]
        assert found.values["feature_1"].tolist() == [1.0, 4.0]
        assert found.of("output")["prediction"].tolist() == [0, 1]


def test_named_columns_are_the_same_whether_they_came_apart_or_as_one_tensor() -> None:
    signature = Signature("columns", tuple(TensorSpec(name, "FP64", (-1,)) for name in ("age", "income")), (LABEL,))
    apart = watched_columns(signature, {"age": np.array([1.0, 2.0]), "income": np.array([3.0, 4.0])})
    packed = watched_columns(signature, {"whatever": np.array([[1.0, 3.0], [2.0, 4.0]])})
    assert {name: values.tolist() for name, values in apart.values.items()} == {
        name: values.tolist() for name, values in packed.values.items()
    }


def test_marks_of_missing_values_become_missing_values() -> None:
    specs = (
        TensorSpec("age", "INT64", (-1,), nullable=True),
        TensorSpec("town", "BYTES", (-1,), nullable=True),
        TensorSpec("left", "BOOL", (-1,), nullable=True),
    )
    tensors = {
        "age": np.array([1, 2]),
        "age__missing": np.array([False, True]),
        "town": np.array(["x", ""], dtype=object),
        "town__missing": np.array([[False], [True]]),
        "left": np.array([True, False]),
        "left__missing": np.array([False, False]),
    }
    found = watched_columns(Signature("columns", specs, (LABEL,)), tensors).values
    assert list(found) == ["age", "town", "left"]
    assert found["age"][0] == 1
    assert np.isnan(found["age"][1])
    assert found["town"].tolist() == ["x", None]
    assert found["left"].tolist() == [True, False]


def test_probabilities_are_named_by_their_classes_and_labels_are_categories() -> None:
    outputs = (LABEL, TensorSpec("probabilities", "FP64", (-1, 2)))
    signature = Signature("columns", (TensorSpec("prediction", "FP64", (-1,)),), outputs, classes=("no", "yes"))
    answers = {"prediction": np.array([0, 1]), "probabilities": np.array([[0.9, 0.1], [0.2, 0.8]])}
    found = watched_columns(signature, {"prediction": np.array([1.0, 2.0])}, answers)
    assert list(found.of("output")) == ["output_prediction", "probabilities[yes]"]
    assert found.kinds == {"output_prediction": "category"}


def test_an_embedding_is_watched_by_its_norm_and_projections() -> None:
    signature = Signature("tensors", (TensorSpec("vector", "FP32", (-1, 384)),), (LABEL,))
    rows = np.random.default_rng(0).normal(size=(5, 384)).astype(np.float32)
    found = watched_columns(signature, {"vector": rows}).values
    assert list(found) == ["vector.norm", *(f"vector.projection_{place}" for place in range(PROJECTIONS))]
    np.testing.assert_allclose(found["vector.norm"], np.linalg.norm(rows, axis=1), rtol=1e-6)
    again = watched_columns(signature, {"vector": rows}).values
    assert all(np.array_equal(found[name], again[name]) for name in found), "the same directions each time"


def test_what_was_not_captured_is_left_out() -> None:
    signature = Signature("columns", (TensorSpec("a", "FP64", (-1,)), TensorSpec("b", "FP64", (-1,))), (LABEL,))
    assert list(watched_columns(signature, {"b": np.array([1.0])}, {}).values) == ["b"]
