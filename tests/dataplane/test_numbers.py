"""Bodies whose long arrays are read a piece at a time are answered as they are when they are read whole."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from support.sums import Kept, sums_replica
from tidegate.dataplane.base.cooperative_scheduler import LARGE_BYTES_MIN
from tidegate.dataplane.calls.call import Destination, Identity
from tidegate.dataplane.codec import numbers
from tidegate.dataplane.codec.fit import Fitted
from tidegate.dataplane.codec.frames import fit_numbers_frame
from tidegate.dataplane.codec.numbers import arrays_of, read_numbers
from tidegate.dataplane.http.hot_exchange import HotExchange
from tidegate.dataplane.http.routes import RouteTable
from tidegate.dataplane.pipeline.infer import InferenceEngine, infer
from tidegate.dataplane.protocols import pieces
from tidegate.dataplane.protocols.pieces import infer_in_pieces
from tidegate.errors import MalformedRequest, UnfitInput
from tidegate.wire.signature import Signature, TensorSpec

ROWS = [[round(0.37 * row + column, 3) for column in range(3)] for row in range(40)]
FLAT = [value for row in ROWS for value in row]
PLAIN, V2, MLFLOW, TENSORFLOW = "/predict", "/v2/models/sums/infer", "/invocations", "/v1/models/sums:predict"


Ask = Callable[..., tuple[Any, Any, int]]


async def _both_ways(
    engine: InferenceEngine, path: str, body: bytes, headers: dict[bytes, bytes] | None = None
) -> tuple[Any, Any, int]:
    """The answer of the whole body, that of its pieces, and how many turns these took."""
    whole, pieces = Kept(engine, path, body, headers), Kept(engine, path, body, headers)
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

        self._engine, self._hooks = self._runner.run(sums_replica(self._datatype))
        return lambda *asked: self._runner.run(_both_ways(self._engine, *asked))

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
    (MLFLOW, {"dataframe_split": {"columns": ["a", "b", "c"], "data": ROWS}}),
    (MLFLOW, {"dataframe_split": {"index": list(range(40)), "data": ROWS}}),
    (TENSORFLOW, {"instances": ROWS}),
    (TENSORFLOW, {"signature_name": "serving_default", "inputs": ROWS}),
]


@pytest.mark.parametrize(("path", "body"), GOOD)
@pytest.mark.parametrize(
    "written",
    [{"separators": (",", ":")}, {"separators": (", ", ": ")}, {"separators": (" ,\n ", "\t: ")}, {"indent": 2}],
)
def test_numbers_are_read_in_pieces(ask: Ask, path: str, body: Any, written: dict[str, Any]) -> None:
    whole, pieces, turns = ask(path, json.dumps(body, **written).encode())
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
    (PLAIN, b'{"features"\v: %b}' % LONG),
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


@pytest.mark.parametrize(
    "between", [b"]\v,[", b"]\f,[", b"],\v[", b"]\xa0,[", b"]\0,[", b"] \n\t\r, \n[", b"],,[", b"] ["]
)
def test_between_rows_is_what_json_takes_there(ask: Ask, between: bytes) -> None:
    """Wherever a piece ends."""
    rows = LONG.split(b"], [")
    for place in range(1, len(rows)):
        body = b'{"features": %b}' % between.join([b"], [".join(rows[:place]), b"], [".join(rows[place:])])
        whole, pieces, _ = ask(PLAIN, body)
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


def test_one_row_that_is_long_is_read_in_pieces_too(ask: Ask) -> None:
    row = ", ".join(["1." + "0" * 70] * 3).encode()
    whole, pieces, turns = ask(PLAIN, b'{"features": [%b]}' % row)
    assert whole[0] == 200
    assert pieces == whole
    assert turns == 4
    whole, pieces, _ = ask(PLAIN, b'{"features": [%b, 4]}' % row)
    assert whole[0] == 422
    assert pieces == whole


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_a_body_that_comes_compressed_is_read_in_pieces(ask: Ask, encoding: bytes) -> None:
    body = json.dumps({"features": ROWS}).encode()
    packed = gzip.compress(body) if encoding == b"gzip" else zlib.compress(body)
    whole, pieces, turns = ask(PLAIN, packed, {b"content-encoding": encoding})
    assert whole[0] == 200
    assert pieces == whole
    assert turns > 5


def test_csv_that_looks_like_json_is_answered_as_csv(ask: Ask) -> None:
    whole, pieces, _ = ask(MLFLOW, b'"inputs": %b' % LONG, {b"content-type": b"text/csv"})
    assert whole[0] == 400
    assert pieces == whole


def test_what_a_model_takes_in_no_case_is_not_read_twice(ask: Ask) -> None:
    """Flat lists are rows of one value for some edges, and never read by themselves there."""
    assert ask(MLFLOW, b'{"inputs": %b}' % LONG_FLAT)[2] == 1
    with _asking("INT64") as other:
        assert other(PLAIN, b'{"features": %b}' % LONG)[2] == 1


@pytest.mark.parametrize("datatype", ["FP32", "INT64"])
def test_a_model_of_other_numbers_gets_its_own(monkeypatch: pytest.MonkeyPatch, datatype: str) -> None:
    monkeypatch.setattr(numbers, "LONG_BYTES_MIN", 50)
    with _asking(datatype) as ask:
        for value in ("3e38", "4e38", "9007199254740993", "5"):
            rows = json.dumps([[1, 2, 3]] * 30).replace("[1,", f"[{value},").encode()
            whole, pieces, _ = ask(PLAIN, b'{"features": %b}' % rows)
            assert pieces == whole


def _read_all(body: bytes) -> Any:
    steps = read_numbers(body, arrays_of("data"))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_of_a_great_many_arrays_only_the_first_are_looked_at() -> None:
    """Each look takes time, and they are all in one step."""
    short, long = b'"data": [1],', json.dumps([0.5] * 30_000).encode()
    assert _read_all(b'{%b"data": %b}' % (short * 100, long)) is not None
    assert _read_all(b'{%b"data": %b}' % (short * 1_000, long)) is None


def test_versions_may_be_replaced_between_two_pieces(ask: Ask) -> None:
    """A version that is stopped meanwhile is not asked any more: the request goes to the one that took its place."""

    async def go() -> tuple[int, Any]:
        engine, hooks = await sums_replica()
        successor, its_hooks = await sums_replica()
        exchange = Kept(engine, PLAIN, b'{"features": %b}' % LONG)
        pieces = infer_in_pieces(exchange, engine.clock())
        assert [next(pieces), next(pieces)] == [True, True]
        await hooks.on_stop()
        engine.directory = successor.directory
        assert list(pieces)[-1] is False
        answer = await asyncio.wait_for(exchange.sent, 10)
        await its_hooks.on_stop()
        return answer

    status, body = asyncio.run(go())
    assert status == 200
    assert json.loads(body)["prediction"] == pytest.approx([sum(row) for row in ROWS])


def test_a_small_body_that_inflates_to_a_large_one_waits_for_its_turn() -> None:
    async def go() -> list[bool]:
        engine, hooks = await sums_replica()
        taken: list[Any] = []
        engine.scheduler = cast(Any, SimpleNamespace(take=lambda loop, work: taken.append(work)))
        route = RouteTable().find(PLAIN.encode())
        assert route is not None
        protocol = cast(Any, SimpleNamespace(loop=asyncio.get_running_loop()))
        exchange = HotExchange(engine, route, {b"content-encoding": b"gzip"}, protocol, keep_alive=True)
        exchange.body = gzip.compress(b'{"features": [%b]}' % b",".join([b"[1,2,3]"] * 100_000))
        assert len(exchange.body) < LARGE_BYTES_MIN
        exchange.start()
        steps = [next(taken[0]) for _ in range(5)]
        await hooks.on_stop()
        return steps

    assert asyncio.run(go()) == [True] * 5


def test_a_short_array_and_one_under_another_key_are_left_alone() -> None:
    long = json.dumps([0.5] * 30_000).encode()
    assert _read_all(b'{"data": [1, 2], "other": %b}' % long) is None
    read = _read_all(b'{"data": %b, "and": {"data": %b}}' % (long, long))
    assert read.body.count(b'"') == 10
    texts = [value for value in read.body.split(b'"') if b"-" in value]
    assert [read.take(b'"%b"' % text).tolist() for text in texts] == [[0.5] * 30_000] * 2
    assert read.all_taken


WHOLE = [[row - 20, 2**53 - 1 - row, -row] for row in range(40)]


@pytest.mark.parametrize(
    ("written", "in_pieces"),
    [
        (WHOLE, True),
        ([value for row in WHOLE for value in row], True),
        ([[2**53 + 1, 0, 0], *WHOLE[1:]], False),  # no float64 holds it
        ([[1.0, 0, 0], *WHOLE[1:]], False),
        ([[1e3, 0, 0], *WHOLE[1:]], False),
    ],
)
def test_whole_numbers_of_an_integer_tensor(monkeypatch: pytest.MonkeyPatch, written: Any, in_pieces: bool) -> None:
    monkeypatch.setattr(numbers, "PIECE_BYTES", 60)
    monkeypatch.setattr(numbers, "LONG_BYTES_MIN", 50)
    taken: list[Any] = []
    decode = pieces._decode_numbers

    def noted(*given: Any) -> Any:
        taken.append(decode(*given))
        return taken[-1]

    monkeypatch.setattr(pieces, "_decode_numbers", noted)
    tensor = {"name": "input", "shape": [40, 3], "datatype": "INT64", "data": written}
    with _asking("INT64") as ask:
        whole, in_parts, _ = ask(V2, json.dumps({"inputs": [tensor]}).encode())
    assert in_parts == whole
    assert [call is not None for call in taken] == [in_pieces]
    assert (whole[0] == 200) == all(type(value) is int for value in np.ravel(np.array(written, object)))


@pytest.mark.parametrize(
    "body",
    [
        b'{"dataframe_split":{"columns":["a","b","c"],"data":[%b]}}' % b",".join([b"[0.5,2,3]"] * 260_000),
        b'{"inputs":[{"name":"input","shape":[260000,3],"datatype":"INT64","data":[%b]}]}'
        % b",".join([b"7,8,9"] * 260_000),
    ],
)
def test_long_arrays_of_numbers_are_no_amount_that_is_refused(body: bytes) -> None:
    """As many numbers as two megabytes hold: more than is read of what is no long array."""

    async def go() -> int:
        is_split = b"split" in body
        engine, hooks = await sums_replica("FP64" if is_split else "INT64")
        exchange = Kept(engine, MLFLOW if is_split else V2, body)
        assert len(list(infer_in_pieces(exchange, engine.clock()))) > 2
        status, _ = await asyncio.wait_for(exchange.sent, 30)
        await hooks.on_stop()
        return int(status)

    assert asyncio.run(go()) == 200


def test_a_frame_of_numbers_goes_by_the_names_of_its_columns() -> None:
    inputs = tuple(TensorSpec(name, "FP64", (-1,)) for name in "abc")
    where = Destination(Identity("e", "m", "1", "1"), Signature("columns", inputs, ()), None, cast(Any, None))
    found = Fitted(2, packed=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])), False
    for names, row in ((["c", "a", "b"], [2, 3, 1]), (["a", "b", "c"], [1, 2, 3]), ([0, 1, 2], [1, 2, 3])):
        packed = fit_numbers_frame(names, found, where).packed
        assert packed is not None
        assert list(packed[0]) == row
    for wrong in (["a", "b"], ["a", "b", "d"], ["a", "a", "b"], "abc"):
        with pytest.raises((UnfitInput, MalformedRequest)):
            fit_numbers_frame(wrong, found, where)
