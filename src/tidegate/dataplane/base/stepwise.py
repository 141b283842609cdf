"""Runs an ordinary function a step at a time: between two steps the event loop answers others.

The function runs on a thread of its own, but never beside the loop: each `pause` in it hands control back when the step
has taken long enough, and the loop waits while a step runs. So it is a coroutine whose callees need not be ones, and
what it touches needs no lock. Elsewhere `pause` does nothing.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from tidegate import clock
from tidegate.dataplane.base.incidents import OutOfMemory

T = TypeVar("T")
STEP_S = 0.001
ITEMS_A_STEP = 1024
"""Values that are worked through before the clock is looked at: at most about 2 ms."""


class _Abandoned(BaseException):
    """Nobody waits for the function any more. Not an `Exception`: no handler on the way may take it for a failure."""


class _Steps(Generic[T]):
    """One function under way. `advance`, `abandon` and `result` are the loop's, `pause` the function's."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._resume: SimpleQueue[None] = SimpleQueue()
        self._paused: SimpleQueue[None] = SimpleQueue()
        self._thread_id: int | None = None
        self._until_s = 0.0
        self._is_abandoned = self.is_done = False
        self._results: list[T] = []
        self._error: BaseException | None = None

    def advance(self) -> None:
        """Run one step; `is_done` tells whether it was the last."""
        global _current  # noqa: PLW0603 (at most one runs: the loop waits for it)
        self._until_s = clock.monotonic() + STEP_S
        _current = self
        self._resume.put(None)
        self._paused.get()
        _current = None

    def abandon(self) -> None:
        """Let the function end where it stands."""
        self._is_abandoned = True
        while not self.is_done and not sys.is_finalizing():  # when no thread runs any more
            self.advance()

    def result(self) -> T:
        """What the function returned; raises what it raised. Once: a traceback that is kept keeps a request's bytes."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._results.pop()
        finally:
            del error

    def run(self) -> None:
        """All of it, on the thread that calls this."""
        self._thread_id = threading.get_ident()
        self._resume.get()
        try:
            self._results.append(self._work())
        except BaseException as error:
            self._error = error
        self.is_done = True
        self._paused.put(None)

    def pause(self) -> None:
        """Let the loop go on if the step has taken its time."""
        if threading.get_ident() == self._thread_id and clock.monotonic() >= self._until_s:
            self._paused.put(None)
            self._resume.get()
            if self._is_abandoned:
                raise _Abandoned


class _Worker:
    """A thread that runs one function after another. Kept, for what a thread frees stays in a pool of its own."""

    def __init__(self) -> None:
        self._works: SimpleQueue[_Steps[Any]] = SimpleQueue()
        try:
            threading.Thread(target=self._run, name="steps", daemon=True).start()
        except RuntimeError:
            raise OutOfMemory("the system allows this server no further thread", retry_after_s=1.0) from None

    def take(self, work: _Steps[Any]) -> None:
        """Begin it, once it is told to."""
        self._works.put(work)

    def _run(self) -> None:
        while True:
            self._works.get().run()


_current: _Steps[Any] | None = None
_idle: list[_Worker] = []
"""One at most, unless works that were begun by several loops overlap."""


def pause() -> None:
    """Let others have their turn if the function that calls this runs in steps and has had its time."""
    if _current is not None:
        _current.pause()


def in_steps(work: Callable[[], T]) -> Generator[bool, None, T]:
    """Do the work, yielding True between its steps; returns what it returned. Closing it early ends the work."""
    worker = _idle.pop() if _idle else _Worker()
    steps = _Steps(work)
    worker.take(steps)
    try:
        steps.advance()
        while not steps.is_done:
            yield True
            steps.advance()
    finally:
        steps.abandon()
        _idle.append(worker)
    return steps.result()


def each(values: Iterable[T]) -> Iterator[T]:
    """The values one by one, with a pause after every so many, and one before the first: lists may lie in lists."""
    if _current is None:
        return iter(values)
    pause()
    return iter(values) if isinstance(values, list | range) and len(values) <= ITEMS_A_STEP else _each(iter(values))


def _each(values: Iterator[T]) -> Iterator[T]:
    while some := list(itertools.islice(values, ITEMS_A_STEP)):
        yield from some
        pause()


def turned(rows: list[list[T]]) -> list[list[T]]:
    """The columns of rows of one length, with pauses."""
    return [list(column) for column in each(zip(*rows, strict=True))]
