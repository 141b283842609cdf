"""Which tasks of a service go when it shall have another number, and when a failed deployment is tried again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

RETRY_AFTER_S = 300.0
"""ECS starts no more tasks of a deployment that failed; after so long it is told to try anew."""


@dataclass(frozen=True)
class RunningTask:
    """A task that is to run, as ECS sees it."""

    id: str
    ready: bool
    started_s: float = 0.0


@dataclass(frozen=True)
class Change:
    """`keep` are protected while the number becomes smaller, `leave` are not; `replace` are stopped one by one."""

    keep: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()


def change_of(running: Sequence[RunningTask], count: int, ending: Collection[str]) -> Change:
    """Those of `ending` go first where there are too many, then what is not ready, then the youngest.

    >>> tasks = [RunningTask("a", True, 1.0), RunningTask("b", True, 2.0), RunningTask("c", False, 3.0)]
    >>> change_of(tasks, 2, {"a"})
    Change(keep=('c', 'b'), leave=('a',), replace=())
    >>> change_of(tasks, 3, {"a"})
    Change(keep=(), leave=(), replace=('a',))
    """
    order = sorted(running, key=lambda task: (task.id not in ending, task.ready, -task.started_s))
    excess = max(0, len(order) - count)
    leave, stay = order[:excess], order[excess:]
    replace = tuple(task.id for task in stay if task.id in ending)
    if not leave:
        return Change(replace=replace)
    return Change(tuple(task.id for task in stay), tuple(task.id for task in leave), replace)


def tries_anew(rollout: str, failed_s: float, now_s: float) -> bool:
    """Whether a deployment that failed so long ago is to be started again."""
    return rollout == "FAILED" and now_s - failed_s >= RETRY_AFTER_S
