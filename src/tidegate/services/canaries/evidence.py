"""What was captured of a canary's step: requests on both sides, how they ended, how long they took, what was answered.

Read anew at each look, so that a restart forgets nothing; how much is read at once is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from tidegate.core.canary.split import BASELINE, CANARY, STABLE
from tidegate.core.captured import CapturedRows, Columns
from tidegate.core.monitoring.columns import Array, WatchedColumns
from tidegate.sequential.guard import design_effect
from tidegate.services.canaries.by_key import CallsByKey, UnitKeys, flags, keys_of
from tidegate.services.canaries.tallies import CanaryTally
from tidegate.services.monitoring.baselines import columns_seen, tensors_of
from tidegate.wire.signature import Signature

ROWS_MAX = 200_000
"""Rows of a step that are judged, at most; of a busier one the newest."""
OUTPUT_ROWS_MAX = 20_000
ANSWERS_MIN = 100
"""Of the canary, before its answers are compared with stable's; then again when there are half as many more."""
_MORE = 1.5
LEVEL = 0.95
"""The quantile that latencies are compared by."""
BLOCK_S = 1.0
AHEAD_S = 5.0
"""Gateways' clocks may be ahead of the control plane's by so much."""
TIMED_OUT, SERVER_ERROR, REFUSED = 504, 500, 422
"""Inputs that a model refuses count too: stable's slice has as many of those that nobody could take."""
_CALLS = ("row", "at", "variant", "pinned", "cached", "key", "duration_ms", "sample_rate")
_FAILURES = ("at", "variant", "pinned", "key", "duration_ms", "code", "calls")


@dataclass(frozen=True)
class Side:
    """One side's requests. `counted` are those past the warm-up; errors and answers are judged from the first on.

    `durations_ms` are of requests past the warm-up; `numbers`: of answered rows that were looked at, how many held NaN,
    infinity or null. `outputs` has the columns of the model's answers, up to the moment that they are compared at.
    """

    counted: int = 0
    errors: CanaryTally = CanaryTally()
    numbers: CanaryTally = CanaryTally()
    durations_ms: Array = field(default_factory=lambda: np.empty(0))
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
class ComparedSides:
    """Both sides of a step, and how many captured rows that took. Of `stable`, errors and answers are all of them that
    came at the same time; what counts, latencies and answers' columns are of the slice that is as large as the canary.

    `error_effect`, `latency_effect`: how many requests count as one, where those of a key are alike. `keys`: how the
    requests of each key went, and `before`, how those of a key of the canary's did when stable answered them.
    `comparison`: which one of answers this is, from 0.
    """

    stable: Side = Side()
    canary: Side = Side()
    error_effect: float = 1.0
    latency_effect: float = 1.0
    keys: UnitKeys = UnitKeys()
    before: Mapping[str, CanaryTally] = field(default_factory=dict)
    comparison: int = 0
    rows: int = 0


def gather(capture: CapturedRows, window: StepWindow, signature: Signature) -> ComparedSides:
    """Stable's and the canary's requests. `signature` is the canary's. Raises `CaptureUnreadable`."""
    until = window.until + AHEAD_S
    names = [f"output_{spec.name}" for spec in signature.outputs]
    calls = capture.rows("predictions", window.endpoint, window.since, until, (*_CALLS, *names))
    failed = capture.rows("failures", window.endpoint, window.since, until, _FAILURES)
    of = _Rows(calls, failed, window)
    slice_, canary = of.side((BASELINE,), signature), of.side((CANARY,), signature)
    stable = replace(slice_, errors=of.errors((BASELINE, STABLE)), numbers=of.numbers((BASELINE, STABLE), signature))
    effects = of.error_effect(), of.latency_effect()
    return ComparedSides(stable, canary, *effects, keys=of.keys(), comparison=of.compared_at[1], rows=calls["at"].size)


@dataclass(frozen=True)
class _Rows:
    """Captured calls and failures, and what is counted of them by variant."""

    calls: Columns
    failed: Columns
    window: StepWindow

    def side(self, variants: Sequence[str], signature: Signature) -> Side:
        at, durations, weights, _ = self._answered(variants)
        broke = self._broke(variants)
        warm, warm_failed = self.window.is_warm(at), self.window.is_warm(self.failed["at"][broke])
        lost = self._times(broke)[warm_failed]
        waited = self.failed["duration_ms"][broke][warm_failed & (self.failed["code"][broke] == TIMED_OUT)]
        answered = self._outputs(variants, signature, self.compared_at[0])
        has_rows = any(len(values) for values in answered.values())
        seen = columns_seen(signature, answered) if has_rows else WatchedColumns()
        return Side(
            counted=round(float(weights[warm].sum()) + float(lost.sum())),
            errors=self.errors(variants),
            numbers=self.numbers(variants, signature),
            durations_ms=np.concatenate([durations[warm], waited[np.isfinite(waited)]]).astype(np.float64),
            outputs=seen.of("output"),
            datatypes=seen.datatypes,
            kinds=seen.kinds,
        )

    @cached_property
    def compared_at(self) -> tuple[float, int]:
        """Until when answers are compared, and which comparison that is: the first at 100 of the canary's, and so on.

        By rows and not by looks: so it is known how many comparisons there are, however often somebody looks.
        """
        at = np.sort(self.calls["at"][_of_variants(self.calls, (CANARY,))])
        if at.size < ANSWERS_MIN:
            return -np.inf, 0
        place = comparison_of(at.size)
        return float(at[math.ceil(ANSWERS_MIN * _MORE**place) - 1]), place

    def errors(self, variants: Sequence[str]) -> CanaryTally:
        found = round(float(self._times(self._broke(variants)).sum()))
        return CanaryTally(found, found + round(float(self._answered(variants)[2].sum())))

    def numbers(self, variants: Sequence[str], signature: Signature) -> CanaryTally:
        kept = self._outputs(variants, signature)
        rows = next((len(values) for values in kept.values()), 0)
        if not rows:
            return CanaryTally()
        bad = np.zeros(rows, dtype=bool)
        for tensor in tensors_of(kept)[1].values():
            bad |= _is_no_number(tensor)
        return CanaryTally(int(bad.sum()), rows)

    def error_effect(self) -> float:
        """By the keys of both sides that are compared."""
        _, _, _, keys = self._answered((BASELINE, CANARY))
        broke = self._broke((BASELINE, CANARY))
        bad = np.concatenate([np.zeros(keys.size), np.ones(int(broke.sum()))])
        return design_effect(_numbered(np.concatenate([keys, self.failed["key"][broke]])), bad)

    def keys(self) -> UnitKeys:
        """Of all of stable's requests, and of the canary's."""
        return keys_of(
            self._calls((BASELINE, STABLE)),
            self._calls((CANARY,)),
            sampled=bool((_rates(self.calls["sample_rate"]) < 1).any()),
        )

    def _calls(self, variants: Sequence[str]) -> CallsByKey:
        at, _, weights, keys = self._answered(variants)
        broke = self._broke(variants)
        return CallsByKey(
            np.concatenate([at, self.failed["at"][broke]]),
            np.concatenate([keys, self.failed["key"][broke]]),
            np.concatenate([np.zeros(at.size), np.ones(int(broke.sum()))]),
            np.concatenate([weights, self._times(broke)]),
        )

    def latency_effect(self) -> float:
        """By how alike requests of a key, and those of the same second, are in being slow for their side: a machine
        that is busy for a moment makes many of them slow at once.
        """
        return max(self._slow_together(variant) for variant in (BASELINE, CANARY))

    def _slow_together(self, variant: str) -> float:
        at, durations, _, keys = self._answered((variant,))
        if durations.size < 2:
            return 1.0
        seconds, named = np.floor(at / BLOCK_S).astype(np.int64), _numbered(keys)
        slow = [(durations > np.quantile(durations, level)).astype(np.float64) for level in (0.5, LEVEL)]
        return max(design_effect(groups, bad) for groups in (seconds, named) for bad in slow)

    def _answered(self, variants: Sequence[str]) -> tuple[Array, Array, Array, Array]:
        """When, how long, how many each stands for, and whose."""
        calls = self.calls
        kept = _of_variants(calls, variants) & (calls["row"] == 0) & ~flags(calls["cached"])
        return calls["at"][kept], calls["duration_ms"][kept], 1 / _rates(calls["sample_rate"][kept]), calls["key"][kept]

    def _broke(self, variants: Sequence[str]) -> Array:
        codes = self.failed["code"]
        return np.asarray(_of_variants(self.failed, variants) & ((codes >= SERVER_ERROR) | (codes == REFUSED)))

    def _times(self, rows: Array) -> Array:
        """How many calls each row of failures stands for."""
        return np.nan_to_num(self.failed["calls"][rows].astype(np.float64), nan=1.0)

    def _outputs(self, variants: Sequence[str], signature: Signature, until: float = np.inf) -> Columns:
        """Of the newest answers up to a moment."""
        kept = _of_variants(self.calls, variants) & (self.calls["at"] <= until)
        chosen = np.flatnonzero(kept)[-OUTPUT_ROWS_MAX:]
        return {name: self.calls[name][chosen] for name in (f"output_{spec.name}" for spec in signature.outputs)}


def comparison_of(rows: int) -> int:
    """Which comparison of answers there are rows enough for.

    >>> [comparison_of(rows) for rows in (100, 149, 150, 224, 225)]
    [0, 0, 1, 1, 2]
    """
    place = 0
    while math.ceil(ANSWERS_MIN * _MORE ** (place + 1)) <= rows:
        place += 1
    return place


def _is_no_number(tensor: Array) -> Array:
    """Which rows hold NaN, infinity or nothing."""
    rows = tensor.reshape(len(tensor), -1)
    if tensor.dtype.kind == "f":
        return np.asarray(~np.isfinite(rows).all(axis=1))
    if tensor.dtype.kind != "O":
        return np.zeros(len(tensor), dtype=bool)
    return np.array([any(one is None or one != one for one in row) for row in rows.tolist()], dtype=bool)  # noqa: PLR0124


def _numbered(keys: Array) -> Array:
    """A number for each key, -1 where a request has none."""
    named = np.array([key is not None for key in keys.tolist()], dtype=bool)
    numbers = np.full(keys.size, -1, dtype=np.int64)
    if named.any():
        numbers[named] = np.unique(keys[named].astype(str), return_inverse=True)[1]
    return numbers


def _of_variants(found: Columns, variants: Sequence[str]) -> Array:
    """Rows that one of these variants answered, of traffic that nobody pinned."""
    chosen = np.zeros(found["variant"].size, dtype=bool)
    for variant in variants:
        chosen |= np.asarray(found["variant"] == variant, dtype=bool)
    return chosen & ~flags(found["pinned"])


def _rates(given: Array) -> Array:
    rates: Any = np.array([1.0 if value is None else float(value) for value in given.tolist()], dtype=np.float64)
    return np.where((rates > 0) & (rates <= 1), rates, 1.0)
