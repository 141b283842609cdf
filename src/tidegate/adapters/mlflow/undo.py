"""Steps that take back what an adapter did in an outside system, for when a later one fails there.

Used by `registry.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Undo:
    """Steps that take back what was done, run last first when something later fails."""

    def __init__(self) -> None:
        self._steps: list[Any] = []

    def add(self, step: Any) -> None:
        self._steps.append(step)

    def run(self) -> None:
        for step in reversed(self._steps):
            with suppress(Exception):  # the failure that brought us here is the one to tell
                step()


@contextmanager
def undo_on_failure() -> Iterator[Undo]:
    """Run the steps that were added, should what follows fail."""
    undo = Undo()
    try:
        yield undo
    except BaseException:
        undo.run()
        raise
