"""Calls of days that are over, folded together once and kept between looks at an experiment.

Exact: what is kept of some days is used only while the files that hold them are the very same ones, and no segment of
the journal that is yet to be compacted may have a call of them. Where retention, a person's right to be forgotten or a
late gateway changed a file, and after a restart, all is read anew.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from tidegate.capture.labels import CaptureReader
from tidegate.capture.units.calls import UnitCalls, calls_of, slices
from tidegate.capture.units.exposures import Exposures
from tidegate.capture.units.tally import UnitTally
from tidegate.wire.experiments.experiments import Metric
from tidegate.wire.experiments.units import Ignored, Ints, UnitQuery

CALLS = ("latency", "errors")
"""Sources of metrics that calls themselves tell."""
BYTES_KEPT_MAX = 256 << 20
"""Of all experiments together: 2 million units with short keys and one metric that calls tell, or fewer with more. Of
those looked at longest ago nothing is kept then.
"""
EXPERIMENTS_KEPT_MAX = 100
LATE_S = 90_000.0
"""A day is over so long after its end: a call is recorded when it ends, and a segment is compacted soon after."""
TABLES = ("predictions", "failures")


class SettledReader(CaptureReader, Protocol):
    """A reader that can tell whether what it has of a time is still the same (`store.CaptureStore`)."""

    def holding(self, tables: tuple[str, ...], endpoint: str, since_s: float, until_s: float) -> bytes | None:
        """Stands for the files that have rows of a time; None while the journal may have more of them."""


@dataclass
class CallsSoFar:
    """What is known after some slices of calls, up to `until_s`. `tallies`: of metrics that calls tell, by name."""

    until_s: float
    exposures: Exposures
    tallies: dict[str, UnitTally]
    sampled: bool = False
    newest_us: int | None = None
    ignored: Ignored = field(default_factory=Ignored)

    @classmethod
    def begun(cls, query: UnitQuery) -> CallsSoFar:
        """Before the first slice."""
        tallies = {name: UnitTally() for name, one in query.metrics.items() if one.source in CALLS}
        return cls(query.since_s, Exposures(), tallies)

    def copy(self) -> CallsSoFar:
        """The same, to go on from."""
        tallies = {name: one.copy() for name, one in self.tallies.items()}
        return replace(self, exposures=self.exposures.copy(), tallies=tallies, ignored=replace(self.ignored))

    @property
    def size_bytes(self) -> int:
        """Of all that grows with units."""
        return self.exposures.size_bytes + sum(one.size_bytes for one in self.tallies.values())

    def add(self, metrics: Mapping[str, Metric], calls: UnitCalls) -> Ints:
        """The next slice; the unit of each of its calls, -1 for one whose unit is not known."""
        self.sampled = self.sampled or bool((calls.weight[calls.answered] > 1).any())
        if len(calls):
            self.newest_us = max(int(calls.at_us.max()), self.newest_us or 0)
        unit = self.exposures.fold(calls, only_answered=self.sampled)
        for name, tally in self.tallies.items():
            self._count(metrics[name], tally, calls, unit)
        return unit

    def _count(self, metric: Metric, tally: UnitTally, calls: UnitCalls, unit: Ints) -> None:
        """A call belongs to its unit's window when it began in it."""
        keep = unit >= 0
        if not keep.any():
            return
        if metric.source == "latency":
            keep &= np.isfinite(calls.duration_ms)
        if metric.window_s > 0:
            keep &= calls.at_us <= self.exposures.at_us[unit] + round(metric.window_s * 1e6)
        value = calls.duration_ms if metric.source == "latency" else calls.failed.astype(np.float64)
        weight = calls.weight if metric.source == "errors" else np.ones(len(calls))
        tally.add(unit[keep], calls.at_us[keep], value[keep], weight[keep])


@dataclass(frozen=True)
class _Kept:
    holding: bytes
    calls: CallsSoFar


class SettledCalls:
    """Of each experiment the calls of days that are over, while the files that hold them stay as they are."""

    def __init__(self, store: SettledReader, bytes_max: int = BYTES_KEPT_MAX) -> None:
        self._store, self._bytes_max = store, bytes_max
        self._kept: dict[Hashable, _Kept] = {}
        self._lock = threading.Lock()

    def of(self, query: UnitQuery) -> CallsSoFar | None:
        """Calls from the query's start up to the end of a day that is over; None where of no such day it is sure."""
        if query.experiment is None:
            return None
        key = (query.endpoint, query.experiment, query.arms, tuple(query.metrics.items()), query.since_s)
        with self._lock:
            known = self._kept.pop(key, None)
        until_s = _settled_until_s(query)
        if known is not None and not self._is_valid(query, known, until_s):
            known = None
        kept = self._extended(query, known, until_s)
        if kept is None:
            return None
        self._keep(key, kept)
        return kept.calls.copy()

    def _is_valid(self, query: UnitQuery, known: _Kept, until_s: float) -> bool:
        """No file of its days came, went or changed, and the clock was not set back to before their end."""
        end_s = known.calls.until_s
        return end_s <= until_s and self._holding(query, end_s) == known.holding

    def _holding(self, query: UnitQuery, until_s: float) -> bytes | None:
        return self._store.holding(TABLES, query.endpoint, query.since_s, until_s)

    def _extended(self, query: UnitQuery, known: _Kept | None, until_s: float) -> _Kept | None:
        """With all days up to `until_s`; as it was where that is not later, or not sure."""
        calls = CallsSoFar.begun(query) if known is None else known.calls
        if until_s <= calls.until_s:
            return known
        holding = self._holding(query, until_s)
        if holding is None:
            return known
        calls = calls.copy()
        for between in slices(replace(query, since_s=calls.until_s, now_s=until_s)):
            calls.add(query.metrics, calls_of(self._store, query, between, calls.ignored))
        calls.until_s = until_s
        # A file that came or went meanwhile may have been read or not.
        return _Kept(holding, calls) if self._holding(query, until_s) == holding else known

    def _keep(self, key: Hashable, kept: _Kept) -> None:
        with self._lock:
            self._kept[key] = kept
            while len(self._kept) > EXPERIMENTS_KEPT_MAX or self._bytes() > self._bytes_max:
                del self._kept[next(iter(self._kept))]

    def _bytes(self) -> int:
        return sum(one.calls.size_bytes for one in self._kept.values())


def _settled_until_s(query: UnitQuery) -> float:
    """The end of the last slice that ended long enough ago."""
    ends = [end for _, end in slices(query) if end <= query.now_s - LATE_S]
    return ends[-1] if ends else query.since_s
