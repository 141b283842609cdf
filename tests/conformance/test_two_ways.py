"""Every prediction request of every protocol on both ways through the server: the hot path, and ASGI.

A request with `Expect: 100-continue` takes the ASGI way. Status, body and headers must not tell which way it was.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from support.http_bytes import Connection, Reply, post
from support.linear import running_server

JSON = "content-type: application/json"
CSV = "content-type: text/csv"
OCTETS = "content-type: application/octet-stream"
TABLE_ROW = {"city": "007", "rooms": 3, "price": 1.5, "new": True}
TABLE_CSV = "city,rooms,price,new\n007,3,1.5,true\n,,,false\n"

V2_ONE = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


def binary_request(**more: Any) -> tuple[bytes, str]:
    """A body with a binary tensor, and the header with its JSON's length."""
    raw = np.arange(4, dtype="<f4").tobytes()
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + raw, f"inference-header-content-length: {len(head)}"


BINARY, BINARY_LENGTH = binary_request(parameters={"binary_data_output": True}, id="7")

Case = tuple[int, str, str, Any, tuple[str, ...]]

CASES: dict[str, Case] = {
    # name: status, model, path, body, headers
    "plain row": (200, "one", "/predict/one", {"features": [1, 2]}, (JSON,)),
    "plain rows": (200, "one", "/predict/one", {"features": [[1, 2], [3, 4]]}, (JSON,)),
    "plain record": (200, "table", "/predict/table", {"features": TABLE_ROW}, (JSON,)),
    "plain pinned": (200, "one", "/predict/one", {"features": [1, 2], "model_version": "v3"}, (JSON,)),
    "plain unknown version": (404, "one", "/predict/one", {"features": [1, 2], "model_version": "9"}, (JSON,)),
    "plain no json": (400, "one", "/predict/one", b"{", (JSON,)),
    "plain NaN": (400, "one", "/predict/one", b'{"features": [NaN, 1]}', (JSON,)),
    "plain bad UTF-8": (400, "one", "/predict/one", b'{"features": ["\xff"]}', (JSON,)),
    "plain width": (422, "one", "/predict/one", {"features": [1, 2, 3]}, (JSON,)),
    "plain type": (422, "one", "/predict/one", {"features": ["a", 2]}, (JSON,)),
    "plain empty": (422, "one", "/predict/one", {"features": []}, (JSON,)),
    "plain key twice": (400, "one", "/predict/one", b'{"features": [1, 2], "features": [3, 4]}', (JSON,)),
    "v2 key twice": (400, "one", "/v2/models/one/infer", json.dumps(V2_ONE)[:-1] + ', "inputs": []}', (JSON,)),
    "mlflow key twice": (
        400,
        "table",
        "/endpoints/table/invocations",
        '{"dataframe_records": [{"city": "a", "city": "b", "rooms": 1, "price": NaN, "new": true}]}',
        (JSON,),
    ),
    "tf key twice": (400, "one", "/v1/models/one:predict", '{"instances": [{"x": [1, 2], "x": [3, 4]}]}', ()),
    "plain content type": (415, "one", "/predict/one", {"features": [1, 2]}, (CSV,)),
    "plain no endpoint": (404, "one", "/predict/nothing", {"features": [1, 2]}, (JSON,)),
    "gzip": (200, "one", "/predict/one", gzip.compress(b'{"features": [1, 2]}'), (JSON, "content-encoding: gzip")),
    "no gzip": (400, "one", "/predict/one", b"{}", (JSON, "content-encoding: gzip")),
    "unknown encoding": (415, "one", "/predict/one", b"{}", (JSON, "content-encoding: br")),
    "request id": (200, "one", "/predict/one", {"features": [1, 2]}, (JSON, "x-request-id: mine")),
    "bad request id": (400, "one", "/predict/one", {"features": [1, 2]}, (JSON, f"x-request-id: {'a' * 200}")),
    "bad timeout": (400, "one", "/predict/one", {"features": [1, 2]}, (JSON, "x-tidegate-timeout-ms: soon")),
    "answer in gzip": (200, "one", "/predict/one", {"features": [[1, 2]] * 900}, (JSON, "accept-encoding: gzip")),
    "v2": (200, "one", "/v2/models/one/infer", V2_ONE, (JSON,)),
    "v2 pinned": (200, "one", "/v2/models/one/versions/3/infer", V2_ONE | {"id": "a"}, (JSON,)),
    "v2 unknown version": (404, "one", "/v2/models/one/versions/9/infer", V2_ONE, (JSON,)),
    "v2 binary": (200, "one", "/v2/models/one/infer", BINARY, (OCTETS, BINARY_LENGTH)),
    "v2 binary cut": (400, "one", "/v2/models/one/infer", BINARY[:-3], (OCTETS, BINARY_LENGTH)),
    "v2 no inputs": (422, "one", "/v2/models/one/infer", {"inputs": []}, (JSON,)),
    "v2 no output": (422, "one", "/v2/models/one/infer", V2_ONE | {"outputs": [{"name": "z"}]}, (JSON,)),
    "mlflow split": (
        200,
        "table",
        "/endpoints/table/invocations",
        {"dataframe_split": {"columns": list(TABLE_ROW), "data": [list(TABLE_ROW.values())]}, "params": {"a": 1}},
        (JSON,),
    ),
    "mlflow records": (200, "table", "/endpoints/table/invocations", {"dataframe_records": [TABLE_ROW]}, (JSON,)),
    "mlflow csv": (200, "table", "/endpoints/table/invocations", TABLE_CSV, (CSV,)),
    "mlflow instances": (200, "one", "/endpoints/one/invocations", {"instances": [[1, 2]]}, (JSON,)),
    "mlflow inputs": (200, "one", "/endpoints/one/invocations", {"inputs": {"x": [[1, 2]]}}, (JSON,)),
    "mlflow NaN": (200, "one", "/endpoints/one/invocations", b'{"inputs": [[NaN, -Infinity]]}', (JSON,)),
    "mlflow two forms": (400, "one", "/endpoints/one/invocations", {"instances": [], "inputs": []}, (JSON,)),
    "mlflow content type": (415, "one", "/endpoints/one/invocations", b"1,2", ("content-type: text/plain",)),
    "mlflow bad csv": (400, "table", "/endpoints/table/invocations", "a,b\n1\n", (CSV,)),
    "mlflow no fit": (422, "table", "/endpoints/table/invocations", TABLE_CSV.replace("1.5", "x"), (CSV,)),
    "tf instances": (200, "one", "/v1/models/one:predict", {"instances": [[1, 2]]}, ()),
    "tf inputs": (200, "table", "/v1/models/table:predict", {"inputs": {k: [v] for k, v in TABLE_ROW.items()}}, ()),
    "tf version": (200, "one", "/v1/models/one/versions/3:predict", {"instances": [[1, 2]]}, ()),
    "tf label": (200, "one", "/v1/models/one/labels/v3:predict", {"instances": [[1, 2]]}, ()),
    "tf unknown label": (404, "one", "/v1/models/one/labels/v9:predict", {"instances": [[1, 2]]}, ()),
    "tf signature": (422, "one", "/v1/models/one:predict", {"instances": [[1, 2]], "signature_name": "x"}, ()),
    "tf b64": (400, "table", "/v1/models/table:predict", {"instances": [{"b64": "?"}]}, ()),
    "tf nothing": (400, "one", "/v1/models/one:predict", {}, ()),
}


@pytest.fixture(scope="module")
def linear_port() -> Iterator[int]:
    with running_server() as port:
        yield port


@pytest.fixture(scope="module")
def keyed_port() -> Iterator[int]:
    with running_server(TEST_KEY="right") as port:
        yield port


def hot(port: int, path: str, body: Any, *headers: str) -> Reply:
    connection = Connection(port)
    try:
        connection.send(post(path, body, *headers))
        return connection.read()
    finally:
        connection.close()


def by_asgi(port: int, path: str, body: Any, *headers: str) -> Reply:
    connection = Connection(port)
    try:
        head, _, data = post(path, body, *headers, "expect: 100-continue").partition(b"\r\n\r\n")
        connection.send(head + b"\r\n\r\n")
        first = connection.read()
        if first.status != 100:  # refused before the body was asked for
            return first
        connection.send(data)
        return connection.read()
    finally:
        connection.close()


def shown(reply: Reply, *, but: tuple[str, ...] = ()) -> tuple[int, list[tuple[str, str]], bytes]:
    """What must be equal: all but the time, and the ids that the server made itself."""
    headers = {name: value for name, value in reply.headers.items() if name not in ("date", *but)}
    body = reply.body
    made = headers["x-request-id"]
    if made != "mine":
        assert re.fullmatch(r"[0-9a-f]{20}", made)
        headers["x-request-id"] = "made"
        body = body.replace(made.encode(), b"made")
    return reply.status, sorted(headers.items()), body


@pytest.mark.parametrize("name", CASES)
def test_both_ways_answer_alike(ports: dict[str, int], name: str) -> None:
    status, model, path, body, headers = CASES[name]
    first, second = hot(ports[model], path, body, *headers), by_asgi(ports[model], path, body, *headers)
    assert first.status == status, first.body
    assert shown(first) == shown(second) if name != "answer in gzip" else _unpacked(first) == _unpacked(second)


def _unpacked(reply: Reply) -> Any:
    """The id is inside the compressed data."""
    assert reply.headers["content-encoding"] == "gzip"
    answer = json.loads(gzip.decompress(reply.body))
    assert answer.pop("id") == reply.headers["x-request-id"]
    return reply.status, sorted(reply.headers.keys()), answer


@pytest.mark.parametrize("name", ["plain row", "v2", "mlflow split", "tf instances"])
@pytest.mark.parametrize("header", ["", "authorization: Bearer wrong", "authorization: Bearer right"])
def test_a_key_is_asked_for_alike(keyed_port: int, header: str, name: str) -> None:
    bodies = {
        "plain row": ("/predict", {"features": [1, 2, 3]}),
        "v2": ("/v2/models/linear/infer", {"inputs": []}),
        "mlflow split": ("/invocations", {"dataframe_split": {"data": [[1, 2, 3]]}}),
        "tf instances": ("/v1/models/linear:predict", {"instances": [[1, 2, 3]]}),
    }
    path, body = bodies[name]
    headers = (JSON, header) if header else (JSON,)
    first, second = hot(keyed_port, path, body, *headers), by_asgi(keyed_port, path, body, *headers)
    assert (first.status == 401) == ("right" not in header)
    # The hot way closes what it refused; on the other one uvicorn throws an unread body away.
    but = ("connection",) if first.status == 401 else ()
    assert shown(first, but=but) == shown(second, but=but)


@pytest.mark.parametrize("expects", ["", "expect: 100-continue"])
def test_without_a_key_no_body_is_read(keyed_port: int, expects: str) -> None:
    connection = Connection(keyed_port)
    try:
        lines = ["POST /predict HTTP/1.1", "host: t", JSON, "content-length: 100000", "x-request-id: mine", expects]
        connection.send("\r\n".join([*filter(None, lines), "", ""]).encode())
        reply = connection.read()  # and nothing of the body was sent
        assert (reply.status, reply.headers["x-request-id"]) == (401, "mine")
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.json["code"] == "unauthenticated"
    finally:
        connection.close()


def test_a_header_length_past_the_body_is_malformed_alike(ports: dict[str, int]) -> None:
    for length in ("3000", "99999999"):  # the second is more than any JSON may have
        line = f"inference-header-content-length: {length}"
        first, second = (way(ports["one"], "/v2/models/one/infer", {"inputs": []}, line) for way in (hot, by_asgi))
        assert (first.status, "Inference-Header-Content-Length" in first.json["error"]) == (400, True)
        assert shown(first) == shown(second)


def test_a_body_that_is_too_large_is_refused_alike(linear_port: int) -> None:
    body = b" " * 400_000
    first, second = hot(linear_port, "/predict", body, JSON), by_asgi(linear_port, "/predict", body, JSON)
    assert first.status == 413
    # The hot way closes at once and says so; on the other one uvicorn closes once it has seen that the rest is unread.
    assert shown(first, but=("connection",)) == shown(second, but=("connection",))


def test_json_that_is_too_large_and_a_failing_model_alike(linear_port: int) -> None:
    for path, body, status in (
        ("/predict", b" " * 200_000, 413),
        ("/predict", {"features": [222, 0, 0]}, 500),
        ("/invocations", {"inputs": [[222, 0, 0]]}, 500),
        ("/v1/models/linear:predict", {"instances": [[222, 0, 0]]}, 500),
    ):
        first, second = hot(linear_port, path, body, JSON), by_asgi(linear_port, path, body, JSON)
        assert first.status == status
        assert shown_without_id(first) == shown_without_id(second)


def shown_without_id(reply: Reply) -> Any:
    """A failure has an id of its own each time."""
    incident = (reply.json.get("details") or {}).get("id")
    return str(shown(reply)).replace(str(incident), "ID")
