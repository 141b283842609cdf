"""The hand-written codec against protobuf's own, and against bytes that are no message."""

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from tidegate.dataplane.grpc import protobuf
from tidegate.dataplane.grpc.messages import (
    TensorHead,
    read_infer_request,
    read_name_and_version,
    typed_array,
    write_flag,
    write_infer_response,
    write_model,
    write_model_metadata,
    write_server_metadata,
    write_tensor_head,
)
from tidegate.errors import MalformedRequest, TidegateError, UnfitInput

TEXT = st.text(max_size=200)
SHAPE = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5)


@settings(max_examples=200, deadline=None)
@given(
    TEXT, TEXT, TEXT, st.lists(st.tuples(TEXT, SHAPE, st.binary(max_size=6000)), max_size=5), st.lists(TEXT, max_size=3)
)
def test_requests_are_read_as_protobuf_wrote_them(
    name: str, version: str, number: str, tensors: list[Any], outputs: list[str]
) -> None:
    message = service_pb2.ModelInferRequest(model_name=name, model_version=version, id=number)
    message.parameters["user_id"].string_param = "anna"
    message.parameters["flag"].bool_param = True
    message.parameters["many"].int64_param = -3
    for tensor, shape, raw in tensors:
        message.inputs.add(name=tensor, datatype="FP32", shape=shape)
        message.raw_input_contents.append(raw)
    for output in outputs:
        message.outputs.add(name=output)
    read = read_infer_request(message.SerializeToString())
    assert (read.model_name, read.model_version, read.id, read.outputs) == (name, version, number, outputs)
    assert read.parameters == {"user_id": "anna", "flag": True, "many": -3}
    assert read.inputs == [TensorHead(tensor, "FP32", tuple(shape)) for tensor, shape, _ in tensors]
    assert [bytes(raw) for raw in read.raw] == [raw for *_, raw in tensors]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=300))
def test_packed_numbers(values: list[int]) -> None:
    message = service_pb2.InferTensorContents(int64_contents=values)
    read = typed_array(TensorHead("x", "INT64", (len(values),)), message.SerializeToString())
    assert read.tolist() == values


def test_numbers_that_are_not_packed() -> None:
    contents = b"".join(protobuf.number(3, value) for value in (1, -2, 300))
    assert typed_array(TensorHead("x", "INT64", (3,)), contents).tolist() == [1, -2, 300]
    floats = b"".join(b"\x35" + np.float32(value).tobytes() for value in (1.5, -2.0))
    assert typed_array(TensorHead("x", "FP32", (2,)), floats).tolist() == [1.5, -2.0]


def test_numbers_out_of_range_are_refused() -> None:
    contents = service_pb2.InferTensorContents(int_contents=[1, 300]).SerializeToString()
    with pytest.raises(UnfitInput, match="out of the range of INT8"):
        typed_array(TensorHead("x", "INT8", (2,)), contents)
    with pytest.raises(UnfitInput, match="raw_input_contents only"):
        typed_array(TensorHead("x", "FP16", (2,)), contents)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for read in (
        read_infer_request,
        read_name_and_version,
        lambda found: typed_array(TensorHead("x", "INT32", (2,)), found),
        lambda found: typed_array(TensorHead("x", "BYTES", (2,)), found),
        lambda found: typed_array(TensorHead("x", "FP64", (2,)), found),
    ):
        with contextlib.suppress(TidegateError):
            read(data)


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(MalformedRequest, match="fields"):
        read_infer_request(b"\x52\x00" * 200_000)
    with pytest.raises(MalformedRequest, match="fields"):
        read_infer_request(b"\x50\x01" * 200_000)


def test_responses_are_what_protobuf_reads() -> None:
    heads = [write_tensor_head("a", "FP32", (2, 0)), write_tensor_head("b", "INT64", ())]
    wire = write_infer_response(write_model("model", "3"), "mine", heads, [b"", b"x" * 300])
    response = service_pb2.ModelInferResponse.FromString(wire)
    assert (response.model_name, response.model_version, response.id) == ("model", "3", "mine")
    assert [(one.name, one.datatype, list(one.shape)) for one in response.outputs] == [
        ("a", "FP32", [2, 0]),
        ("b", "INT64", []),
    ]
    assert list(response.raw_output_contents) == [b"", b"x" * 300]
    assert service_pb2.ServerLiveResponse.FromString(write_flag(True)).live
    assert not service_pb2.ServerLiveResponse.FromString(write_flag(False)).live
    server = service_pb2.ServerMetadataResponse.FromString(write_server_metadata("n", "1.0", ["x", "y"]))
    assert (server.name, server.version, list(server.extensions)) == ("n", "1.0", ["x", "y"])


def test_metadata_is_what_protobuf_reads() -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [-1, 3]}
    described = {"name": "m", "versions": ["1", "2"], "platform": "tidegate", "inputs": [tensor], "outputs": []}
    read = service_pb2.ModelMetadataResponse.FromString(write_model_metadata(described))
    assert (read.name, list(read.versions), read.platform) == ("m", ["1", "2"], "tidegate")
    assert list(read.inputs[0].shape) == [-1, 3]
