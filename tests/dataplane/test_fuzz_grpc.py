"""Random damage to valid gRPC messages, to a real server: each is refused as the client's fault, or answered."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from support.grpc_process import LINEAR, Server, refusal, request, serving

METHOD = "/inference.GRPCInferenceService/ModelInfer"
ROW = np.array([[1.0, 2.0, 3.0]])
CLIENTS_FAULT = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
FUZZ = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SIZES = st.one_of(st.integers(-2, 5), st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, -(2**63)]))


def typed() -> bytes:
    """A request whose values are typed, with parameters and an output by name."""
    made = service_pb2.ModelInferRequest(model_name="linear", id="a")
    made.parameters["user_id"].string_param = "u"
    made.inputs.add(name="input", datatype="FP64", shape=[1, 3]).contents.fp64_contents.extend([1, 2, 3])
    made.outputs.add(name="prediction")
    message: bytes = made.SerializeToString()
    return message


MESSAGES: list[bytes] = [typed(), request("linear", ROW).SerializeToString()]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(LINEAR) as running:
        yield running


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as made:
        yield made


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    body = draw(st.sampled_from(MESSAGES))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(body)))
        end = min(len(body), begin + draw(st.integers(0, 6)))
        by = draw(st.one_of(st.binary(max_size=4), st.sampled_from([b"\xff" * 10, b"\x80" * 9 + b"\x01", b"\0" * 8])))
        body = body[:begin] + by + body[end:]
    return body


def test_bytes_that_are_others(channel: grpc.Channel) -> None:
    @FUZZ
    @given(damaged())
    def damage(message: bytes) -> None:
        try:
            infer(message, timeout=20)
        except grpc.RpcError as error:
            if error.code().name not in CLIENTS_FAULT or not error.details():
                raise

    infer = channel.unary_unary(METHOD)
    damage()
    assert infer(MESSAGES[0], timeout=20)


def test_shapes_datatypes_and_contents_that_disagree_are_refused_by_name(channel: grpc.Channel) -> None:
    datatypes = st.sampled_from(["BOOL", "INT8", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES", "", "fp64"])

    @FUZZ
    @given(st.lists(SIZES, max_size=4), datatypes, st.one_of(st.none(), st.binary(max_size=40)), st.integers(0, 3))
    def damage(shape: list[int], datatype: str, raw: bytes | None, values: int) -> None:
        made = service_pb2.ModelInferRequest(model_name="linear")
        given_input = made.inputs.add(name="input", datatype=datatype, shape=shape)
        if values:
            given_input.contents.fp64_contents.extend([1.0] * values)
        if raw is not None:
            made.raw_input_contents.append(raw)
        infer = channel.unary_unary(METHOD)
        if (datatype, shape, raw is None, values) == ("FP64", [1, 3], True, 3):
            return
        code, message = refusal(infer, made.SerializeToString())
        assert (code, "input" in message) in {("INVALID_ARGUMENT", True), ("RESOURCE_EXHAUSTED", True)}, message

    damage()
