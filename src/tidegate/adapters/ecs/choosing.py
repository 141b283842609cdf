"""Which tasks of a service go when it shall have another number, and when a deployment begins anew. Pure."""

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


@dataclass(frozen=True)
class Rollout:
    """The deployment that holds now. Failed tasks in a row make ECS wait, in the end for minutes, then stop."""

    state: str
    failed_tasks: int
    updated_s: float


def begins_anew(rollout: Rollout, desired: int, count: int, now_s: float) -> bool:
    """Whether another deployment is to be made of the same: ECS then forgets what failed.

    Whoever asks for more after a failure has waited as they thought right; a while after that it is time
    in any case.

    >>> begins_anew(Rollout("IN_PROGRESS", 2, 0.0), desired=0, count=1, now_s=1.0)
    True
    >>> [begins_anew(Rollout("FAILED", 3, 0.0), 1, 1, now_s) for now_s in (1.0, 300.0)]
    [False, True]
    """
    failed = rollout.state == "FAILED"
    if count > desired:
        return failed or rollout.failed_tasks > 0
    return failed and count > 0 and now_s - rollout.updated_s >= RETRY_AFTER_S
