"""No request holds the loop for long, whatever its body is and however large it is.

Two halves. What is Python has pauses: between two of them it runs a number of lines that does not grow with the body.
What a library does in one call cannot pause: of the largest bodies that are taken it takes little of the CPU.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from lib.bodies import EXAMPLES, KINDS, PLAIN, SIGNATURES, Kind, Zeros
from support.moment import moment_s, no_collector
from support.sums import Kept
from tidegate.dataplane.base import amounts, stepwise
from tidegate.dataplane.base.stepwise import in_steps
from tidegate.dataplane.codec import keys, numbers
from tidegate.dataplane.grpc import protobuf
from tidegate.dataplane.grpc.infer import EDGE
from tidegate.dataplane.grpc.messages import read_infer_request
from tidegate.dataplane.pipeline import buffered
from tidegate.dataplane.pipeline.infer import InferenceEngine
from tidegate.dataplane.protocols.pieces import infer_in_pieces
from tidegate.errors import MalformedRequest, TidegateError
from tidegate.server.replica import build_replica
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest

BODY_BYTES_MAX = 8 << 20
ITEMS = 16
LINES_MAX = 100 * ITEMS
TRACED_BYTES = 160_000
"""Of an item of 100 bytes there are more than `LINES_MAX`: a line for each of them, without a pause, is found."""


class Lines:
    """Counts the lines of Python that run on a thread between two pauses."""

    def __init__(self) -> None:
        self.most = self._since = 0
        self.where = ""

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self._since += 1
            if self._since > self.most:
                self.most, self.where = self._since, f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return self

    def pause(self) -> None:
        self._since = 0


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Of what runs in steps, whose every pause ends one; pieces of all sorts are small.

    Without the collector, which would run other tests' finalizers here.
    """
    found, run, pause = Lines(), stepwise._Steps.run, stepwise._Steps.pause

    def traced(steps: Any) -> None:
        sys.settrace(found)
        try:
            run(steps)
        finally:
            sys.settrace(None)

    def paused(steps: Any) -> None:
        pause(steps)
        found.pause()

    monkeypatch.setattr(stepwise, "STEP_S", 0.0)
    monkeypatch.setattr(stepwise._Steps, "run", traced)
    monkeypatch.setattr(stepwise._Steps, "pause", paused)
    for module in (stepwise, keys, protobuf):
        monkeypatch.setattr(module, "ITEMS_A_STEP", ITEMS)
    monkeypatch.setattr(keys, "PIECES_BYTES", 16 * ITEMS)
    monkeypatch.setattr(buffered, "ROWS_A_STEP", ITEMS)
    monkeypatch.setattr(numbers, "LONG_BYTES_MIN", 1 << 30)  # these have tests of their own
    with no_collector():
        yield found


def _engine(name: str) -> InferenceEngine:
    model = Zeros(name)
    manifest = Manifest("m", "1", "d" * 64, ".", "python", SIGNATURES[name], EXAMPLES.get(name), batchable=True)
    return build_replica(manifest, model, Settings.from_env(), None)[0]


def _exchange(kind: Kind, size: int) -> Kept:
    return Kept(_engine(kind.model), kind.path, kind.made(size), dict(kind.headers))


def _in_loop(work: Callable[[], Any]) -> Any:
    async def go() -> Any:
        return work()

    return asyncio.run(go())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_between_two_pauses_there_is_little_to_do(lines: Lines, kind: Kind) -> None:
    def go() -> int:
        exchange = _exchange(kind, TRACED_BYTES)
        return len(list(infer_in_pieces(exchange, exchange.engine.clock())))

    assert _in_loop(go) > 2
    assert 0 < lines.most < LINES_MAX, f"{lines.most} lines without a pause up to {lines.where}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_largest_bodies_that_are_taken_take_the_loop_a_moment(kind: Kind) -> None:
    def go() -> bool:
        size = BODY_BYTES_MAX
        while (found := _longest_step_s(kind, size))[0] == 413:
            size = size * 4 // 5
        return found[1] < moment_s() or any(_longest_step_s(kind, size)[1] < moment_s() for _ in range(4))

    with no_collector():
        assert _in_loop(go)


def _longest_step_s(kind: Kind, size: int) -> tuple[int, float]:
    exchange = _exchange(kind, size)
    steps = infer_in_pieces(exchange, exchange.engine.clock())
    longest_s, more = 0.0, True
    while more:
        started_s = time.process_time()
        more = next(steps)
        longest_s = max(longest_s, time.process_time() - started_s)
    status = exchange.sent.result()[0] if exchange.sent.done() else 200
    return status, longest_s


def _inputs(count: int) -> bytes:
    head = protobuf.text(2, "FP64") + protobuf.packed(3, [1, 3]) + protobuf.blob(5, protobuf.packed(1, [1, 2, 3]))
    return b"".join(protobuf.blob(5, protobuf.text(1, str(number)) + head) for number in range(count))


def _texts(count: int) -> bytes:
    head = protobuf.text(1, "input") + protobuf.text(2, "BYTES") + protobuf.packed(3, [count])
    return protobuf.blob(5, head + protobuf.blob(5, protobuf.text(8, "x") * count))


def _unpacked(count: int) -> bytes:
    head = protobuf.text(1, "input") + protobuf.text(2, "INT64") + protobuf.packed(3, [count])
    return protobuf.blob(5, head + protobuf.blob(5, protobuf.number(3, 7) * count))


@pytest.mark.parametrize("made", [_inputs, _texts, _unpacked])
@pytest.mark.parametrize("count", [300, 3000])
def test_between_two_pauses_in_a_message_of_grpc_there_is_little_to_do(
    lines: Lines, made: Callable[[int], bytes], count: int
) -> None:
    message = made(count)

    def go() -> None:
        exchange = Kept(_engine("matrix"), PLAIN, b"")
        service = exchange.engine.directory.only()
        assert service is not None

        def read() -> None:
            exchange.meta = read_infer_request(message)
            EDGE.decode(exchange, service)

        with pytest.raises(TidegateError):
            for _ in in_steps(read):
                pass

    _in_loop(go)
    assert 0 < lines.most < LINES_MAX, f"{lines.most} lines without a pause up to {lines.where}"


def test_packed_numbers_are_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers_of = [1 << shift for shift in range(64)] * 7
    data = b"".join(protobuf.number(1, number)[1:] for number in numbers_of)
    whole = protobuf.packed_varints(data).tolist()
    assert whole == numbers_of
    for size in range(1, 40):
        monkeypatch.setattr(protobuf, "VARINTS_BYTES", size)
        assert protobuf.packed_varints(data).tolist() == whole
        with pytest.raises(MalformedRequest):
            protobuf.packed_varints(data + b"\x80")


def test_a_body_of_too_much_is_refused_with_what_there_is_and_what_to_do() -> None:
    def go() -> Any:
        exchange = _exchange(KINDS[0], BODY_BYTES_MAX)
        assert list(infer_in_pieces(exchange, exchange.engine.clock()))[-1] is False
        return exchange.sent.result()

    status, body = _in_loop(go)
    assert status == 413
    assert str(amounts.VALUES_MAX).encode() in body
    assert b"send fewer rows" in body
