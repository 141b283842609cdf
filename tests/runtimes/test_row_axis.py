"""Graphs whose axes are no rows: served row after row where they can be, refused with the reason elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegate import runtimes
from tidegate.errors import ModelLoadFailed
from tidegate.wire.signature import Signature

Open = Callable[..., tuple[Signature, Any]]
Side = int | str
HIDDEN = 4


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Writes a graph, registers it as a deployment would, and gives what it takes and what answers."""

    def open_(nodes: list[Any], inputs: dict[str, list[Side]], outputs: dict[str, list[Side]]) -> tuple[Signature, Any]:
        from onnx import TensorProto, checker, helper, save

        def values(tensors: dict[str, list[Side]]) -> list[Any]:
            return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]

        graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), _weights())
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        checker.check_model(model)
        save(model, tmp_path / "m.onnx")
        manifest, runtime = runtimes.open_model(
            tmp_path / "m.onnx", "m", into=tmp_path / "package", allow_pickle=False, code_dir=None
        )
        return manifest.signature, runtime

    return open_


def _weights() -> list[Any]:
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)

    def made(name: str, *shape: int) -> Any:
        return helper.make_tensor(name, TensorProto.FLOAT, shape, rng.normal(size=shape).astype(np.float32).ravel())

    axis = helper.make_tensor("first", TensorProto.INT64, [1], [0])
    weights = [made(f"w{n}", n, 3 * HIDDEN, 3) for n in (1, 2)] + [made(f"r{n}", n, 3 * HIDDEN, HIDDEN) for n in (1, 2)]
    return [*weights, axis]


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    from onnx import helper

    names = [name.replace("-", "") for name in inputs.split()]
    return helper.make_node(kind, names, outputs.split(), **attributes)


def test_a_fixed_batch_is_refused_with_its_shape(opened: Open) -> None:
    with pytest.raises(ModelLoadFailed, match=r"exactly 4 rows a call .*'x' has shape \[4, 3\].*dynamic_axes"):
        opened([node("Relu", "x", "y")], {"x": [4, 3]}, {"y": [4, 3]})


def test_the_layers_of_a_recurrent_state_are_no_rows(opened: Open) -> None:
    gru = node("GRU", "x w2 r2 - - state", "y last", hidden_size=HIDDEN, direction="bidirectional")
    inputs: dict[str, list[Side]] = {"x": ["steps", "n", 3], "state": [2, "n", HIDDEN]}
    with pytest.raises(ModelLoadFailed, match=r"'state' has shape \[2, -1, 4\].*state with its rows first"):
        opened([gru], inputs, {"y": ["steps", 2, "n", HIDDEN], "last": [2, "n", HIDDEN]})


def test_a_state_of_one_layer_is_served_row_after_row(opened: Open) -> None:
    gru = node("GRU", "x w1 r1 - - state", "y last", hidden_size=HIDDEN)
    inputs: dict[str, list[Side]] = {"x": ["steps", "n", 3], "state": [1, "n", HIDDEN]}
    _, runtime = opened([gru], inputs, {"y": ["steps", 1, "n", HIDDEN], "last": [1, "n", HIDDEN]})
    rng = np.random.default_rng(1)
    rows = {name: rng.normal(size=(3, 1, width)).astype(np.float32) for name, width in (("x", 3), ("state", HIDDEN))}
    together = runtime.predict(rows, None)
    for index in range(3):
        alone = runtime.predict({name: array[index : index + 1] for name, array in rows.items()}, None)
        for name, array in alone.items():
            np.testing.assert_array_equal(together[name][index : index + 1], array)


def test_a_scalar_beside_rows_is_one_of_each_row(opened: Open) -> None:
    signature, runtime = opened([node("Mul", "x factor", "y")], {"x": ["n", 3], "factor": []}, {"y": ["n", 3]})
    assert [spec.shape for spec in signature.inputs] == [(-1, 3), (-1,)]
    rows = {"x": np.ones((2, 3), np.float32), "factor": np.array([2, 5], np.float32)}
    assert runtime.predict(rows, None)["y"].tolist() == [[2, 2, 2], [5, 5, 5]]


@pytest.mark.parametrize("keep", [True, False])
def test_a_mean_over_the_rows_is_refused(opened: Open, keep: bool) -> None:
    mean = node("ReduceMean", "x", "y", axes=[0], keepdims=int(keep))
    with pytest.raises(ModelLoadFailed, match=r"with 'y' of shape \[(1, )?3\]: the first axis .* rows"):
        opened([mean], {"x": ["n", 3]}, {"y": [1, 3] if keep else [3]})


def test_the_steps_of_a_sequence_are_no_rows(opened: Open) -> None:
    nodes = [node("GRU", "x w1 r1", "every last", hidden_size=HIDDEN), node("Squeeze", "last first", "y")]
    with pytest.raises(ModelLoadFailed, match=r"answers 2 rows with 'y' of shape \[1, 4\]"):
        opened(nodes, {"x": ["steps", "n", 3]}, {"y": ["n", HIDDEN]})


def test_a_number_for_the_whole_call_is_refused(opened: Open) -> None:
    with pytest.raises(ModelLoadFailed, match="a single value for all rows together"):
        opened([node("ReduceMean", "x", "y", keepdims=0)], {"x": ["n", 3]}, {"y": []})


def test_rows_of_any_number_are_served_together(opened: Open) -> None:
    _, runtime = opened([node("Relu", "x", "y")], {"x": ["n", 3]}, {"y": ["n", 3]})
    assert runtime.predict({"x": np.ones((5, 3), np.float32)}, None)["y"].shape == (5, 3)
