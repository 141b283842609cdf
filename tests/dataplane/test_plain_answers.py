"""Answers to requests of one row are written for a whole batch at once, as each of them would be alone."""

from __future__ import annotations

import json
import struct
from typing import Any, cast

import numpy as np
import pytest

from tidegate.dataplane.base.tensors import Array, rows_array
from tidegate.dataplane.batching.batcher import Batcher
from tidegate.dataplane.calls.call import Call, Destination, Identity
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.dataplane.protocols.plain import PlainEdge
from tidegate.wire.signature import Signature, TensorSpec

WIDTH = 2


class Asked:
    """An exchange as far as an answer's body depends on it."""

    def __init__(self, request_id: str, *, one_row: bool) -> None:
        self.request_id = request_id
        self.meta = one_row


def destination(*outputs: TensorSpec, version: str = "7") -> Destination:
    signature = Signature("tensors", (TensorSpec("x", "FP64", (-1, WIDTH)),), outputs, classes=None)
    return Destination(Identity("e", "m", version, "v"), signature, [1.0, 2.0], Batcher.__new__(Batcher))


def body(where: Destination, outputs: Outputs, row: int, request_id: str, *, one_row: bool = True) -> bytes:
    exchange = cast(Any, Asked(request_id, one_row=one_row))
    return PlainEdge().encode(exchange, Call(cast(Any, exchange), where, request_id, 1), outputs, row)


NUMBERS: dict[str, Array] = {
    "labels": np.array([0, 1, -(2**63)], dtype=np.int64),
    "unsigned": np.array([0, 2**64 - 1, 7], dtype=np.uint64),
    "small": np.array([0, 200, 7], dtype=np.uint8),
    "floats": np.array([0.1, -1e300, 5e-324]),
    "not finite": np.array([np.nan, np.inf, -np.inf]),
    "float32": np.array([0.1, 3.4e38, -0.0], dtype=np.float32),
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("sure", [True, False])
def test_a_row_of_a_batch_is_answered_as_it_is_alone(kind: str, sure: bool) -> None:
    specs = [TensorSpec("prediction", "FP64", (-1,))] + [TensorSpec("probabilities", "FP64", (-1, 2))] * sure
    where = destination(*specs, version='of "7"')
    tensors = {"prediction": NUMBERS[kind]}
    if sure:
        tensors["probabilities"] = np.array([[0.3, 0.7], [1.0, 0.0], [np.nan, 0.5]])
    together = Outputs(tensors)
    for row in range(3):
        alone = Outputs({name: array[row : row + 1] for name, array in tensors.items()})
        assert body(where, together, row, "id-1") == body(where, alone, 0, "id-1")
        several = json.loads(body(where, together, row, "id-1", one_row=False))
        if sure:
            several["confidence"] = several["confidence"][0]
        assert json.loads(body(where, together, row, "id-1")) == several
        assert list(json.loads(body(where, together, row, "id-1"))) == list(several)


def test_an_id_is_written_as_json() -> None:
    where = destination(TensorSpec("prediction", "INT64", (-1,)))
    outputs = Outputs({"prediction": np.array([3])})
    assert body(where, outputs, 0, 'a"b\\c') == rb'{"prediction":[3],"model_version":"7","id":"a\"b\\c"}'


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (np.array(["a,b", 'c"d'], dtype=object), ["a,b"]),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), [[1.0, 2.0]]),
        (np.array([True, False]), [True]),
    ],
)
def test_what_is_no_single_number_is_written_for_itself(prediction: Any, expected: list[Any]) -> None:
    where = destination(TensorSpec("prediction", "FP64", (-1,)))
    answer = json.loads(body(where, Outputs({"prediction": prediction}), 0, "x"))
    assert answer == {"prediction": expected, "model_version": "7", "id": "x"}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_rows_become_the_matrix_that_numpy_makes_of_them(dtype: Any) -> None:
    floats: list[list[Any]] = [[1, 2.5, -0.0], [float("nan"), 1e-320, 3.0], [True, 7, 0.1]]
    rows = [[1, 2], [3, 4]] if dtype is np.int64 else floats
    matrix = rows_array(rows, np.dtype(dtype))
    expected = np.array(rows, dtype=dtype)
    assert (matrix.tobytes(), matrix.dtype, matrix.shape) == (expected.tobytes(), expected.dtype, expected.shape)
    assert matrix.flags.writeable


def test_what_is_no_row_of_floats_is_left_to_numpy() -> None:
    floats = np.dtype(np.float64)
    assert np.isnan(rows_array([[None, 1.0]], floats)[0, 0])
    assert rows_array([["1.5", 2.0]], floats).tolist() == [[1.5, 2.0]]
    assert rows_array([], floats).shape == (0,)
    with pytest.raises(ValueError, match="inhomogeneous"):
        rows_array([[1.0, 2.0], [3.0]], floats)
    with pytest.raises(OverflowError):
        rows_array([[10**400]], floats)
    assert struct.unpack("<2d", rows_array([[1.0], [2.0]], floats).tobytes()) == (1.0, 2.0)


def test_bytes_that_are_no_text_are_base64() -> None:
    where = destination(TensorSpec("prediction", "BYTES", (-1,)))
    values = np.empty(3, dtype=object)
    values[:] = [b"\xff\x00", "ä", b"text"]
    answers = [json.loads(body(where, Outputs({"prediction": values}), row, "x"))["prediction"] for row in range(3)]
    assert answers == [[{"b64": "/wA="}], ["ä"], ["text"]]
