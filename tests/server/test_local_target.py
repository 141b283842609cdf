"""Where a replica computes: on the loop while that is short, on its thread when it is not."""

import asyncio
import sys
import threading
from typing import Any

import numpy as np
import pytest

from support.wait import until
from tidegate.dataplane.calls.batch import Batch
from tidegate.dataplane.calls.call import Call, Destination, Identity
from tidegate.dataplane.calls.outputs import ModelFailed, Outputs
from tidegate.server.local_target import LocalTarget
from tidegate.wire.signature import Signature, TensorSpec

NOBODY: Any = None
"""No batcher and no sink: nothing here gets that far."""


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> Any:
        return self.now


class Model:
    """Says which thread it ran on; takes `seconds` of the watch."""

    signature = Signature("matrix", (TensorSpec("input", "FP64", (-1, 1)),), (TensorSpec("prediction", "FP64", (-1,)),))

    def __init__(self, watch: Any) -> None:
        self.watch, self.seconds = watch, 0.0
        self.threads: list[bool] = []
        self.rows: int | None = None
        self.exits = self.one_number = False

    def predict(self, inputs: Any, wanted: Any) -> Any:
        self.threads.append(threading.current_thread() is threading.main_thread())
        self.watch.now += self.seconds
        rows = len(inputs["input"]) if self.rows is None else self.rows
        if self.seconds < 0:
            raise ZeroDivisionError("no")
        if self.exits:
            sys.exit(3)
        return {"prediction": np.zeros(() if self.one_number else rows)}


def batch(model: Any, rows: Any = 1) -> Any:
    destination = Destination(Identity("m", "m", "1", "1"), model.signature, None, NOBODY)
    call = Call(NOBODY, destination, "id", rows)
    call.packed = [[0.0]] * rows
    return Batch(destination, [call], rows)


async def compute(target: Any, one: Any) -> Any:
    done = asyncio.get_running_loop().create_future()
    target.send(one, lambda target, batch, result: done.set_result(result))
    assert not done.done()
    return await asyncio.wait_for(done, 30)


def run(body: Any, steady: Any = True) -> None:
    async def go() -> None:
        watch = Watch()
        model = Model(watch)
        target = LocalTarget(model, asyncio.get_running_loop(), watch, steady=steady)
        await body(model, target)
        target.close()

    asyncio.run(go())


def test_a_size_never_seen_goes_to_the_thread_a_short_one_then_to_the_loop() -> None:
    async def body(model: Any, target: Any) -> None:
        assert isinstance(await compute(target, batch(model)), Outputs)
        await compute(target, batch(model))
        await compute(target, batch(model, rows=100))
        assert model.threads == [False, True, False]

    run(body)


def test_a_size_that_takes_long_goes_back_to_the_thread() -> None:
    async def body(model: Any, target: Any) -> None:
        await compute(target, batch(model))
        model.seconds = 0.1
        await compute(target, batch(model))
        await compute(target, batch(model))
        assert model.threads == [False, True, False]

    run(body)


def test_somebodys_own_code_never_runs_on_the_loop() -> None:
    async def body(model: Any, target: Any) -> None:
        for _ in range(3):
            await compute(target, batch(model))
        assert model.threads == [False, False, False]

    run(body, steady=False)


def test_an_exception_and_a_wrong_number_of_rows_are_the_models_failure() -> None:
    async def body(model: Any, target: Any) -> None:
        model.seconds = -1
        failed = await compute(target, batch(model))
        assert isinstance(failed, ModelFailed)
        assert "ZeroDivisionError" not in failed.message
        assert str(failed.details["id"]) in failed.message
        model.seconds, model.rows = 0, 3
        assert "number of rows" in (await compute(target, batch(model))).message

    run(body)
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("model")], what="the worker's end")


@pytest.mark.parametrize("steady", [True, False], ids=["on the loop too", "on the thread"])
@pytest.mark.parametrize("fault", ["exits", "one_number"])
def test_a_model_that_exits_or_answers_one_number_fails_that_batch_only(fault: str, steady: bool) -> None:
    said = {"exits": "its replica's log has the details", "one_number": "a single value"}[fault]

    async def body(model: Any, target: Any) -> None:
        for _ in range(2):  # the second one on the loop, where the model is steady
            setattr(model, fault, True)
            failed = await compute(target, batch(model))
            assert isinstance(failed, ModelFailed)
            assert said in failed.message
            setattr(model, fault, False)
            assert isinstance(await compute(target, batch(model)), Outputs)

    run(body, steady=steady)


def test_a_model_that_exits_on_the_short_way_fails_that_batch_there() -> None:
    async def body(model: Any, target: Any) -> None:
        await compute(target, batch(model))
        model.exits = True
        assert isinstance(target.compute_now({"input": np.zeros((1, 1))}, 1, None), ModelFailed)
        model.exits = False
        assert isinstance(await compute(target, batch(model)), Outputs)

    run(body)
