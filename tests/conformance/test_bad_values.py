"""Values and sizes that do not fit, in every protocol of real servers: refused with a 4xx that names the field."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from support.http_bytes import Connection, Reply, post

JSON, CSV = "content-type: application/json", "content-type: text/csv"
PATHS = {
    "plain": "/predict/{}",
    "v2": "/v2/models/{}/infer",
    "mlflow": "/endpoints/{}/invocations",
    "csv": "/endpoints/{}/invocations",
    "tf": "/v1/models/{}:predict",
}
CELLS = {"city": '"007"', "rooms": "3", "price": "1.5", "new": "true"}
DATATYPES = {"city": "BYTES", "rooms": "INT64", "price": "FP64", "new": "BOOL"}


def ask(ports: dict[str, int], protocol: str, model: str, body: Any, *headers: str) -> Reply:
    connection = Connection(ports[model])
    try:
        kind = CSV if protocol == "csv" else JSON
        connection.send(post(PATHS[protocol].format(model), body, kind, *headers))
        return connection.read()
    finally:
        connection.close()


def table_bodies(column: str, text: str) -> list[tuple[str, str]]:
    """A row of the model `table` with this JSON in a column, in every form of every protocol."""
    cells = CELLS | {column: text}
    record = "{" + ", ".join(f'"{name}": {cell}' for name, cell in cells.items()) + "}"
    values = "[" + ", ".join(cells.values()) + "]"
    lists = "{" + ", ".join(f'"{name}": [{cell}]' for name, cell in cells.items()) + "}"
    tensors = ", ".join(
        f'{{"name": "{name}", "shape": [1], "datatype": "{DATATYPES[name]}", "data": [{cell}]}}'
        for name, cell in cells.items()
    )
    return [
        ("plain", f'{{"features": {record}}}'),
        ("plain", f'{{"features": [{values}]}}'),
        ("v2", f'{{"inputs": [{tensors}]}}'),
        ("mlflow", f'{{"dataframe_records": [{record}]}}'),
        ("mlflow", f'{{"dataframe_split": {{"columns": {json.dumps(list(cells))}, "data": [{values}]}}}}'),
        ("mlflow", f'{{"instances": [{record}]}}'),
        ("tf", f'{{"instances": [{record}]}}'),
        ("tf", f'{{"inputs": {lists}}}'),
    ]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        *(("rooms", text) for text in ("1.5", '"3"', "true", "9223372036854775808", "1e300", "9007199254740993.0")),
        *(("price", text) for text in ('"1.5"', "true", "[1]")),
        *(("city", text) for text in ("7", "true", '["a"]')),
        *(("new", text) for text in ("1", '"true"', "null", "0.0")),
    ],
)
def test_no_value_is_cast_on_its_way_into_a_column(ports: dict[str, int], column: str, text: str) -> None:
    for protocol, body in table_bodies(column, text):
        reply = ask(ports, protocol, "table", body)
        assert reply.status == 422, (protocol, body, reply.body)
        assert column in reply.json["error"], (protocol, reply.body)


def test_a_number_that_no_float_holds_is_no_json_number(ports: dict[str, int]) -> None:
    for protocol, body in table_bodies("price", "1e400"):
        assert ask(ports, protocol, "table", body).status == 400, (protocol, body)


@pytest.mark.parametrize("row", ["007,1.5,1,true", "007,x,1,true", "007,3,1e400,true", "007,3,1,yes", "007,3,1,1"])
def test_csv_is_read_by_the_columns_types(ports: dict[str, int], row: str) -> None:
    assert ask(ports, "csv", "table", f"city,rooms,price,new\n{row}\n").status == 422
    good = ask(ports, "csv", "table", "city,rooms,price,new\n007,3,1.5,true\n")
    assert good.json["predictions"] == ["'007' 3 1.5 True"]


@pytest.mark.parametrize("value", [1e300, -3.5e38])
def test_what_fp32_would_make_infinite_is_refused(ports: dict[str, int], value: float) -> None:
    bodies: list[tuple[str, Any]] = [
        ("plain", {"features": [1, value]}),
        ("plain", {"features": [[1, 2], [1, value]]}),
        ("plain", {"features": {"x": [1, value]}}),
        ("v2", {"inputs": [tensor("x", [1, 2], "FP32", [1, value])]}),
        ("v2", {"inputs": [tensor("x", [1, 2], "FP32", [[1, value]])]}),
        ("mlflow", {"instances": [[1, value]]}),
        ("mlflow", {"inputs": {"x": [[1, value]]}}),
        ("mlflow", {"dataframe_split": {"data": [[1, value]]}}),
        ("csv", f"a,b\n1,{value}\n"),
        ("tf", {"instances": [[1, value]]}),
        ("tf", {"inputs": {"x": [[1, value]]}}),
    ]
    for protocol, body in bodies:
        reply = ask(ports, protocol, "one", body)
        assert reply.status == 422, (protocol, body, reply.body)
        assert "out of" in reply.json["error"]
    largest = ask(ports, "plain", "one", {"features": [1, 3.4028234e38]})
    assert largest.json["prediction"] == [[1.0, 3.4028234663852886e38]]
    literal = ask(ports, "tf", "one", '{"instances": [[1, Infinity]]}')
    assert b"Infinity" in literal.body


def tensor(name: str, shape: Any, datatype: str, data: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def binary(shape: Any, datatype: str, raw: bytes, size: Any = None) -> tuple[bytes, str]:
    """A request to `tensors` with one binary input, and the header that goes with it."""
    parameters = {"binary_data_size": len(raw) if size is None else size}
    described = {"name": f"in_{datatype}", "shape": shape, "datatype": datatype, "parameters": parameters}
    head = json.dumps({"inputs": [described]}).encode()
    return head + raw, f"inference-header-content-length: {len(head)}"


@pytest.mark.parametrize(
    "shape", [[-1, 2], [2**40, 0], [2**62, 0], [2**64, 0], [2**64, 2], [2**31, 2**31, 4], [1] * 40, [0.5, 2], "2"]
)
def test_shapes_that_are_none_or_claim_what_is_not_there(ports: dict[str, int], shape: Any) -> None:
    for raw in (b"", b"\0" * 8):
        reply = ask(ports, "v2", "tensors", *binary(shape, "FP32", raw))
        assert reply.status in (400, 422), reply.body
    for data in ([], [1, 2]):
        reply = ask(ports, "v2", "one", {"inputs": [tensor("x", shape, "FP32", data)]})
        assert reply.status in (400, 422), reply.body


@pytest.mark.parametrize("size", [-1, 7, 9, 2**63, 2**70, "8", 8.0, True])
def test_binary_sizes_that_disagree_with_the_bytes(ports: dict[str, int], size: Any) -> None:
    reply = ask(ports, "v2", "tensors", *binary([1, 2], "FP32", b"\0" * 8, size))
    assert (reply.status, "in_FP32" in reply.json["error"] or "binary" in reply.json["error"]) in [
        (400, True),
        (422, True),
    ]


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff", b"\x01\0\0\0", b"\x05\0\0\0abc", b"\0", b"\x01\0\0\0ab"])
def test_texts_whose_lengths_lie(ports: dict[str, int], raw: bytes) -> None:
    reply = ask(ports, "v2", "tensors", *binary([1, 1], "BYTES", raw))
    assert (reply.status, "in_BYTES" in reply.json["error"]) == (422, True)


def test_a_boolean_is_0_or_1(ports: dict[str, int]) -> None:
    reply = ask(ports, "v2", "tensors", *binary([1, 2], "BOOL", b"\x02\x01"))
    assert (reply.status, "in_BOOL" in reply.json["error"]) == (422, True)
    assert ask(ports, "v2", "tensors", *binary([1, 2], "INT8", b"\0\0")).status == 422  # the others are missing


@pytest.mark.parametrize("data", [[[1], [2, 3]], [[[1], [2]], [[1, 2], [3, 4]]], [[[1, 2]], [[1], [2]]], {"a": 1}])
def test_data_that_is_nested_unevenly(ports: dict[str, int], data: Any) -> None:
    for protocol, body in (
        ("v2", {"inputs": [tensor("x", [1, 2], "FP32", data)]}),
        ("plain", {"features": data}),
        ("tf", {"instances": data}),
        ("mlflow", {"inputs": data}),
    ):
        reply = ask(ports, protocol, "one", body)
        assert reply.status == 422, (protocol, reply.body)


def test_bad_utf8_is_refused_also_where_nobody_reads_it(ports: dict[str, int]) -> None:
    for protocol, body in (
        ("plain", b'{"features": [1, 2], "note": "\xff"}'),
        ("tf", b'{"instances": [[1, 2]], "note": "\xff"}'),
        ("mlflow", b'{"instances": [[1, 2]], "note": "\xff"}'),
        ("v2", b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}], "note": "\xff"}'),
    ):
        reply = ask(ports, protocol, "one", body)
        assert (reply.status, "UTF-8" in reply.json["error"]) == (400, True), (protocol, reply.body)


def test_compressed_bodies_that_are_bombs_cut_or_followed_by_more(ports: dict[str, int]) -> None:
    whole = gzip.compress(b'{"features": [1, 2]}')
    assert ask(ports, "plain", "one", whole, "content-encoding: gzip").status == 200
    for body in (whole[:-3], whole + b"junk"):
        assert ask(ports, "plain", "one", body, "content-encoding: gzip").status == 400
    bomb = gzip.compress(b"[" + b"0," * (32 << 20), 1)
    assert ask(ports, "plain", "one", bomb, "content-encoding: gzip").status == 413
    # Nothing in front of the zeros says that tensors follow: they are not inflated at all.
    zeros = gzip.compress(b'{"inputs": []}' + b"\0" * (64 << 20), 1)
    reply = ask(ports, "v2", "one", zeros, "content-encoding: gzip", "inference-header-content-length: 14")
    assert (reply.status, "inflates to more than 14 bytes" in reply.json["error"]) == (413, True)


def test_compressed_tensors_are_taken_to_the_last_byte(ports: dict[str, int]) -> None:
    head = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    text = json.dumps({"inputs": [head]}).encode()
    body = gzip.compress(text + b"\0\0\x80?\0\0\0@")
    length = f"inference-header-content-length: {len(text)}"
    reply = ask(ports, "v2", "one", body, "content-encoding: gzip", length)
    assert reply.json["outputs"][0]["data"] == [1.0, 2.0]
