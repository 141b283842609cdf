"""Random damage to valid requests of every protocol, to real servers: each is answered, no answer is a 5xx.

Whatever came, the request after it on the same connection is answered, or the server has said that it closes.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.http_bytes import Connection, Reply, post

JSON, OCTETS, CSV = (f"content-type: {kind}" for kind in ("application/json", "application/octet-stream", "text/csv"))
EXPECT = "expect: 100-continue"
RECORD = {"city": "007", "rooms": 3, "price": 1.5, "new": True}
GOOD: dict[str, dict[str, Any]] = {"one": {"features": [1, 2]}, "table": {"features": RECORD}}
INPUTS = {"one": {"'x'", "features["}, "table": set(RECORD)}
ANSWERS = {"one": [[1.0, 2.0]], "table": ["'007' 3 1.5 True"]}
FUZZ = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def tensor(name: str, shape: list[int], datatype: str, data: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


V2_TABLE = {
    "id": "a",
    "parameters": {"user_id": "u"},
    "inputs": [
        tensor("city", [2], "BYTES", ["a", "b"]),
        tensor("rooms", [2], "INT64", [1, 2]),
        tensor("price", [2], "FP64", [1.5, 2]),
        tensor("new", [2], "BOOL", [True, False]),
    ],
    "outputs": [{"name": "prediction", "parameters": {"binary_data": False}}],
}
BODIES: dict[str, tuple[str, Any]] = {
    "plain row": ("/predict/one", {"features": [1, 2], "model_version": "3", "user_id": "u"}),
    "plain rows": ("/predict/one", {"features": [[1, 2], [3, 4]]}),
    "plain record": ("/predict/table", {"features": RECORD}),
    "v2 one": ("/v2/models/one/infer", {"inputs": [tensor("x", [2, 2], "FP32", [1, 2, 3, 4])]}),
    "v2 table": ("/v2/models/table/infer", V2_TABLE),
    "mlflow split": (
        "/endpoints/table/invocations",
        {"dataframe_split": {"columns": list(RECORD), "data": [list(RECORD.values())]}, "params": {"a": 1}},
    ),
    "mlflow records": ("/endpoints/table/invocations", {"dataframe_records": [RECORD, RECORD]}),
    "mlflow inputs": ("/endpoints/one/invocations", {"inputs": {"x": [[1, 2]]}}),
    "tf instances": ("/v1/models/table:predict", {"instances": [RECORD], "signature_name": "serving_default"}),
    "tf inputs": ("/v1/models/table:predict", {"inputs": {name: [value] for name, value in RECORD.items()}}),
}

# -- talking to it --------------------


def read(connection: Connection) -> Reply:
    reply = connection.read()
    return connection.read() if reply.status == 100 else reply


def is_said_well(reply: Reply) -> bool:
    """Whether it is an answer, or a refusal that blames the client and says why."""
    if reply.status == 200:
        return True
    said = reply.json
    return 400 <= reply.status < 500 and bool(said["error"]) and bool(said["code"])


def answered(port: int, model: str, wire: bytes) -> Reply:
    """The answer to these bytes, which are one request, with a good one behind it."""
    connection = Connection(port)
    try:
        connection.send(wire + post(f"/predict/{model}", GOOD[model]))
        reply = read(connection)
        assert is_said_well(reply), (reply.status, reply.body)
        if reply.headers.get("connection") == "close":
            assert connection.closed()
        else:
            after = read(connection)
            assert (after.status, after.json.get("prediction")) == (200, ANSWERS[model])
        return reply
    finally:
        connection.close()


def chunked(path: str, body: bytes, cuts: list[int], *headers: str) -> bytes:
    """The body in chunks that end at these places."""
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[begin:end] for begin, end in pairwise(places)]
    wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return post(path, wire, "transfer-encoding: chunked", *headers)


# -- one value is another one --------------------

NUMBERS = st.one_of(
    st.sampled_from(
        [0, -0.0, -1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**400, 5e-324, 1e300, math.nan, math.inf]
    ),
    st.integers(),
    st.floats(),
)
TEXTS = st.one_of(
    st.sampled_from(["", "\0", "NaN", "INT64", "BYTES", "FP16", "BF16", "x", "prediction", "\ud800", "a" * 3000, "'"]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
Path = tuple[Any, ...]


def paths_of(value: Any, path: Path = ()) -> list[Path]:
    """The way to every value inside of it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in paths_of(item, (*path, key)))]


def replaced(value: Any, path: Path, by: Any) -> Any:
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


def names_on(value: Any, path: Path) -> set[str]:
    """What a message may call the place: the keys on the way, and the names of the tensors that lie on it."""
    names = {key for key in path if isinstance(key, str)}
    for key in path:
        value = value[key]
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            names.add(value["name"])
    return names


@pytest.mark.parametrize("name", BODIES)
def test_a_value_that_is_another_is_taken_or_refused_by_the_name_of_its_field(ports: dict[str, int], name: str) -> None:
    path, body = BODIES[name]

    @FUZZ
    @given(st.sampled_from(paths_of(body)), VALUES)
    def damage(place: Path, value: Any) -> None:
        text = json.dumps(replaced(body, place, value))
        model = "table" if "table" in path else "one"
        reply = answered(ports[model], model, post(path, text, JSON))
        if reply.status in (400, 422) and place and "no JSON" not in reply.json["error"]:
            known = names_on(body, place) | INPUTS[model]
            assert any(one in reply.json["error"] for one in known), (known, text, reply.json)

    damage()


# -- bytes are others, and come in pieces --------------------

WEIRD = [
    *(b"1e400", b"-1e400", b"NaN", b"-Infinity", b"nan", b"01", b"1.", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x00"),
    *(
        b'"\\ud800"',
        b'"\\x"',
        b"{" * 2000,
        b"[" * 200_000,
        b'"features": 1, ',
        b'"inputs": [], ',
        b"9" * 5000,
        b"'",
        b",",
    ),
    *(b"{}", b"[]", b"null", b'"', b"\\", b"\xef\xbb\xbf", b"//", b" " * 70_000),
]


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """Pieces of the body left out, doubled, or replaced by what JSON and numbers stumble over."""
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(body)))
        end = min(len(body), begin + draw(st.integers(0, 12)))
        by = draw(st.one_of(st.sampled_from(WEIRD), st.binary(max_size=6), st.just(body[begin:end] * 2)))
        body = body[:begin] + by + body[end:]
    return body if draw(st.booleans()) else body[: draw(st.integers(0, len(body)))]


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, 1),
    "gzip, cut": lambda body: gzip.compress(body, 1)[:-3],
    "gzip, and more": lambda body: gzip.compress(body, 1) + b"x",
    "deflate": lambda body: zlib.compress(body, 1),
    "deflate, cut": lambda body: zlib.compress(body, 1)[:-5],
    "identity": bytes,
    "br": bytes,
}


@st.composite
def sent(draw: st.DrawFn, path: str, body: bytes, *headers: str) -> bytes:
    """A request with this body, by any of the ways that it can come."""
    more = [EXPECT] if draw(st.integers(0, 4)) == 0 else []
    if draw(st.integers(0, 3)) == 0:
        encoding = draw(st.sampled_from(list(ENCODINGS)))
        body = ENCODINGS[encoding](body)
        more.append(f"content-encoding: {encoding.partition(',')[0]}")
    if draw(st.booleans()):
        return post(path, body, *headers, *more)
    return chunked(path, body, draw(st.lists(st.integers(0, 1 << 20), max_size=4)), *headers, *more)


def test_bytes_that_are_others_are_answered_in_their_place(ports: dict[str, int]) -> None:
    @FUZZ
    @given(st.data())
    def damage(data: st.DataObject) -> None:
        path, body = BODIES[data.draw(st.sampled_from(list(BODIES)))]
        model = "table" if "table" in path else "one"
        wire = data.draw(damaged(json.dumps(body).encode()))
        kind = data.draw(st.sampled_from([JSON, JSON, JSON, OCTETS, CSV, "content-type: \xff", "content-type:"]))
        answered(ports[model], model, data.draw(sent(path, wire, kind)))

    damage()


@pytest.mark.parametrize("model", ["one", "table"])
def test_csv_that_is_damaged_is_answered(ports: dict[str, int], model: str) -> None:
    table = b'city,rooms,price,new\n007,3,1.5,true\n"a,""b",,nan,false\n' if model == "table" else b"a,b\n1,2\n"

    @FUZZ
    @given(st.data())
    def damage(data: st.DataObject) -> None:
        body = data.draw(damaged(table))
        answered(ports[model], model, data.draw(sent(f"/endpoints/{model}/invocations", body, CSV)))

    damage()


# -- binary tensors --------------------

SIZES = st.one_of(
    st.sampled_from(
        [0, -1, 1, 7, 8, 9, 16, 2**31, 2**32 + 8, 2**62, 2**63, 2**64, 2**64 + 16, 10**30, "16", 16.0, None, True]
    ),
    st.integers(-(2**70), 2**70),
)
LENGTHS = st.lists(
    st.one_of(st.integers(0, 5), st.sampled_from([-1, -2, 2**31, 2**32, 2**62, 2**63, 2**64])), max_size=4
)
TYPES = st.sampled_from(
    ["BOOL", "UINT8", "INT16", "INT64", "UINT64", "FP16", "FP32", "FP64", "BF16", "BYTES", "FP128", "", "fp32"]
)
HEADERS = st.sampled_from(["", "-1", "+5", "0", "1e3", "0x10", " 5", "99999999999999999999", "9" * 5000])


def test_binary_tensors_of_any_shape_size_and_datatype_are_answered_by_name(ports: dict[str, int]) -> None:
    """One of shape, datatype, sizes, raw bytes and the header's length is right at a time, or none of them."""

    @FUZZ
    @given(st.data())
    def damage(data: st.DataObject) -> None:
        draw = data.draw
        right = draw(st.sets(st.sampled_from(["shape", "kind", "size", "raw", "header"])))
        shape = [1, 2] if "shape" in right else draw(LENGTHS)
        kind = "FP32" if "kind" in right else draw(TYPES)
        raw = np.array([1, 2], "<f4").tobytes() if "raw" in right else draw(st.binary(max_size=40))
        size = len(raw) if "size" in right else draw(SIZES)
        described = {"name": "x", "shape": shape, "datatype": kind, "parameters": {"binary_data_size": size}}
        text = json.dumps({"inputs": [described]}).encode()
        about = st.integers(-3, 3).map(lambda off: str(len(text) + off))
        header = str(len(text)) if "header" in right else draw(st.one_of(about, HEADERS))
        line = f"inference-header-content-length: {header}"
        wire = draw(sent("/v2/models/one/infer", text + raw, OCTETS, line))
        reply = answered(ports["one"], "one", wire)
        if len(right) == 5:
            assert reply.status == 200 or b"content-encoding" in wire
        if reply.status == 422:
            assert "x" in reply.json["error"]

    damage()
