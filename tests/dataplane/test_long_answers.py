"""Long answers are written some values at a time, in turns of the loop, and say what short ones say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from lib.bodies import MLFLOW, PLAIN, TENSORFLOW, V2
from support.moment import moment_s, no_collector
from support.sums import Kept
from tidegate.dataplane.base import amounts
from tidegate.dataplane.base.tensors import Array
from tidegate.dataplane.calls import outputs
from tidegate.dataplane.calls.call import Call
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.dataplane.codec import written
from tidegate.dataplane.codec.v2 import V2Request
from tidegate.dataplane.grpc.infer import EDGE
from tidegate.dataplane.grpc.messages import InferRequest, TensorHead
from tidegate.dataplane.pipeline.infer import PredictionRoute
from tidegate.dataplane.protocols.pieces import infer_in_pieces
from tidegate.server.replica import build_replica
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest
from tidegate.wire.signature import Signature, TensorSpec

GRPC = "gRPC"
PATHS = (PLAIN, V2, MLFLOW, TENSORFLOW)


class Model:
    """One of these outputs. It is never asked."""

    def __init__(self, outputs: tuple[TensorSpec, ...], form: Any) -> None:
        self.signature = Signature("matrix", (TensorSpec("input", "FP64", (-1, 3)),), outputs, form=form)

    def predict(self, inputs: Any, wanted: Any) -> Any:
        raise NotImplementedError


class Stepped:
    """In place of an engine's turns: work that is done when the test says so."""

    def __init__(self) -> None:
        self.work: list[Iterator[bool]] = []

    def take(self, _: asyncio.AbstractEventLoop, work: Iterator[bool]) -> None:
        self.work.append(work)


class Answer:
    """An answer that is being written: `next` does a step of it."""

    def __init__(self, path: str, outputs: Outputs, specs: tuple[TensorSpec, ...], meta: Any, form: Any = "") -> None:
        manifest = Manifest("m", "1", "d" * 64, ".", "python", Model(specs, form).signature, [1, 2, 3], batchable=True)
        self.engine = build_replica(manifest, Model(specs, form), Settings.from_env(), None)[0]
        self.engine.scheduler = self.scheduler = Stepped()  # type: ignore[assignment]
        self.exchange = Kept(self.engine, PLAIN if path == GRPC else path, b"")
        if path == GRPC:
            self.exchange.route = PredictionRoute(EDGE, "m")
        self.exchange.meta = meta
        (destination,) = self.engine.directory.services()["m"].destinations()
        self.call = Call(self.exchange, destination, "mine", len(next(iter(outputs.tensors.values()))))
        self.outputs = outputs

    def steps(self) -> Iterator[None]:
        self.exchange.answer(self.call, self.outputs, 0)
        yield
        for work in self.scheduler.work:
            for _ in work:
                yield

    def all(self) -> tuple[int, bytes]:
        list(self.steps())
        status, body = self.exchange.sent.result()
        return status, body


def _in_loop(work: Callable[[], Any]) -> Any:
    async def go() -> Any:
        return work()

    return asyncio.run(go())


def _meta(path: str) -> Any:
    return {
        PLAIN: False,
        V2: V2Request([]),
        MLFLOW: True,
        TENSORFLOW: "predictions",
        GRPC: InferRequest("m"),
    }[path]


CLASSIFIER = (TensorSpec("prediction", "INT64", (-1,)), TensorSpec("probabilities", "FP64", (-1, 3)))


@pytest.mark.parametrize("path", [*PATHS, GRPC])
def test_half_a_million_rows_of_a_classifier_take_the_loop_a_moment_at_a_time(path: str) -> None:
    """Of the CPU; up to three tries, for what else the machine does shares its caches."""
    shares = np.random.default_rng(1).random((500_000, 3))
    outputs = Outputs({"prediction": shares.argmax(axis=1), "probabilities": shares})

    def longest_s() -> float:
        found = 0.0
        answer = Answer(path, outputs, CLASSIFIER, _meta(path))
        steps = answer.steps()
        while True:
            started_s = time.process_time()
            more = next(steps, steps)
            found = max(found, time.process_time() - started_s)
            if more is steps:
                assert answer.exchange.sent.result()[0] == 200
                return found

    with no_collector():
        assert _in_loop(lambda: any(longest_s() < moment_s() for _ in range(3)))


def _objects(*values: Any) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


NUMBERS = np.arange(60, dtype=np.float64).reshape(20, 3) / 7
TABLE = (
    TensorSpec("a", "FP64", (-1,)),
    TensorSpec("b", "BYTES", (-1,), json=True),
    TensorSpec("c_bytes", "BYTES", (-1,)),
    TensorSpec("d", "FP64", (-1, 3)),
)
CASES: dict[str, tuple[tuple[TensorSpec, ...], dict[str, Array]]] = {
    "a classifier": (CLASSIFIER, {"prediction": np.arange(20), "probabilities": NUMBERS}),
    "not finite": (CLASSIFIER, {"prediction": np.arange(20), "probabilities": np.where(NUMBERS > 3, np.nan, NUMBERS)}),
    "long rows": (CLASSIFIER[:1], {"prediction": NUMBERS.reshape(2, 30)}),
    "images": (CLASSIFIER[:1], {"prediction": NUMBERS.reshape(2, 5, 2, 3)}),
    "rows of nothing": (CLASSIFIER[:1], {"prediction": np.zeros((20, 0))}),
    "texts": (CLASSIFIER[:1], {"prediction": _objects(*(f'"ä{row}' for row in range(20)))}),
    "a table": (
        TABLE,
        {
            "a": np.arange(20) / 3,
            "b": _objects(*(f'{{"x":[{row}]}}' for row in range(20))),
            "c_bytes": _objects(*(b"\xff%d" % row for row in range(20))),
            "d": NUMBERS,
        },
    ),
    "long rows of a table": (TABLE[::3], {"a": np.arange(2) / 3, "d": NUMBERS.reshape(2, 30)}),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", ["", "records", "series", "columns"])
def test_what_is_written_in_steps_is_what_is_written_at_once(
    monkeypatch: pytest.MonkeyPatch, path: str, case: str, form: Any
) -> None:
    specs, tensors = CASES[case]
    if path == V2 and case == "a table":
        tensors = {name: array for name, array in tensors.items() if name != "c_bytes"}

    def written_once() -> tuple[int, bytes]:
        found: tuple[int, bytes] = _in_loop(lambda: Answer(path, Outputs(tensors), specs, _meta(path), form).all())
        return found

    at_once = written_once()
    monkeypatch.setattr(outputs, "AT_ONCE_VALUES_MAX", -1)
    monkeypatch.setattr(written, "VALUES_A_STEP", 7)
    monkeypatch.setattr(written, "OBJECTS_A_STEP", 7)
    assert Outputs(tensors).is_long
    assert written_once() == at_once
    assert at_once[0] == 200
    if case != "not finite":
        json.loads(at_once[1])


def test_an_answer_of_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amounts, "ANSWER_VALUES_MAX", 50_000)
    monkeypatch.setattr(amounts, "ANSWER_BYTES_MAX", 500_000)
    outputs = Outputs({"prediction": np.zeros((2, 30_000))})

    def answered(path: str, outputs: Outputs) -> tuple[int, bytes]:
        found: tuple[int, bytes] = _in_loop(lambda: Answer(path, outputs, CLASSIFIER[:1], _meta(path)).all())
        return found

    for path in PATHS:
        status, body = answered(path, outputs)
        assert (status, b"60000 values" in body, b"send fewer rows" in body) == (413, True, True), path
    status, body = answered(GRPC, Outputs({"prediction": np.zeros((2, 40_000))}))
    assert (status, b"640000 bytes" in body) == (413, True)


def _v2_binary(rows: int) -> tuple[str, bytes, dict[bytes, bytes]]:
    tensor = {"name": "x", "shape": [rows, 1], "datatype": "UINT8", "parameters": {"binary_data_size": rows}}
    head = json.dumps({"inputs": [tensor]}).encode()
    return V2, head + bytes(rows), {b"inference-header-content-length": b"%d" % len(head)}


def _csv(rows: int) -> tuple[str, bytes, dict[bytes, bytes]]:
    return MLFLOW, b"a\n" + b"1\n" * rows, {b"content-type": b"text/csv"}


def _grpc(rows: int) -> tuple[str, InferRequest, dict[bytes, bytes]]:
    return GRPC, InferRequest("m", inputs=[TensorHead("x", "UINT8", (rows, 1))], contents=[None], raw=[bytes(rows)]), {}


@pytest.mark.parametrize(("answers", "rows_max"), [("INT64", 40_000), ("BYTES", 30_000)])
@pytest.mark.parametrize("made", [_v2_binary, _csv, _grpc])
def test_a_request_of_too_many_rows_is_refused(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[int], Any], answers: str, rows_max: int
) -> None:
    monkeypatch.setattr("tidegate.dataplane.calls.call.ROWS_MAX", 40_000)
    monkeypatch.setattr("tidegate.dataplane.calls.call.TEXT_ROWS_MAX", 30_000)
    outputs = (TensorSpec("prediction", answers, (-1,)),)

    def answered(rows: int) -> tuple[int, bytes] | None:
        path, body, headers = made(rows)
        model = Model(outputs, "")
        model.signature = Signature("tensors", (TensorSpec("x", "UINT8", (-1, 1)),), outputs)
        manifest = Manifest("m", "1", "d" * 64, ".", "python", model.signature, [1], batchable=True)
        exchange = Kept(build_replica(manifest, model, Settings.from_env(), None)[0], V2, b"", headers)
        if path == GRPC:
            exchange.route, exchange.meta = PredictionRoute(EDGE, "m"), body
        else:
            exchange = Kept(exchange.engine, path, body, headers)
        list(infer_in_pieces(exchange, exchange.engine.clock()))
        return exchange.sent.result() if exchange.sent.done() else None

    assert _in_loop(lambda: answered(rows_max)) is None
    status, body = _in_loop(lambda: answered(rows_max + 1))
    assert (status, b"%d rows" % (rows_max + 1) in body) == (413, True)


def test_a_client_that_is_gone_has_no_answer_written() -> None:
    def go() -> int:
        answer = Answer(PLAIN, Outputs({"prediction": np.zeros(100_000)}), CLASSIFIER[:1], False)
        answer.exchange.__class__ = _Gone
        return len(list(answer.steps()))

    assert _in_loop(go) == 1


class _Gone(Kept):
    @property
    def is_wanted(self) -> bool:
        return False


@pytest.mark.parametrize("few", [1, 64])
def test_short_answers_are_written_at_once(few: int) -> None:
    outputs = Outputs({"prediction": np.zeros(few), "probabilities": np.zeros((few, 3))})
    answer = _in_loop(lambda: Answer(PLAIN, outputs, CLASSIFIER, False))
    assert len(list(answer.steps())) == 1
    assert answer.exchange.sent.result()[0] == 200
