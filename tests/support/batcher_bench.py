"""A batcher with a target whose answers the test gives by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tidegate.dataplane.batching.batcher import Batcher
from tidegate.dataplane.calls.call import Call, Destination, Identity
from tidegate.dataplane.calls.limits import DataplaneLimits
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.wire.signature import Signature, TensorSpec

SIGNATURE = Signature("matrix", (TensorSpec("input", "FP64", (-1, 1)),), (TensorSpec("prediction", "FP64", (-1,)),))


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> Any:
        return self.now


class HandTarget:
    """Keeps batches until the test answers them."""

    def __init__(self, name: Any = "t1") -> None:
        self.id = name
        self.sent: list[Any] = []

    def send(self, batch: Any, done: Any) -> None:
        self.sent.append((batch, done))

    def answer(self, index: Any = 0) -> None:
        batch, done = self.sent.pop(index)
        done(self, batch, Outputs({"prediction": batch.inputs["input"][:, 0] * 10}))

    def fail(self, error: Any, index: Any = 0) -> None:
        batch, done = self.sent.pop(index)
        done(self, batch, error)


class Seen:
    """Observer and sink: what the outside world noticed."""

    connection: object = None

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.batches: list[Any] = []

    def batch_done(self, batch: Any, outputs: Any, now_s: Any) -> None:
        assert not any(call.request_id in self.answers for call in batch.calls if not call.done)
        self.batches.append((batch.rows, batch.released))

    def call_failed(self, call: Any, error: Any, now_s: Any) -> None:
        pass

    def abandoned(self, call: Any, now_s: Any) -> None:
        pass

    def refused(self, failure: Any) -> None:
        pass

    def answer(self, call: Any, outputs: Any, first_row: Any) -> None:
        self.answers[call.request_id] = outputs.as_list("prediction")[first_row : first_row + call.rows]

    def fail(self, call: Any, error: Any) -> None:
        self.answers[call.request_id] = error


class Bench:
    def __init__(self, mergeable: Any = True, splits: Any = True, **limits: Any) -> None:
        self.time, self.seen, self.target = Time(), Seen(), HandTarget()
        loop = asyncio.get_running_loop()
        self.batcher = Batcher(
            loop, DataplaneLimits(**limits), self.seen, mergeable=mergeable, splits=splits, clock=self.time
        )
        self.destination = Destination(Identity("e", "m", "1", "1"), SIGNATURE, [0.0], self.batcher)

    def submit(self, name: Any, *values: Any, timeout_s: Any = 30.0) -> Any:
        call = Call(self.seen, self.destination, name, len(values))
        call.packed = [[value] for value in values]
        call.started_s, call.deadline_s = self.time.now, self.time.now + timeout_s
        self.batcher.submit(call)
        return call


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def turn() -> None:
    for _ in range(8):  # as many as the batcher looks at the sockets, and some
        await asyncio.sleep(0)
