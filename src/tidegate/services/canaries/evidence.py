"""What was captured of a canary's step: requests on both sides, how they ended, how long they took, what was answered.

Read anew at each look, so that a restart forgets nothing; how much is read at once is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.core.canary.comparisons import Counted, design_effect
from tidegate.core.canary.split import BASELINE, CANARY
from tidegate.core.captured import CapturedRows, Columns
from tidegate.core.monitoring.columns import Array
from tidegate.services.monitoring.baselines import columns_seen, tensors_of
from tidegate.wire.signature import Signature

ROWS_MAX = 200_000
"""So many rows of a step are judged; of a busier one the newest."""
OUTPUT_ROWS_MAX = 20_000
AHEAD_S = 5.0
"""Gateways' clocks may be ahead of the control plane's by so much."""
TIMED_OUT, SERVER_ERROR, REFUSED = 504, 500, 422
"""Inputs that a model refuses count too: stable's slice has as many of those that nobody could take."""
_CALLS = ("row", "at", "version", "variant", "pinned", "cached", "key", "duration_ms", "sample_rate")
_FAILURES = ("at", "version", "variant", "pinned", "key", "duration_ms", "code", "calls")


@dataclass(frozen=True)
class Side:
    """One side's requests. `counted` are those past the warm-up; errors and answers are judged from the first on.

    `durations_ms` are of requests past the warm-up; `numbers`: of answered rows that were looked at, how many held NaN,
    infinity or null. `outputs` has the columns of the model's answers.
    """

    counted: int = 0
    errors: Counted = Counted(0, 0)
    numbers: Counted = Counted(0, 0)
    durations_ms: Array = field(default_factory=lambda: np.empty(0))
    latency_effect: float = 1.0
    outputs: dict[str, Array] = field(default_factory=dict)
    datatypes: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StepWindow:
    """Which rows are judged: since a moment until now. Those that a step needs, and latencies, are since `counted_from`
    (None: none yet), and not in the first `warm_s` seconds of a replica.
    """

    endpoint: str
    since: float
    until: float
    counted_from: float | None
    ready_at: Sequence[float] = ()
    warm_s: float = 0.0

    def is_warm(self, at: Array) -> Array:
        """Which moments count."""
        warm: Array = np.zeros(at.size, dtype=bool) if self.counted_from is None else at >= self.counted_from
        for ready in self.ready_at:
            warm &= ~((at >= ready) & (at < ready + self.warm_s))
        return warm


@dataclass(frozen=True)
class Compared:
    """Both sides of a step, and how many captured rows that took."""

    stable: Side
    canary: Side
    rows: int = 0


def gather(capture: CapturedRows, window: StepWindow, signature: Signature) -> Compared:
    """Stable's slice and the canary's requests. `signature` is the canary's. Raises `CaptureUnreadable`."""
    until = window.until + AHEAD_S
    names = [f"output_{spec.name}" for spec in signature.outputs]
    calls = capture.rows("predictions", window.endpoint, window.since, until, (*_CALLS, *names))
    failed = capture.rows("failures", window.endpoint, window.since, until, _FAILURES)
    rows = calls["at"].size
    sides = [_side(calls, failed, one, window, _answers(calls, one, signature)) for one in (BASELINE, CANARY)]
    return Compared(sides[0], sides[1], rows)


@dataclass(frozen=True)
class _Answers:
    """Of the rows that were looked at, those with something that is no number; and their columns."""

    numbers: Counted
    outputs: dict[str, Array]
    datatypes: dict[str, str]
    kinds: dict[str, str]


def _answers(found: Columns, variant: str, signature: Signature) -> _Answers:
    chosen = np.flatnonzero(_of_variant(found, variant))[-OUTPUT_ROWS_MAX:]
    names = [f"output_{spec.name}" for spec in signature.outputs]
    kept = {name: found[name][chosen] for name in names}
    rows = chosen.size
    if not rows:
        return _Answers(Counted(0, 0), {}, {}, {})
    bad = np.zeros(rows, dtype=bool)
    for tensor in tensors_of(kept)[1].values():
        bad |= _is_no_number(tensor)
    seen = columns_seen(signature, kept)
    return _Answers(Counted(int(bad.sum()), rows), seen.of("output"), seen.datatypes, seen.kinds)


def _is_no_number(tensor: Array) -> Array:
    """Which rows hold NaN, infinity or nothing."""
    rows = tensor.reshape(len(tensor), -1)
    if tensor.dtype.kind == "f":
        return np.asarray(~np.isfinite(rows).all(axis=1))
    if tensor.dtype.kind != "O":
        return np.zeros(len(tensor), dtype=bool)
    return np.array([any(one is None or one != one for one in row) for row in rows.tolist()], dtype=bool)  # noqa: PLR0124


def _side(calls: Columns, failed: Columns, variant: str, window: StepWindow, answered: _Answers) -> Side:
    kept = _of_variant(calls, variant) & (calls["row"] == 0) & ~_flags(calls["cached"])
    at, durations, keys = calls["at"][kept], calls["duration_ms"][kept], calls["key"][kept]
    weights = 1 / _rates(calls["sample_rate"][kept])
    broke = _of_variant(failed, variant) & ((failed["code"] >= SERVER_ERROR) | (failed["code"] == REFUSED))
    times = np.nan_to_num(failed["calls"][broke].astype(np.float64), nan=1.0)
    warm, warm_failed = window.is_warm(at), window.is_warm(failed["at"][broke])
    errors = round(float(times.sum()))
    all_keys = np.concatenate([keys, failed["key"][broke]])
    bad = np.concatenate([np.zeros(keys.size), np.ones(int(broke.sum()))])
    timed_out = failed["code"][broke] == TIMED_OUT
    waited = failed["duration_ms"][broke][timed_out & warm_failed]
    slow = np.concatenate([durations[warm], waited[np.isfinite(waited)]])
    slow_keys = np.concatenate([keys[warm], failed["key"][broke][timed_out & warm_failed][np.isfinite(waited)]])
    return Side(
        counted=round(float(weights[warm].sum()) + float(times[warm_failed].sum())),
        errors=Counted(errors, errors + round(float(weights.sum())), design_effect(all_keys, bad)),
        numbers=answered.numbers,
        durations_ms=slow.astype(np.float64),
        latency_effect=_tail_effect(slow, slow_keys),
        outputs=answered.outputs,
        datatypes=answered.datatypes,
        kinds=answered.kinds,
    )


def _tail_effect(durations: Array, keys: Array) -> float:
    """How alike the requests of a key are in being among the slowest."""
    if durations.size < 2:
        return 1.0
    return design_effect(keys, (durations > np.quantile(durations, 0.95)).astype(np.float64))


def _of_variant(found: Columns, variant: str) -> Array:
    """Rows that this variant answered, of traffic that nobody pinned."""
    return np.asarray(found["variant"] == variant, dtype=bool) & ~_flags(found["pinned"])


def _flags(values: Array) -> Array:
    if values.dtype.kind == "b":
        return values
    return np.array([bool(value) and value == value for value in values.tolist()], dtype=bool)  # noqa: PLR0124


def _rates(given: Array) -> Array:
    rates: Any = np.array([1.0 if value is None else float(value) for value in given.tolist()], dtype=np.float64)
    return np.where((rates > 0) & (rates <= 1), rates, 1.0)
