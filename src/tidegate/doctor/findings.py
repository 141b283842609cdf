"""What a check is told and what it finds, and how all of them run at the same time within a bound.

A check is a function of `DoctorFacts`. What it raises as `TidegateError` is what is wrong; its message says what to do.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tidegate.clock import monotonic
from tidegate.errors import TidegateError
from tidegate.settings import Settings

ALL_WITHIN_S = 10.0
"""Every check has shorter bounds of its own; this one holds whatever a library does."""


class FindingState(StrEnum):
    """`off` is a part that is not configured; `note` works, and there is something to know about it."""

    OK = "ok"
    NOTE = "note"
    OFF = "off"
    WRONG = "wrong"


@dataclass(frozen=True)
class DoctorFacts:
    """What the checks look at. `unreadable`: the settings whose values are left out, and why."""

    settings: Settings
    env: Mapping[str, str]
    unreadable: Mapping[str, TidegateError] = field(default_factory=dict)


Verdict = tuple[FindingState, str]
"""What was found, in one line."""
Check = Callable[[DoctorFacts], Verdict]


@dataclass(frozen=True)
class Finding:
    """One part's line. `code` is the error's, where there is one."""

    part: str
    state: FindingState
    said: str
    code: str | None = None


def examine(checks: Sequence[tuple[str, Check]], facts: DoctorFacts, within_s: float = ALL_WITHIN_S) -> list[Finding]:
    """Run all checks at once; in their order, what each found. One that is not back in time is found wrong."""
    done: queue.SimpleQueue[Finding] = queue.SimpleQueue()
    for part, check in checks:
        threading.Thread(target=lambda part=part, check=check: done.put(_run(part, check, facts)), daemon=True).start()
    found: dict[str, Finding] = {}
    deadline = monotonic() + within_s
    while len(found) < len(checks) and (left_s := deadline - monotonic()) > 0:
        try:
            finding = done.get(timeout=left_s)
        except queue.Empty:
            break
        found[finding.part] = finding
    return [found.get(part) or _too_late(part, within_s) for part, _ in checks]


def _run(part: str, check: Check, facts: DoctorFacts) -> Finding:
    try:
        state, said = check(facts)
        return Finding(part, state, said)
    except TidegateError as error:
        return Finding(part, FindingState.WRONG, " ".join(error.message.split()), error.code)
    except ModuleNotFoundError as error:
        said = f"it cannot be looked at without {error.name}: pip install 'tidegate[platform]'"
        return Finding(part, FindingState.WRONG, said, "missing_extra")
    except Exception as error:  # a library's failure that nobody foresaw is told, and the other parts are looked at
        return Finding(
            part, FindingState.WRONG, f"the check itself failed ({type(error).__name__}: {error})", "internal"
        )


def _too_late(part: str, within_s: float) -> Finding:
    said = f"no answer within {within_s:g} s: is there a firewall, a server or a name server that hangs?"
    return Finding(part, FindingState.WRONG, said, "deadline_exceeded")
