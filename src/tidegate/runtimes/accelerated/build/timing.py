"""How long models take for few and for many rows, and when a form is worth keeping. For `trying` and `from_torch`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tidegate import clock
from tidegate.runtimes.base.runtime import Arrays, LoadedModel

TIMED_ROWS = (1, 64)
TIMING_S, ROUNDS = 0.1, 5
GAIN_MIN = 1.1
"""A form is kept when it is faster by this factor, in the geometric mean over 1 and 64 rows."""


BY_CHANCE = 1.05
"""Two forms whose gains differ by no more than this are equally fast."""


def seconds_by_rows(model: LoadedModel, timed: Mapping[int, Arrays]) -> dict[str, float]:
    """Seconds a call, by the name of the field that records them."""
    return {f"seconds_{rows}": _seconds(model, inputs) for rows, inputs in timed.items()}


def speedups(original: Mapping[str, float], times: Mapping[str, float]) -> dict[str, float]:
    """How many times as fast, by the name of the field that records it."""
    return {f"speedup_{rows}": original[f"seconds_{rows}"] / times[f"seconds_{rows}"] for rows in TIMED_ROWS}


def gain_of(found: Mapping[str, float]) -> float:
    """The geometric mean of the speed-ups in a record."""
    return math.sqrt(math.prod(found[f"speedup_{rows}"] for rows in TIMED_ROWS))


def _seconds(model: LoadedModel, inputs: Arrays) -> float:
    """The best of a few rounds: what else the machine does only ever adds."""
    model.predict(inputs, None)
    started = clock.monotonic()
    model.predict(inputs, None)
    once = max(clock.monotonic() - started, 1e-6)
    calls = max(1, min(2000, int(TIMING_S / ROUNDS / once)))
    best = math.inf
    for _ in range(ROUNDS):
        started = clock.monotonic()
        for _ in range(calls):
            model.predict(inputs, None)
        best = min(best, (clock.monotonic() - started) / calls)
    return best
