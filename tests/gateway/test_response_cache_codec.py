"""What counts as the same request, and answers that come back as they were written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from support.gateway_replica import SIGNATURE
from tidegate.dataplane.batching.batcher import Batcher
from tidegate.dataplane.calls.call import Call, Destination, Identity
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.gateway.shared.response_cache_codec import (
    ANSWER_BYTES_MAX,
    INPUT_BYTES_MAX,
    read_answer,
    request_key,
    write_answer,
)

KEY = "tidegate:answer:sums:1:0123"
SCOPE = b"salt\0sums\x001\0digest"


class Nobody:
    connection: object = None

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None: ...

    def fail(self, call: Call, error: Any) -> None: ...


def call_of(packed: Any = None, tensors: dict[str, Any] | None = None, rows: int = 1, **more: Any) -> Call:
    where = Destination(Identity("sums", "sums", "1", "1"), SIGNATURE, [1, 2, 3], Batcher.__new__(Batcher))
    call = Call(Nobody(), where, "id", rows)
    call.packed, call.tensors = packed, tensors
    for name, value in more.items():
        setattr(call, name, value)
    return call


def key(call: Call, scope: bytes = SCOPE) -> str | None:
    return request_key(scope, call)


def test_spellings_of_the_same_rows_have_one_key() -> None:
    told = [
        call_of([[1, 2, 3]]),
        call_of([[1.0, 2.0, 3.0]]),
        call_of(np.array([[1, 2, 3]], dtype=np.int64)),
        call_of(np.array([[1, 2, 3]], dtype=np.float32)),
        call_of(np.array([[1, 0, 2, 0, 3, 0]], dtype=np.float64)[:, ::2]),  # a view with gaps
        call_of(np.asfortranarray([[1.0, 2.0, 3.0]])),
    ]
    assert len({key(call) for call in told}) == 1
    assert key(told[0]) is not None


def test_the_order_of_columns_makes_no_difference() -> None:
    a, b = np.array([1.5]), np.array(["x"], dtype=object)
    assert key(call_of(tensors={"a": a, "b": b})) == key(call_of(tensors={"b": b, "a": a}))


def text(*words: object) -> np.ndarray[Any, Any]:
    return np.array(words, dtype=object)


def test_whatever_a_model_could_tell_apart_has_another_key() -> None:
    told = [
        call_of([[1, 2, 3]]),
        call_of([[1, 2, 4]]),
        call_of([[1, 2, 3], [1, 2, 3]], rows=2),
        call_of([[1, 2, float("nan")]]),
        call_of([[0.0, 0.0, 0.0]]),
        call_of([[-0.0, 0.0, 0.0]]),
        call_of([[1, 2, 3]], params='{"a":1}'),
        call_of([[1, 2, 3]], wanted=frozenset({"prediction"})),
        call_of(tensors={"a": text("ab", "c")}),
        call_of(tensors={"a": text("a", "bc")}),
        call_of(tensors={"a": text("a", None)}),
        call_of(tensors={"a": text("a", b"bc")}),
        call_of(tensors={"b": text("ab", "c")}),
        call_of(tensors={"a": np.array([1], dtype=np.int64)}),
        call_of(tensors={"a": np.array([1], dtype=np.uint64)}),
        call_of(tensors={"a": np.array([True])}),
        call_of(tensors={"a": np.array([[1]], dtype=np.int64)}),
    ]
    keys = [key(call) for call in told]
    assert len(set(keys)) == len(told)
    assert None not in keys
    assert key(told[0], SCOPE + b"2") != keys[0]


@pytest.mark.parametrize(
    "call",
    [
        call_of([[1, 2, 3]] * (INPUT_BYTES_MAX // 24 + 1), rows=INPUT_BYTES_MAX // 24 + 1),
        call_of([[1, 2], [3]], rows=2),
        call_of(tensors={"a": np.array([object()])}),
    ],
    ids=["large", "ragged", "an object"],
)
def test_some_requests_have_none(call: Call) -> None:
    assert key(call) is None


def outputs_of(rows: int) -> Outputs:
    values = np.arange(rows, dtype=np.float64)
    return Outputs({"prediction": values, "probabilities": np.column_stack([values, values + 0.1])})


def test_an_answer_comes_back_as_it_was() -> None:
    call = call_of([[1, 2, 3]] * 2, rows=2)
    written = write_answer(KEY, call, outputs_of(5), 3)
    assert written is not None
    read = read_answer(KEY, written, call)
    assert read is not None
    assert read.tensors["prediction"].tolist() == [3.0, 4.0]
    assert read.tensors["probabilities"].tolist() == [[3.0, 3.1], [4.0, 4.1]]
    assert read.tensors["prediction"].dtype == np.float64


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", b"\xff", None], dtype=object),
        np.array([[True, False]] * 3),
        np.array([1, 2, 3], dtype=">i4"),
        np.array([1, 2, 3], dtype=np.float16),
        np.zeros((3, 0, 2), dtype=np.uint8),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays_of_every_kind_come_back(array: np.ndarray[Any, Any]) -> None:
    call = call_of([[1, 2, 3]] * 3, rows=3, wanted=frozenset({"prediction"}))
    written = write_answer(KEY, call, Outputs({"prediction": array, "unasked": array}), 0)
    assert written is not None
    read = read_answer(KEY, written, call)
    assert read is not None
    assert list(read.tensors) == ["prediction"]
    assert read.tensors["prediction"].tolist() == array.tolist()
    assert read.tensors["prediction"].shape == array.shape


def test_an_answer_that_is_too_large_is_not_kept() -> None:
    call = call_of([[1, 2, 3]])
    large = np.zeros((1, ANSWER_BYTES_MAX // 8))
    assert write_answer(KEY, call, Outputs({"prediction": large, "probabilities": large}), 0) is None


def damaged() -> dict[str, Callable[[bytes], bytes]]:
    others = write_answer(KEY + "4", call_of([[1, 2, 3]]), outputs_of(1), 0) or b""
    alone = write_answer(KEY, call_of([[1, 2, 3]]), Outputs({"prediction": np.zeros(1)}), 0) or b""
    two_rows = write_answer(KEY, call_of([[1, 2, 3]] * 2, rows=2), outputs_of(2), 0) or b""
    return {
        "empty": lambda _: b"",
        "cut": lambda written: written[:-1],
        "text": lambda _: b"hello",
        "another datatype": lambda written: written.replace(b"<f8", b"<i3"),
        "objects": lambda written: written.replace(b"<f8", b"|O8"),
        "another's": lambda _: others,
        "one output alone": lambda _: alone,
        "other rows": lambda _: two_rows,
    }


@pytest.mark.parametrize("damage", damaged().values(), ids=damaged().keys())
def test_what_is_no_answer_to_this_call_is_not_read(damage: Callable[[bytes], bytes]) -> None:
    call = call_of([[1, 2, 3]])
    written = write_answer(KEY, call, outputs_of(1), 0)
    assert written is not None
    assert read_answer(KEY, damage(written), call) is None
