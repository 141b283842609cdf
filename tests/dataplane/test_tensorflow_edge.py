"""TensorFlow Serving's REST API against real replicas."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.echo_server import DATATYPES
from support.http_bytes import Connection, Reply, post
from support.linear import running_server

FORM = "content-type: application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def linear() -> Iterator[int]:
    with running_server() as port:
        yield port


def predict(port: int, model: str, body: Any) -> Reply:
    connection = Connection(port)
    try:
        connection.send(post(f"/v1/models/{model}:predict", body, FORM))  # as `curl -d` sends it
        return connection.read()
    finally:
        connection.close()


def get(port: int, path: str) -> Reply:
    connection = Connection(port)
    try:
        connection.send(f"GET {path} HTTP/1.1\r\nhost: t\r\n\r\n".encode())
        return connection.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"instances": [[1, 2], [3, 4]]}, {"predictions": [[1, 2], [3, 4]]}),
        ({"instances": [{"x": [1, 2]}]}, {"predictions": [[1, 2]]}),
        ({"inputs": [[1, 2], [3, 4]]}, {"outputs": [[1, 2], [3, 4]]}),
        ({"inputs": {"x": [[1, 2]]}, "signature_name": "serving_default"}, {"outputs": [[1, 2]]}),
    ],
)
def test_one_output_stands_alone(one: int, body: Any, answer: Any) -> None:
    reply = predict(one, "one", body)
    assert (reply.status, reply.json) == (200, answer)


def test_several_outputs_are_objects_by_name(linear: int) -> None:
    by_row = predict(linear, "linear", {"instances": [[1, 2, 3], [0, 0, 0]]}).json["predictions"]
    assert [row["prediction"] for row in by_row] == [6, 0]
    assert by_row[1]["probabilities"] == [0.5, 0.5]
    by_name = predict(linear, "linear", {"inputs": [[1, 2, 3], [0, 0, 0]]}).json["outputs"]
    assert by_name["prediction"] == [6, 0]
    assert by_name["probabilities"][1] == [0.5, 0.5]


def test_versions_labels_and_literals(one: int) -> None:
    for model in ("one/versions/3", "one/labels/v3"):
        reply = predict(one, model, '{"instances": [[NaN, -Infinity]]}')
        assert (reply.status, reply.body) == (200, b'{"predictions":[[NaN,-Infinity]]}')
        assert reply.headers["x-tidegate-version"] == "3"
    assert predict(one, "one/versions/4", {"instances": [[1, 2]]}).status == 404


def test_columns_row_by_row_and_by_name(table: int) -> None:
    row = {"city": "007", "rooms": None, "price": 0.1, "new": True}
    assert predict(table, "table", {"instances": [row]}).json == {"predictions": ["'007' - 0.1 True"]}
    columns = {name: [value] for name, value in row.items()}
    assert predict(table, "table", {"inputs": columns}).json == {"outputs": ["'007' - 0.1 True"]}


def test_every_datatype_and_bytes_as_base64(tensors: int) -> None:
    numbers = {f"in_{name}": [1, 2] for name in DATATYPES if name not in ("BOOL", "BYTES")}
    row = numbers | {"in_BOOL": [True, False], "in_BYTES": [{"b64": base64.b64encode(b"\xff\x00").decode()}, "007"]}
    answer = predict(tensors, "tensors", {"instances": [row]}).json["predictions"]
    assert answer[0] == {name.replace("in_", "out_"): values for name, values in row.items()}
    packed = row | {"in_BYTES": [{"b64": base64.b64encode(b"text").decode()}, "007"]}
    columns = {name: [values] for name, values in packed.items()}
    assert predict(tensors, "tensors", {"inputs": columns}).json["outputs"]["out_BYTES"] == [["text", "007"]]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 400, "exactly one of"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, 400, "exactly one of"),
        ({"instances": []}, 422, "'instances' is empty"),
        ({"instances": [[1, 2, 3]]}, 422, "3 values"),
        ({"instances": [1, 2]}, 422, "row 0"),
        ({"instances": [[1, "a"]]}, 422, "'a'"),
        ({"instances": [[1, True]]}, 422, "True"),
        ({"instances": [[1, 2], {"x": [1, 2]}]}, 422, "row 1"),
        ({"instances": [{"y": [1, 2]}]}, 422, "'y'"),
        ({"inputs": {"x": 3}}, 422, "'x'"),
        ({"inputs": {"x": []}}, 422, "empty"),
        ({"instances": [[1, 2]], "signature_name": "other"}, 422, "'other'"),
        ({"instances": [{"x": {"b64": "!"}}]}, 400, "base64"),
        ("{", 400, "no JSON"),
        ('{"instances": [[1, 1e400]]}', 400, "out of range"),
        ('{"instances": [[NaN, 1e400]]}', 400, "out of range"),
        ('{"instances": ' + "[" * 100_000, 400, ""),
        ('{"instances": [NaN, ' + "[" * 50_000, 400, ""),
    ],
)
def test_what_does_not_read_or_fit_is_refused_and_says_where(one: int, body: Any, status: int, named: str) -> None:
    reply = predict(one, "one", body if isinstance(body, str) else json.dumps(body))
    assert (reply.status, named in reply.json["error"]) == (status, True), reply.body


def test_uneven_nesting_and_numbers_out_of_range_of_tensors(tensors: int) -> None:
    row: dict[str, Any] = {f"in_{name}": [1] for name in DATATYPES} | {"in_BOOL": [True], "in_BYTES": ["a"]}
    for name, value, said in (
        ("in_INT8", [300], "out of bounds"),
        ("in_UINT8", [-1], "out of bounds"),
        ("in_FP64", [[1], 2], "in_FP64"),
    ):
        reply = predict(tensors, "tensors", {"instances": [row | {name: value}]})
        assert (reply.status, said in reply.json["error"]) == (422, True), reply.body


def test_status_and_metadata(one: int) -> None:
    available = {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/one", "/v1/models/one/versions/3", "/v1/models/one/labels/v3"):
        assert get(one, path).json == {"model_version_status": [available]}
        metadata = get(one, f"{path}/metadata").json
        assert metadata["model_spec"] == {"name": "one", "signature_name": "", "version": "3"}
        signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
        assert [one["size"] for one in signature["outputs"]["y"]["tensor_shape"]["dim"]] == ["-1", "2"]
    for path in ("/v1/models/two", "/v1/models/one/versions/9", "/v1/models/one/labels/x/metadata"):
        assert (get(one, path).status, "error" in get(one, path).json) == (404, True)
    assert get(one, "/version").body
    wrong = get(one, "/v1/models/one:predict")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
