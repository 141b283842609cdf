"""The batcher when an observer, a sink or a target raises: every other call has its answer all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.batcher_bench import Bench, run, turn
from tidegate.dataplane.base.incidents import OutOfMemory
from tidegate.dataplane.calls.call import Call
from tidegate.dataplane.calls.outputs import ModelFailed, Outputs
from tidegate.errors import DeadlineExceeded, Internal


class Broken(Exception):
    """What nobody expects."""


def failing(*_: Any) -> Any:
    raise Broken("out of order")


@pytest.mark.parametrize("hook", ["batch_done", "call_failed"])
def test_an_observer_that_raises_costs_nobody_an_answer(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        bench = Bench()
        monkeypatch.setattr(bench.seen, hook, failing)
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        bench.submit("late", 2, timeout_s=0.0)
        bench.submit("b", 3)
        await turn()
        bench.target.answer()
        late = bench.seen.answers.pop("late")
        assert isinstance(late, DeadlineExceeded)
        assert bench.seen.answers == {"a": [10], "b": [30]}
        assert not bench.batcher.outstanding
        bench.submit("c", 4)
        await turn()
        bench.target.answer()
        assert bench.seen.answers["c"] == [40]

    run(go)


def test_a_sink_that_raises_fails_alone_and_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        bench = Bench()
        answer = bench.seen.answer

        def picky(call: Call, outputs: Outputs, first_row: int) -> None:
            if call.request_id == "b":
                raise Broken("no room for an answer")
            answer(call, outputs, first_row)

        monkeypatch.setattr(bench.seen, "answer", picky)
        bench.batcher.add_target(bench.target)
        for index, name in enumerate("abc"):
            bench.submit(name, index)
        await turn()
        bench.target.answer()
        failed = bench.seen.answers.pop("b")
        assert isinstance(failed, Internal)
        assert failed.details["id"] in failed.message
        assert bench.seen.answers == {"a": [0], "c": [20]}
        assert not bench.batcher.outstanding

    run(go)


def test_a_sink_that_cannot_even_be_told_of_a_failure_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        bench = Bench()
        fail = bench.seen.fail

        def picky(call: Call, error: Any) -> None:
            if call.request_id == "a":
                raise Broken("nobody listens")
            fail(call, error)

        monkeypatch.setattr(bench.seen, "fail", picky)
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        bench.submit("b", 2)
        bench.batcher.remove_target("t1")
        assert list(bench.seen.answers) == ["b"]
        assert not bench.batcher.outstanding

    run(go)


def test_parts_of_different_width_fail_their_request_and_no_other() -> None:
    async def go() -> None:
        bench = Bench(batch_rows_max=4)
        bench.batcher.add_target(bench.target)
        bench.submit("large", *range(6))
        bench.submit("small", 9)
        await turn()
        width = 1
        while bench.target.sent:
            batch, done = bench.target.sent.pop()
            done(bench.target, batch, Outputs({"prediction": np.ones((batch.rows, width))}))
            width += 1
            await turn()
        large = bench.seen.answers.pop("large")
        assert isinstance(large, ModelFailed)
        assert "another shape" in large.message
        assert list(bench.seen.answers) == ["small"]
        assert not bench.batcher.outstanding

    run(go)


def test_a_target_that_cannot_take_a_batch_fails_that_batch_and_gets_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        with monkeypatch.context() as broken:
            broken.setattr(bench.target, "send", failing)
            bench.submit("a", 1)
            await turn()
        assert isinstance(bench.seen.answers["a"], Internal)
        bench.submit("b", 2)
        await turn()
        bench.target.answer()
        assert bench.seen.answers["b"] == [20]

    run(go)


def test_rows_that_cannot_be_put_together_for_any_reason_fail_their_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)

        def no_memory(*_: Any) -> Any:
            raise MemoryError

        with monkeypatch.context() as broken:
            broken.setattr("tidegate.dataplane.calls.batch.rows_array", no_memory)
            bench.submit("a", 1)
            await turn()
        assert isinstance(bench.seen.answers["a"], OutOfMemory)
        assert not bench.batcher.outstanding

    run(go)
