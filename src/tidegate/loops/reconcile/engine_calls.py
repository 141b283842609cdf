"""Calls of one engine on a thread of their own: one that is slow or hangs keeps the loop from no other engine's work.

Used by workload_engines. A call that is answered at once is as if it had been made where it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar, cast

from tidegate.errors import EngineUnavailable

T = TypeVar("T")

QUICK_S = 0.5
"""So long a pass waits for an engine's answer, once; then it looks again in the next pass."""


class StillAsking(EngineUnavailable):
    """The engine was asked and has not answered yet."""


class EngineCalls:
    """One call at a time, in the order in which they were asked for. For one thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{name}")
        self._pending: dict[Hashable, Future[Any]] = {}
        self._wanted: set[Hashable] = set()  # in this pass
        self._waited = False

    def begin_pass(self) -> None:
        """From here on it may be waited for again. An answer that nobody asked for in the last pass is let go of, so
        that nobody takes it for one to a question of later.
        """
        for what in self._pending.keys() - self._wanted:
            if self._pending[what].done():
                del self._pending[what]
        self._wanted.clear()
        self._waited = False

    def ask(self, what: Hashable, do: Callable[[], T]) -> T:
        """The answer, or what was raised; of the call that is under way already where `what` was asked for before.

        Raises `StillAsking` while there is none.
        """
        self._wanted.add(what)
        future = self._pending.get(what) or self._pool.submit(do)
        self._pending[what] = future
        try:
            found = future.result(0.0 if self._waited else QUICK_S)
        except FutureTimeout:
            if future.done():  # the call itself timed out
                del self._pending[what]
                raise
            self._waited = True
            raise StillAsking(f"{self._name} has not answered yet") from None
        except BaseException:
            del self._pending[what]
            raise
        del self._pending[what]
        return cast(T, found)
