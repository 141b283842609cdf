"""The target of a replica: the model in this process. One batch at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, cast

import orjson

from tidegate.dataplane.base.incidents import logged
from tidegate.dataplane.calls.batch import Batch, Done
from tidegate.dataplane.calls.outputs import ModelFailed, Outputs, Tensors
from tidegate.errors import TidegateError
from tidegate.runtimes.base.runtime import Runtime, wrong_rows

logger = logging.getLogger(__name__)

INLINE_S_MAX = 0.005
"""A batch expected to take less runs on the event loop: handing it to a thread and back costs about 0.1 ms, and the
thread competes with the loop for the interpreter's lock, which makes scikit-learn's forests a fourth slower."""

_SMOOTHING = 0.2


class RuntimeWithParams(Runtime, Protocol):
    """A runtime whose signature has params."""

    def predict_with(self, params: dict[str, Any], inputs: Tensors, wanted: frozenset[str] | None) -> Tensors:
        """As `predict`, with these params."""


class LocalTarget:
    """Runs batches on the loop where batches of that size were measured to be short, else on one worker thread.

    So a slow model never keeps the health check from answering. Sizes are grouped by powers of two; a size never seen
    goes to the thread. `steady` False (a model that is somebody's own Python code) sends every batch there: how long
    such a model takes may depend on the values as well.
    """

    def __init__(
        self, runtime: Runtime, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], *, steady: bool
    ) -> None:
        self.id = "local"
        self._steady = steady
        self._runtime = runtime
        self._loop = loop
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._worker.submit(int)  # a thread that cannot be started ends the replica's start, and no request later
        self._seconds: dict[int, float] = {}

    def send(self, batch: Batch, done: Done) -> None:
        """Compute the batch, here or on the worker."""
        if self._steady and self._seconds.get(batch.rows.bit_length(), INLINE_S_MAX) < INLINE_S_MAX:
            self._loop.call_soon(self._run_inline, batch, done)
            return
        future = self._worker.submit(self._compute, batch)
        future.add_done_callback(lambda done_future: self._hand_back(done_future, batch, done))

    def compute_now(self, inputs: Tensors, rows: int, wanted: frozenset[str] | None) -> Tensors | TidegateError | None:
        """The outputs at once, or why there are none; None where a batch of this size may take long."""
        size = rows.bit_length()
        if not self._steady or self._seconds.get(size, INLINE_S_MAX) >= INLINE_S_MAX:
            return None
        started_s = self._clock()
        try:
            tensors = self._runtime.predict(inputs, wanted)
        except BaseException as error:  # a model that exits must not end the loop that answers all others
            return _failure_of(error)
        self._measured(size, self._clock() - started_s)
        return tensors

    def close(self) -> None:
        """End the worker thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _run_inline(self, batch: Batch, done: Done) -> None:
        done(self, batch, self._compute(batch))

    def _hand_back(self, future: Future[Outputs | TidegateError], batch: Batch, done: Done) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(done, self, batch, future.result())

    def _compute(self, batch: Batch) -> Outputs | TidegateError:
        started_s = self._clock()
        try:
            outputs = Outputs(self._predict(batch))
        except BaseException as error:
            return _failure_of(error)
        self._measured(batch.rows.bit_length(), self._clock() - started_s)
        wrong = wrong_rows(outputs.tensors, batch.rows)
        return outputs if wrong is None else ModelFailed(f"the model answered another number of rows: {wrong}")

    def _predict(self, batch: Batch) -> Tensors:
        if batch.params is None:
            return self._runtime.predict(batch.inputs, batch.wanted)
        # Only a signature with params lets a call have some, and only a runtime that takes them has such a signature.
        runtime = cast(RuntimeWithParams, self._runtime)
        return runtime.predict_with(orjson.loads(batch.params), batch.inputs, batch.wanted)

    def _measured(self, size: int, seconds: float) -> None:
        known = self._seconds.get(size)
        self._seconds[size] = seconds if known is None else known + _SMOOTHING * (seconds - known)


def _failure_of(error: BaseException) -> TidegateError:
    """What the caller is told of it: the model's own code may raise anything, and exit. Its batch alone fails."""
    if isinstance(error, TidegateError):
        return error
    incident = logged("the model failed", error)
    return ModelFailed(f"the model failed; its replica's log has the details under id {incident}", id=incident)
