"""`tritonclient[http]`, unmodified, against a real replica and a real gateway: every V2 datatype, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from support.echo_server import DATATYPES

Array = np.ndarray[Any, Any]

_INT_LIMITS = {
    name: np.iinfo(name.lower()) for name in DATATYPES if name.startswith(("INT", "UINT"))
}  # the whole range is kept, also past what a double holds


@pytest.fixture
def client(ports: dict[str, int]) -> Iterator[Any]:
    made = triton.InferenceServerClient(f"127.0.0.1:{ports['tensors']}")
    yield made
    made.close()


def values(datatype: str, rows: int = 2, width: int = 3) -> Array:
    """Awkward ones: limits of the type, text with zeros and accents, infinities."""
    count = rows * width
    flat: Array
    if datatype == "BOOL":
        flat = np.arange(count) % 3 == 0
    elif datatype == "BYTES":
        flat = np.empty(count, dtype=object)
        flat[:] = [[b"007", "Zürich".encode(), b"", b"a\x00b", b" x ", b"\xff\xfe"][n % 6] for n in range(count)]
    elif datatype in _INT_LIMITS:
        limits = _INT_LIMITS[datatype]
        flat = np.array([[limits.min, limits.max, 0, 1, limits.max - 1, 7][n % 6] for n in range(count)], limits.dtype)
    else:
        dtype = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BF16": ml_dtypes.bfloat16}[datatype]
        flat = np.array([[1.5, -0.0, 65504.0, 2.0**-14, 0.1, -3.25][n % 6] for n in range(count)]).astype(dtype)
    return flat.reshape(rows, width)


def inputs_of(arrays: dict[str, Array], *, binary: bool = True) -> list[Any]:
    made = []
    for datatype, array in arrays.items():
        tensor = triton.InferInput(f"in_{datatype}", list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary or datatype in ("FP16", "BF16"))
        made.append(tensor)
    return made


def outputs_of(names: Any, *, binary: bool = True) -> list[Any]:
    return [triton.InferRequestedOutput(f"out_{name}", binary_data=binary) for name in names]


def same(got: Array, sent: Array, datatype: str) -> None:
    assert got.shape == sent.shape
    if datatype == "BYTES":
        assert got.ravel().tolist() == sent.ravel().tolist()
    else:
        assert got.dtype == sent.dtype
        assert got.tobytes() == sent.tobytes()


ALL = {name: values(name) for name in DATATYPES}


def test_every_datatype_at_once_as_binary_data_comes_back_bit_for_bit(client: Any) -> None:
    answer = client.infer("tensors", inputs_of(ALL), outputs=outputs_of(ALL), request_id="mine")
    assert answer.get_response()["id"] == "mine"
    for name, sent in ALL.items():
        assert answer.get_output(f"out_{name}")["datatype"] == name
        same(answer.as_numpy(f"out_{name}"), sent, name)


def test_without_named_outputs_all_of_them_come(client: Any) -> None:
    answer = client.infer("tensors", inputs_of(ALL))
    for name, sent in ALL.items():
        same(answer.as_numpy(f"out_{name}"), sent, name)


def test_json_both_ways_keeps_every_value(client: Any) -> None:
    """FP16 and BF16 have no JSON form: those two stay binary. Bytes that are no text cannot stand in JSON at all."""
    texts = np.array([[b"007", "Zürich".encode(), b" x "]] * 2, dtype=object)
    arrays = ALL | {"BYTES": texts}
    answer = client.infer("tensors", inputs_of(arrays, binary=False), outputs=outputs_of(arrays, binary=False))
    for name, sent in arrays.items():
        got = answer.as_numpy(f"out_{name}")
        same(np.array([[str(v).encode() for v in row] for row in got], object) if name == "BYTES" else got, sent, name)


@pytest.mark.parametrize("binary", [True, False])
def test_zero_rows(client: Any, binary: bool) -> None:
    empty = {name: values(name)[:0] for name in DATATYPES}
    answer = client.infer("tensors", inputs_of(empty, binary=binary), outputs=outputs_of(empty, binary=binary))
    for name in DATATYPES:
        described = answer.get_output(f"out_{name}")
        assert (described["shape"][0], described["datatype"]) == (0, name)


def test_many_rows_of_every_datatype(client: Any) -> None:
    arrays = {name: values(name, 2_000, 12) for name in DATATYPES}
    wanted = ["FP64", "INT64", "BYTES", "BF16"]
    answer = client.infer("tensors", inputs_of(arrays), outputs=outputs_of(wanted))
    for name in wanted:
        same(answer.as_numpy(f"out_{name}"), arrays[name], name)


def test_a_tensor_of_16_mb(ports: dict[str, int]) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{ports['one']}", network_timeout=60)
    sent = np.arange(1 << 22, dtype=np.float32).reshape(-1, 2)
    tensor = triton.InferInput("x", list(sent.shape), "FP32")
    tensor.set_data_from_numpy(sent)
    same(client.infer("one", [tensor]).as_numpy("y"), sent, "FP32")
    client.close()


@pytest.mark.parametrize("asked", ["gzip", "deflate"])
def test_compression_both_ways(client: Any, asked: str) -> None:
    arrays = {name: values(name, 200) for name in DATATYPES}
    answer = client.infer(
        "tensors",
        inputs_of(arrays),
        outputs=outputs_of(arrays),
        request_compression_algorithm=asked,
        response_compression_algorithm=asked,
    )
    for name, sent in arrays.items():
        same(answer.as_numpy(f"out_{name}"), sent, name)


def test_async_calls_share_batches_and_keep_apart(client: Any) -> None:
    sent = [{name: values(name, 1 + turn) for name in DATATYPES} for turn in range(6)]
    waiting = [client.async_infer("tensors", inputs_of(arrays), outputs=outputs_of(["INT64"])) for arrays in sent]
    for arrays, one in zip(sent, waiting, strict=True):
        same(one.get_result().as_numpy("out_INT64"), arrays["INT64"], "INT64")


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tensors")
    assert client.is_model_ready("tensors", "3")
    assert not client.is_model_ready("nothing")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("tensors", "3")
    assert [one["datatype"] for one in metadata["inputs"]] == list(DATATYPES)
    assert [one["datatype"] for one in metadata["outputs"]] == list(DATATYPES)
    assert metadata["versions"] == ["3"]


def test_a_pinned_version(client: Any) -> None:
    answer = client.infer("tensors", inputs_of(ALL), model_version="3", outputs=outputs_of(["INT8"]))
    same(answer.as_numpy("out_INT8"), ALL["INT8"], "INT8")
    with pytest.raises(InferenceServerException, match=r"'9'.*not running"):
        client.infer("tensors", inputs_of(ALL), model_version="9")


def test_errors_reach_the_client_in_its_own_words(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="missing 'in_BYTES'") as caught:
        client.infer("tensors", inputs_of({name: array for name, array in ALL.items() if name != "BYTES"}))
    assert caught.value.status() == "422"
    with pytest.raises(InferenceServerException, match="no output 'out_NONE'"):
        client.infer("tensors", inputs_of(ALL), outputs=outputs_of(["NONE"]))
    with pytest.raises(InferenceServerException, match="disagree about the number of rows"):
        client.infer("tensors", inputs_of(ALL | {"INT8": values("INT8", 5)}))
