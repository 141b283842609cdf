"""What becomes of a form, on every page alike: it is done and a page follows, or its own page says why it was not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tidegate.console.asking import Moved, Shown
from tidegate.errors import Forbidden, TidegateError, Unauthenticated

Made = TypeVar("Made")


def changed(
    change: Callable[[], Made],
    done: str | Callable[[Made], Shown | Moved],
    refused: Callable[[TidegateError], Shown],
) -> Shown | Moved:
    """Make the change, and go on to `done`, or to what it says of what was made; else `refused` says why not.

    Who may not do it at all gets a page of that: no form could mend it.
    """
    try:
        made = change()
    except (Unauthenticated, Forbidden):
        raise
    except TidegateError as error:
        return refused(error)
    return Moved(done) if isinstance(done, str) else done(made)
