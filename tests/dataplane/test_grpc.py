"""V2 over gRPC as `tritonclient`, unmodified, sees it: six calls, every datatype, refusals, keys, deadlines, end."""

import queue
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from support.grpc_echo import DATATYPES
from support.grpc_process import ECHO, LINEAR, Server, client, refusal, request, serving, stub, tensor, wait_for
from support.wait import until

ROW = np.array([[1.0, 2.0, 3.0]])
LARGE_BYTES = 16 << 20


@pytest.fixture(scope="module")
def linear() -> Iterator[Server]:
    with serving(LINEAR, TIDEGATE_RECEIVE_TIMEOUT_S="1", TIDEGATE_REQUEST_BYTES_MAX=str(24 << 20)) as server:
        yield server


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with serving(ECHO) as server:
        yield server


@pytest.fixture
def ask(linear: Server) -> Iterator[Any]:
    with client(linear.address) as made:
        yield made


def values(datatype: str, rows: int = 2) -> Any:
    """A tensor of the datatype with its extremes."""
    if datatype == "BYTES":
        return np.array([[b"", b"plain"], ["Zürich".encode(), b"\xff\x00not text"]], dtype=object)[:rows]
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])[:rows]
    dtype = np.dtype(ml_dtypes.bfloat16 if datatype == "BF16" else triton_dtype(datatype))
    if datatype.startswith(("FP", "BF")):
        return np.array([[1.5, -0.25], [np.inf, 0.0]], dtype=dtype)[:rows]
    bounds = np.iinfo(dtype)
    return np.array([[bounds.min, bounds.max], [0, 7]], dtype=dtype)[:rows]


def triton_dtype(datatype: str) -> Any:
    from tritonclient.utils import triton_to_np_dtype

    return triton_to_np_dtype(datatype)


# -- the calls --------------------


def test_health_and_metadata(ask: Any) -> None:
    assert ask.is_server_live()
    assert ask.is_server_ready()
    assert ask.is_model_ready("linear")
    assert ask.is_model_ready("linear", "7")
    assert "binary_tensor_data" in ask.get_server_metadata().extensions
    metadata = ask.get_model_metadata("linear", as_json=True)
    assert metadata["versions"] == ["7"]
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP64", "shape": ["-1", "3"]}]
    assert [one["name"] for one in metadata["outputs"]] == ["prediction", "probabilities"]


def test_an_answer_has_the_models_values_and_the_requests_id(ask: Any) -> None:
    result = ask.infer("linear", [tensor("input", np.vstack([ROW, 2 * ROW]))], request_id="mine")
    assert result.as_numpy("prediction").tolist() == [6.0, 12.0]
    assert result.as_numpy("probabilities").shape == (2, 2)
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("linear", "7", "mine")


def test_only_the_outputs_asked_for_come_in_their_order(ask: Any) -> None:
    wanted = [triton.InferRequestedOutput(name) for name in ("probabilities", "prediction")]
    result = ask.infer("linear", [tensor("input", ROW)], model_version="v1.0.0", outputs=wanted)
    assert [output.name for output in result.get_response().outputs] == ["probabilities", "prediction"]
    only = ask.infer("linear", [tensor("input", ROW)], outputs=wanted[:1])
    assert only.as_numpy("prediction") is None


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(ask: Any, algorithm: str) -> None:
    result = ask.infer("linear", [tensor("input", ROW)], compression_algorithm=algorithm)
    assert result.as_numpy("prediction").tolist() == [6.0]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_the_metadata_accept_encoding_leaves_the_message_readable(ask: Any, encoding: str) -> None:
    rows = np.ones((500, 3))
    result = ask.infer("linear", [tensor("input", rows)], headers={"accept-encoding": encoding})
    assert result.as_numpy("prediction").tolist() == [3.0] * 500


def test_every_datatype_both_ways_in_one_request(echo: Server) -> None:
    given = {f"of_{name.lower()}": values(name) for name in DATATYPES}
    inputs = [tensor(f"of_{name.lower()}", given[f"of_{name.lower()}"], name) for name in DATATYPES]
    with client(echo.address) as made:
        result = made.infer("echo", inputs)
        for name in DATATYPES:
            np.testing.assert_array_equal(result.as_numpy(f"of_{name.lower()}"), given[f"of_{name.lower()}"])
        assert [one.datatype for one in result.get_response().outputs] == DATATYPES


def test_zero_rows(echo: Server) -> None:
    inputs = [tensor(f"of_{name.lower()}", values(name, rows=0), name) for name in DATATYPES]
    with client(echo.address) as made:
        result = made.infer("echo", inputs)
    assert all(len(result.as_numpy(f"of_{name.lower()}")) == 0 for name in DATATYPES)


CONTENTS = {
    "bool_contents": ("BOOL",),
    "int_contents": ("INT8", "INT16", "INT32"),
    "int64_contents": ("INT64",),
    "uint_contents": ("UINT8", "UINT16", "UINT32"),
    "uint64_contents": ("UINT64",),
    "fp32_contents": ("FP32",),
    "fp64_contents": ("FP64",),
    "bytes_contents": ("BYTES",),
}
TYPED = [(field, datatype) for field, datatypes in CONTENTS.items() for datatype in datatypes]


def typed_request() -> Any:
    """All datatypes with typed contents; FP16 and BF16 have none, and cannot be mixed in."""
    made = service_pb2.ModelInferRequest(model_name="echo")
    for field, datatype in TYPED:
        item = made.inputs.add(name=f"of_{datatype.lower()}", datatype=datatype, shape=[2, 2])
        getattr(item.contents, field).extend(values(datatype).ravel().tolist())
    return made


def test_typed_contents_are_read(echo: Server) -> None:
    from tidegate.dataplane.grpc.messages import read_infer_request, typed_array

    read = read_infer_request(typed_request().SerializeToString())
    for head, contents in zip(read.inputs, read.contents, strict=True):
        wanted = values(head.datatype)
        got = typed_array(head, contents)
        if head.datatype == "BYTES":
            got = np.array([[x.encode() if isinstance(x, str) else x for x in row] for row in got.tolist()], object)
        np.testing.assert_array_equal(got, wanted)
        assert head.datatype == "BYTES" or got.dtype == wanted.dtype


def test_typed_contents_are_answered_raw(linear: Server) -> None:
    made = service_pb2.ModelInferRequest(model_name="linear")
    made.inputs.add(name="input", datatype="FP64", shape=[1, 3]).contents.fp64_contents.extend([1.0, 2.0, 3.0])
    with stub(linear.address) as calls:
        answer = calls.ModelInfer(made)
    assert np.frombuffer(answer.raw_output_contents[0]).tolist() == [6.0]
    assert not answer.outputs[0].HasField("contents")


def test_large_tensors_both_ways(echo: Server) -> None:
    inputs = {name: values(name, rows=0) for name in DATATYPES}
    rows = LARGE_BYTES // 4 // 1024
    inputs = {name: np.resize(values(name), (rows, 1)) for name in DATATYPES}
    inputs["FP32"] = np.arange(rows * 1024, dtype=np.float32).reshape(rows, 1024)
    wanted = [triton.InferRequestedOutput("of_fp32")]
    with client(echo.address) as made:
        sent = [tensor(f"of_{name.lower()}", array, name) for name, array in inputs.items()]
        answer = made.infer("echo", sent, outputs=wanted).as_numpy("of_fp32")
    np.testing.assert_array_equal(answer, inputs["FP32"])


# -- refusals --------------------


def test_what_does_not_fit_is_named(ask: Any) -> None:
    def infer(array: Any, **more: Any) -> tuple[str, str]:
        given = {"name": "input", "datatype": "FP64", "model": "linear", **more}
        return refusal(ask.infer, given["model"], [tensor(given["name"], array, given["datatype"])])

    code, message = infer(np.ones((1, 4)))
    assert code == "INVALID_ARGUMENT"
    assert "shape [1, 4]" in message
    two = [tensor(name, ROW) for name in ("input", "other")]
    assert refusal(ask.infer, "linear", two)[1].startswith("inputs do not fit the model: unknown 'other'")
    assert ask.infer("linear", [tensor("input-0", ROW)]).as_numpy("prediction").tolist() == [6.0]
    assert infer(np.array([["x", "y", "z"]], dtype=object), datatype="BYTES")[0] == "INVALID_ARGUMENT"
    code, message = infer(ROW, model="unknown")
    assert code == "NOT_FOUND"
    assert "there is: linear" in message
    code, message = refusal(ask.infer, "linear", [tensor("input", ROW)], model_version="9")
    assert code == "NOT_FOUND"
    assert "running: 7" in message
    assert refusal(ask.is_model_ready, "unknown")[0] == "NOT_FOUND"
    assert refusal(ask.get_model_metadata, "linear", "9")[0] == "NOT_FOUND"
    outputs = [triton.InferRequestedOutput("nothing")]
    assert "no output 'nothing'" in refusal(ask.infer, "linear", [tensor("input", ROW)], outputs=outputs)[1]


def test_sizes_that_disagree(linear: Server) -> None:
    def bad(change: Any) -> tuple[str, str]:
        made = request("linear", ROW)
        change(made)
        return refusal(calls.ModelInfer, made)

    def contents(made: Any) -> None:
        made.inputs[0].contents.fp64_contents.extend([1.0, 2.0, 3.0])

    def wrong_field(made: Any) -> None:
        made.ClearField("raw_input_contents")
        made.inputs[0].contents.fp32_contents.extend([1.0, 2.0, 3.0])

    with stub(linear.address) as calls:
        assert bad(lambda made: made.raw_input_contents.append(b""))[0] == "INVALID_ARGUMENT"
        assert "24 bytes, but 23 came" in bad(lambda made: made.raw_input_contents.__setitem__(0, b"x" * 23))[1]
        assert "FP64 is none" not in bad(contents)[1]
        assert "use fp64_contents" in bad(wrong_field)[1]
        assert "0 came" in bad(lambda made: made.ClearField("raw_input_contents"))[1]
        assert "no inputs" in bad(lambda made: (made.ClearField("inputs"), made.ClearField("raw_input_contents")))[1]
        assert "negative" in bad(lambda made: made.inputs[0].shape.__setitem__(0, -1))[1]
        assert "datatype 'FP8'" in bad(lambda made: setattr(made.inputs[0], "datatype", "FP8"))[1]
        assert "given twice" in bad(lambda made: (made.inputs.append(made.inputs[0]), made.raw_input_contents.append(b"")))[1]  # fmt: skip  # noqa: E501


def test_what_is_no_message_and_what_is_no_method(linear: Server) -> None:
    with grpc.insecure_channel(linear.address) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        assert refusal(infer, b"\xff\xff\xff")[0] == "INVALID_ARGUMENT"
        assert refusal(infer, b"\x0a\x05ab")[0] == "INVALID_ARGUMENT"
        assert refusal(infer, b"\x0a\x02\xff\xfe")[1] == "model_name is no UTF-8 text"
        code, message = refusal(channel.unary_unary("/inference.GRPCInferenceService/ModelStreamInfer"), b"")
        assert code == "UNIMPLEMENTED"
        assert "'ModelStreamInfer'" in message
        assert "grpc.health.v1.Health and" in message


def test_a_message_that_is_too_large_is_refused_while_it_arrives(ask: Any) -> None:
    code, message = refusal(ask.infer, "linear", [tensor("input", np.ones((2_000_000, 3)))])
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than" in message
    assert ask.infer("linear", [tensor("input", ROW)]).as_numpy("prediction").tolist() == [6.0]


def test_the_models_failure_is_internal_and_fails_alone(ask: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    for first in (111.0, 1.0, 222.0, 2.0):
        row = np.array([[first, 0.2, 0.0]])
        ask.async_infer("linear", [tensor("input", row)], lambda result, error: answers.put((result, error)))
    outcomes = [answers.get(timeout=20) for _ in range(4)]
    errors = [error for _, error in outcomes if error is not None]
    assert [str(error.status()) for error in errors] == ["StatusCode.INTERNAL"]
    assert sorted(result.as_numpy("prediction")[0] for result, error in outcomes if error is None) == [1.2, 2.2, 111.2]


# -- metadata, keys, deadlines, neighbours --------------------


def test_metadata_tells_who_answered(linear: Server) -> None:
    with stub(linear.address) as calls:
        _, call = calls.ModelInfer.with_call(request("linear", ROW), metadata=[("x-request-id", "abc")])
        told = dict(call.initial_metadata())
        assert told["x-request-id"] == "abc"
        assert told["x-tidegate-endpoint"] == "linear"
        assert told["x-tidegate-version"] == told["x-tidegate-variant"] == "7"
        with pytest.raises(grpc.RpcError) as caught:
            calls.ModelInfer(request("linear", np.ones((1, 4))))
    told = dict(caught.value.trailing_metadata())
    assert told["x-tidegate-code"] == "unfit_input"
    assert told["x-request-id"]


def test_a_key_is_asked_for_where_one_is_needed() -> None:
    with serving(LINEAR, TEST_KEY="secret") as server, client(server.address) as made:
        given = [tensor("input", ROW)]
        assert made.is_server_live()
        assert made.is_server_ready()
        for call, args in (
            (made.infer, ("linear", given)),
            (made.is_model_ready, ("linear",)),
            (made.get_server_metadata, ()),
            (made.get_model_metadata, ("linear",)),
        ):
            assert refusal(call, *args)[0] == "UNAUTHENTICATED"
            assert refusal(call, *args, headers={"authorization": "Bearer wrong"})[0] == "UNAUTHENTICATED"
            call(*args, headers={"authorization": "Bearer secret"})


def test_deadlines_of_both_kinds(ask: Any) -> None:
    slow = [tensor("input", np.array([[111.0, 0.6, 0.0]]))]
    code, message = refusal(ask.infer, "linear", slow, headers={"x-tidegate-timeout-ms": "100"})
    assert code == "DEADLINE_EXCEEDED"
    assert "deadline" in message
    assert refusal(ask.infer, "linear", slow, client_timeout=0.1)[0] == "DEADLINE_EXCEEDED"
    code, message = refusal(ask.infer, "linear", slow, headers={"x-tidegate-timeout-ms": "soon"})
    assert code == "INVALID_ARGUMENT"
    assert ask.infer("linear", [tensor("input", ROW)], client_timeout=10).as_numpy("prediction").tolist() == [6.0]


def test_a_cancelled_call_leaves_its_neighbours_alone(ask: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()

    def put(result: Any, error: Any) -> None:
        answers.put((result, error))

    ask.async_infer("linear", [tensor("input", np.array([[111.0, 0.5, 0.0]]))], put)
    cancelled = ask.async_infer("linear", [tensor("input", ROW)], put)
    ask.async_infer("linear", [tensor("input", 2 * ROW)], put)
    cancelled.cancel()
    outcomes = [answers.get(timeout=20) for _ in range(3)]
    assert sorted(result.as_numpy("prediction")[0] for result, error in outcomes if error is None) == [12.0, 111.5]


def batches(server: Server) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("model_batch_rows_count"))


def test_clients_that_come_together_share_batches(linear: Server) -> None:
    wrong: list[Any] = []
    before = batches(linear)

    def many(number: int) -> None:
        with client(linear.address) as made:
            for step in range(25):
                row = np.array([[float(number), float(step), 0.0]])
                got = made.infer("linear", [tensor("input", row)]).as_numpy("prediction").tolist()
                if got != [number + step]:
                    wrong.append((number, step, got))

    with client(linear.address) as made:
        held = threading.Event()
        made.async_infer("linear", [tensor("input", np.array([[111.0, 1.0, 0.0]]))], lambda result, error: held.set())
        threads = [threading.Thread(target=many, args=(number,)) for number in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(60)
        assert held.wait(20)
    assert wrong == []
    assert batches(linear) - before < 201


def test_what_is_under_way_is_answered_before_the_end() -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with serving(LINEAR) as server, client(server.address) as made:
        made.infer("linear", [tensor("input", ROW)])
        slow = [tensor("input", np.array([[111.0, 0.5, 0.0]]))]
        made.async_infer("linear", slow, lambda result, error: answers.put((result, error)))
        until(lambda: 'model_requests_in_progress{endpoint="linear"} 1.0' in metrics(server), what="the request")
        assert server.stop() == 0
        result, error = answers.get(timeout=10)
        assert error is None
        assert result.as_numpy("prediction").tolist() == [111.5]


def metrics(server: Server) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as response:
        text: str = response.read().decode()
    return text


def test_it_is_reached_again_after_a_restart_of_the_channel(linear: Server) -> None:
    for _ in range(3):
        wait_for(linear.address)
    with client(linear.address) as made:
        assert made.is_server_live()
