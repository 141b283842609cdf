"""Logs that are followed: what each look at their last lines has beyond the look before. No I/O of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tidegate.client.waiting import NOT_NOW
from tidegate.errors import TidegateError
from tidegate.wire.rest import LogLines

LOOK_EVERY_S = 1.0
SILENT_LOOK_EVERY_S = 5.0


@dataclass(frozen=True)
class NewLines:
    """Lines that a replica wrote since the last look. `missed`: it wrote more than a look shows, and some are lost."""

    replica: str
    version: str
    lines: list[str]
    missed: bool = False


@dataclass
class LogFollower:
    """Remembers what was seen of each replica; those that are gone are forgotten."""

    _seen: dict[str, Sequence[str]] = field(default_factory=dict)

    def take(self, logs: Sequence[LogLines]) -> list[NewLines]:
        """What is new in `logs`; all of it of a replica that was not there before."""
        found = []
        for log in logs:
            lines, missed = newer(self._seen.get(log.replica, ()), log.lines)
            if lines:
                found.append(NewLines(log.replica, log.version, lines, missed))
        # One whose log could not be read just now begins where it was.
        self._seen = {log.replica: log.lines or self._seen.get(log.replica, ()) for log in logs}
        return found


def newer(before: Sequence[str], now: Sequence[str]) -> tuple[list[str], bool]:
    """The lines of `now` after those that were the last of `before`; whether some between the two were missed.

    Where the same lines repeat without end, as few as can be are taken for new.
    """
    for overlap in range(min(len(before), len(now)), 0, -1):
        if list(before[-overlap:]) == list(now[:overlap]):
            return list(now[overlap:]), False
    return list(now), bool(before and now)


def follow(
    look: Callable[[], Sequence[LogLines]],
    on_silence: Callable[[TidegateError], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[list[NewLines]]:
    """What each look finds, once a second, for as long as the endpoint is there: raises what `look` does after that.

    A control plane that is away is asked again, more rarely; `on_silence` is told once of each time that it went.
    """
    follower, silent = LogFollower(), False
    while True:
        try:
            logs = look()
        except TidegateError as error:
            if error.kind not in NOT_NOW:
                raise
            if not silent:
                on_silence(error)
            silent = True
            sleep(SILENT_LOOK_EVERY_S)
            continue
        silent = False
        if found := follower.take(logs):
            yield found
        sleep(LOOK_EVERY_S)
