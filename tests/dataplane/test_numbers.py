"""Bodies whose long arrays are read a piece at a time are answered as they are when they are read whole."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from tidegate.dataplane import numbers
from tidegate.dataplane.destination import Destination
from tidegate.dataplane.infer import Engine, Exchange, infer
from tidegate.dataplane.numbers import arrays_of, read_numbers
from tidegate.dataplane.pieces import infer_in_pieces
from tidegate.dataplane.routes import RouteTable
from tidegate.server.replica import build_replica
from tidegate.settings import Settings
from tidegate.wire.manifest import Manifest
from tidegate.wire.signature import Signature, TensorSpec

ROWS = [[round(0.37 * row + column, 3) for column in range(3)] for row in range(40)]
FLAT = [value for row in ROWS for value in row]
PLAIN, V2, MLFLOW, TENSORFLOW = "/predict", "/v2/models/sums/infer", "/invocations", "/v1/models/sums:predict"


class _Sums:
    """Answers the sum of each row. Takes float64, or what `datatype` says."""

    def __init__(self, datatype: str = "FP64") -> None:
        inputs = (TensorSpec("input", datatype, (-1, 3)),)
        self.signature = Signature("matrix", inputs, (TensorSpec("prediction", "FP64", (-1,)),))

    def predict(self, inputs: Any, wanted: Any) -> Any:
        return {"prediction": inputs["input"].astype(np.float64).sum(axis=1)}


class _Kept(Exchange):
    """An exchange that keeps its answer."""

    def __init__(self, engine: Engine, path: str, body: bytes, headers: dict[bytes, bytes] | None = None) -> None:
        route = RouteTable().find(path.encode())
        assert route is not None
        super().__init__(engine, route, {b"x-request-id": b"mine", **(headers or {})})
        self.body = body
        self.sent: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()

    def send(self, status: int, destination: Destination | None, body: bytes) -> None:
        self.sent.set_result((status, body))


Ask = Callable[[str, bytes], tuple[Any, Any, int]]


async def _both_ways(engine: Engine, path: str, body: bytes) -> tuple[Any, Any, int]:
    """The answer of the whole body, that of its pieces, and how many turns these took."""
    whole, pieces = _Kept(engine, path, body), _Kept(engine, path, body)
    infer(whole)
    turns = len(list(infer_in_pieces(pieces, engine.clock())))
    return await asyncio.wait_for(whole.sent, 10), await asyncio.wait_for(pieces.sent, 10), turns


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Asks a replica of float64 both ways; arrays of 50 bytes are long, and pieces about as long."""
    monkeypatch.setattr(numbers, "PIECE_BYTES", 60)
    monkeypatch.setattr(numbers, "LONG_BYTES_MIN", 50)
    with _asking("FP64") as one:
        yield one


class _asking:  # noqa: N801 (reads as a function)
    def __init__(self, datatype: str) -> None:
        self._datatype = datatype

    def __enter__(self) -> Ask:
        self._runner = asyncio.Runner()
        self._runner.__enter__()

        async def build() -> tuple[Any, Any]:
            model = _Sums(self._datatype)
            manifest = Manifest("sums", "1", "d" * 64, ".", "python", model.signature, [1.0, 2.0, 3.0], batchable=True)
            engine, _, hooks = build_replica(manifest, model, Settings.from_env(), None)
            return engine, hooks

        self._engine, self._hooks = self._runner.run(build())
        return lambda path, body: self._runner.run(_both_ways(self._engine, path, body))

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._hooks.on_stop())
        self._runner.__exit__(None, None, None)


def _v2(data: Any, shape: Sequence[int] = (40, 3), **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "shape": list(shape), "datatype": "FP64", "data": data}], **more}


GOOD: list[tuple[str, Any]] = [
    (PLAIN, {"features": ROWS}),
    (PLAIN, {"model_version": "1", "features": ROWS, "user_id": 'a "b" ]], [['}),
    (V2, _v2(FLAT)),
    (V2, _v2(FLAT, id="five", parameters={"data": "x"})),
    (V2, _v2(ROWS)),
    (MLFLOW, {"instances": ROWS}),
    (MLFLOW, {"inputs": ROWS}),
    (TENSORFLOW, {"instances": ROWS}),
    (TENSORFLOW, {"signature_name": "serving_default", "inputs": ROWS}),
]


@pytest.mark.parametrize(("path", "body"), GOOD)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n ", "\t: ")])
def test_numbers_are_read_in_pieces(ask: Ask, path: str, body: Any, separators: tuple[str, str]) -> None:
    whole, pieces, turns = ask(path, json.dumps(body, separators=separators).encode())
    assert whole[0] == 200
    assert pieces == whole
    assert turns > 5


@pytest.mark.parametrize("number", ["-0", "-0.0", "1e3", "123456789012345678901", "1e-320", "0.1", "9007199254740993"])
def test_every_way_to_write_a_number_means_the_same(ask: Ask, number: str) -> None:
    rows = json.dumps(ROWS).replace("0.37", number)
    whole, pieces, turns = ask(PLAIN, b'{"features": %b}' % rows.encode())
    assert pieces == whole
    assert turns > 5


LONG = json.dumps(ROWS).encode()
LONG_FLAT = json.dumps(FLAT).encode()
ODD: list[tuple[str, bytes]] = [
    (PLAIN, b'{"features": %b' % LONG),
    (PLAIN, b'{"features": %b}}' % LONG),
    (PLAIN, b'{"features": %b, "features": [[1, 2, 3]]}' % LONG),
    (PLAIN, b'{"features": [[1, 2, 3]], "other": {"features": %b}}' % LONG),
    (PLAIN, b'{"other": {"features": %b}}' % LONG),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"0.37", b"1e400")),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"0.37", b"true")),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"0.37", b"null")),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"0.37", b'"0.37"')),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"0.37", b"[0.37]")),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"], [", b"]  [")),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"]]", b"],]")),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"]]", b"], []]")),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"]]", b"] ]")),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"]]", b", 4]]")),
    (PLAIN, b'{"features": %b}' % LONG.replace(b"], [", b", ")),
    (PLAIN, b'{"features": %b, "user_id": "\xff"}' % LONG),
    (PLAIN, b'{"features": %b, "model_version": "7"}' % LONG),
    (V2, b'{"inputs": [{"name": "input", "shape": [40, 3], "datatype": "INT64", "data": %b}]}' % LONG_FLAT),
    (V2, b'{"inputs": [{"name": "input", "shape": [40, 3], "datatype": "FP32", "data": %b}]}' % LONG_FLAT),
    (V2, b'{"inputs": [{"name": "input", "shape": [40, 3], "datatype": "FP16", "data": %b}]}' % LONG_FLAT),
    (V2, b'{"inputs": [{"name": "input", "shape": [30, 4], "datatype": "FP64", "data": %b}]}' % LONG_FLAT),
    (V2, b'{"inputs": [{"name": "input", "shape": [30, 4], "datatype": "FP64", "data": %b}]}' % LONG),
    (V2, b'{"inputs": [{"name": "input", "shape": [3, 40], "datatype": "FP64", "data": %b}]}' % LONG),
    (V2, b'{"inputs": [{"name": "input", "shape": [41, 3], "datatype": "FP64", "data": %b}]}' % LONG_FLAT),
    (V2, b'{"inputs": [{"name": "other", "shape": [40, 3], "datatype": "FP64", "data": %b}]}' % LONG_FLAT),
    (V2, b'{"inputs": [], "parameters": {"data": %b}}' % LONG_FLAT),
    (V2, b'{"inputs": [{"name": "input", "shape": [40, 3], "datatype": "FP64", "data": %b,]}]}' % LONG_FLAT[:-1]),
    (V2, b'{"inputs": [{"name": "input", "shape": [40, 3], "datatype": "FP64", "data": [, %b}]}' % LONG_FLAT[1:]),
    (MLFLOW, b'{"instances": %b, "inputs": %b}' % (LONG, LONG)),
    (MLFLOW, b'{"instances": %b}' % LONG.replace(b"0.37", b"NaN")),
    (MLFLOW, b'{"dataframe_split": {"data": %b}}' % LONG),
    (TENSORFLOW, b'{"instances": %b, "signature_name": "none"}' % LONG),
]


@pytest.mark.parametrize(("path", "body"), ODD)
def test_whatever_else_it_is_the_answer_is_that_of_the_whole(ask: Ask, path: str, body: bytes) -> None:
    whole, pieces, _ = ask(path, body)
    assert pieces == whole


def test_a_body_with_any_byte_changed_is_answered_as_the_whole(ask: Ask) -> None:
    """Left out, doubled, or made another one that means something in JSON."""
    rng = random.Random(7)
    for path, body in [(path, json.dumps(body).encode()) for path, body in GOOD]:
        for _ in range(150):
            at, other = rng.randrange(len(body)), bytes([rng.choice(b'[]{},:"\\ 0e.-nt\xff')])
            changed = body[:at] + rng.choice([b"", other, body[at : at + 1] + other]) + body[at + 1 :]
            whole, pieces, _ = ask(path, changed)
            assert pieces == whole, changed


@pytest.mark.parametrize("datatype", ["FP32", "INT64"])
def test_a_model_of_other_numbers_gets_its_own(monkeypatch: pytest.MonkeyPatch, datatype: str) -> None:
    monkeypatch.setattr(numbers, "LONG_BYTES_MIN", 50)
    with _asking(datatype) as ask:
        for value in ("3e38", "4e38", "9007199254740993", "5"):
            rows = json.dumps([[1, 2, 3]] * 30).replace("[1,", f"[{value},").encode()
            whole, pieces, _ = ask(PLAIN, b'{"features": %b}' % rows)
            assert pieces == whole


def test_a_short_array_and_one_under_another_key_are_left_alone() -> None:
    def found(body: bytes) -> Any:
        steps = read_numbers(body, arrays_of("data"))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    long = json.dumps([0.5] * 30_000).encode()
    assert found(b'{"data": [1, 2], "other": %b}' % long) is None
    read = found(b'{"data": %b, "and": {"data": %b}}' % (long, long))
    assert read.body.count(b'"') == 10
    texts = [value for value in read.body.split(b'"') if b"-" in value]
    assert [read.take(b'"%b"' % text).tolist() for text in texts] == [[0.5] * 30_000] * 2
    assert read.all_taken
