"""Units of an experiment, or of an endpoint's traffic, from what gateways captured. The entry point of this room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tidegate.capture.labels import CaptureReader
from tidegate.capture.units.arrow import places
from tidegate.capture.units.calls import SLICE_S, UnitCalls, calls_of, slices
from tidegate.capture.units.compared import compared
from tidegate.capture.units.events import LABEL, Events, read_events
from tidegate.capture.units.settled import CALLS, CallsSoFar, SettledCalls
from tidegate.capture.units.tally import UnitTally
from tidegate.capture.units.values import UnitEvents, from_events, rows_of
from tidegate.wire.experiments.experiments import Metric
from tidegate.wire.experiments.units import Floats, Ignored, Ints, MetricRows, UnitQuery, UnitRows

FIRST_SPAN_S = 3600.0
"""Where only the newest calls are read, the first piece is so long, and each one before it twice as long."""


def units(store: CaptureReader, query: UnitQuery, settled: SettledCalls | None = None) -> UnitRows:
    """Read calls and feedback until now, and put each unit's values together. Raises `CaptureUnreadable`.

    The result is the same whether rows are in the journal or in Parquet, and whatever their order there. With
    `settled`, calls of days that have not changed since an earlier look are not read again; it comes to the same.
    """
    ignored = Ignored()
    events = read_events(store, query, ignored)
    named = events.ids.drop_null().unique()
    newest, so_far = None, None
    if query.calls_max is not None:
        query, newest = _newest(store, query, query.calls_max, ignored)
    elif settled is not None and not len(named):  # feedback by id may be about any call: all of them are read
        so_far = settled.of(query)
    reading = _Reading(query, events, named, so_far or CallsSoFar.begun(query))
    later = slices(query) if so_far is None else slices(replace(query, since_s=so_far.until_s))
    for calls in newest or (calls_of(store, query, between, reading.calls.ignored) for between in later):
        reading.add(calls)
    ignored.without_key += reading.calls.ignored.without_key
    ignored.omitted += reading.calls.ignored.omitted
    return reading.finished(ignored, compared(store, query, reading.exposures))


def _newest(
    store: CaptureReader, query: UnitQuery, calls_max: int, ignored: Ignored
) -> tuple[UnitQuery, list[UnitCalls]]:
    """The newest calls, oldest first, and the query of their time: as many pieces as have so many together."""
    pieces: list[UnitCalls] = []
    since_s, span_s = query.now_s, FIRST_SPAN_S
    while since_s > query.since_s and sum(map(len, pieces)) < calls_max:
        begin_s = max(query.since_s, since_s - span_s)
        pieces.append(calls_of(store, query, (begin_s, since_s), ignored))
        since_s, span_s = begin_s, min(2 * span_s, SLICE_S)
    return replace(query, since_s=since_s), pieces[::-1]


class _Reading:
    """What is known after some slices of calls. `named` are the ids that feedback names."""

    def __init__(self, query: UnitQuery, events: Events, named: pa.Array, calls: CallsSoFar) -> None:
        self.query, self.events, self.arms = query, events, max(1, len(query.arms))
        self.calls, self.exposures = calls, calls.exposures
        self.named = named
        self.unit_of_id, self.arm_of_id = np.full((2, len(self.named)), -1, np.int64)

    def add(self, calls: UnitCalls) -> None:
        unit = self.calls.add(self.query.metrics, calls)
        if len(self.named):
            self._note_ids(calls, unit)

    def _note_ids(self, calls: UnitCalls, unit: Ints) -> None:
        place = places(calls.ids, self.named)
        rows = np.flatnonzero((place >= 0) & (unit >= 0))
        rows = rows[np.lexsort((calls.arm[rows], calls.at_us[rows]))]  # the newest call of an id is the one it names
        self.unit_of_id[place[rows]], self.arm_of_id[place[rows]] = unit[rows], calls.arm[rows]

    def finished(self, ignored: Ignored, compared: Mapping[str, UnitEvents]) -> UnitRows:
        exposures = self.exposures
        unknown = exposures.phase < 0
        exposures.phase[unknown] = _phases_at(self.query, exposures.at_us[unknown])
        unit = self._units_of_events(ignored)
        kept = np.flatnonzero(~exposures.several)
        place = np.full(len(exposures), -1, np.int64)
        place[kept] = np.arange(len(kept))
        made = {}
        for name, metric in self.query.metrics.items():
            if name in compared:
                found = from_events(metric, exposures, compared[name], ignored)
                rows = rows_of(metric, exposures, (found[0], None, found[2]), self.query.now_s, self.arms, None)
            else:
                rows = self._metric(name, metric, unit, ignored)
            made[name] = replace(rows, unit=place[rows.unit])
        return UnitRows(
            exposures.arm[kept],
            exposures.phase[kept],
            exposures.at_us[kept] / 1e6,
            made,
            int(exposures.several.sum()),
            ignored,
            self.calls.sampled,
            self.query.since_s,
            None if self.calls.newest_us is None else self.calls.newest_us / 1e6,
        )

    def _units_of_events(self, ignored: Ignored) -> Ints:
        """The unit that each event is about; -1 where that is none, or another arm's than the unit's."""
        events, exposures = self.events, self.exposures
        unit = exposures.code(events.keys).copy()
        place = places(events.ids, self.named)
        by_id = np.flatnonzero(place >= 0)
        if len(by_id):
            found = self.unit_of_id[place[by_id]]
            known = found >= 0
            other = np.zeros(len(found), np.bool_)
            other[known] = self.arm_of_id[place[by_id[known]]] != exposures.arm[found[known]]
            ignored.other_arm += int(other.sum())
            unit[by_id] = np.where(other, -2, found)
        since_us = round(self.query.since_s * 1e6)
        ignored.not_exposed += int(((unit == -1) & (events.at_us >= since_us)).sum())
        return np.maximum(unit, -1)

    def _metric(self, name: str, metric: Metric, unit: Ints, ignored: Ignored) -> MetricRows:
        if metric.source in CALLS:
            found = self._of_calls(name, metric)
            return rows_of(metric, self.exposures, found, self.query.now_s, self.arms, None)
        series = LABEL if metric.source == "label" else metric.name
        value, _, entry = from_events(metric, self.exposures, self._about(series, unit, before=False), ignored)
        denominator = None
        if metric.type == "ratio" and metric.per:
            below = self._about(metric.per, unit, before=False)
            denominator, _, other_entry = from_events(metric, self.exposures, below, Ignored())
            entry = np.fmax(entry, other_entry) if metric.window_s == 0 else entry
        covariate = self._before(metric, series, unit)
        return rows_of(metric, self.exposures, (value, denominator, entry), self.query.now_s, self.arms, covariate)

    def _about(self, series: str, unit: Ints, *, before: bool) -> UnitEvents:
        """Events of a series with a unit: those of the query's time, or those before it."""
        chosen = self.events.of(series)
        since_us = round(self.query.since_s * 1e6)
        at_us = self.events.at_us[chosen]
        chosen = chosen[(unit[chosen] >= 0) & ((at_us < since_us) if before else (at_us >= since_us))]
        return UnitEvents(
            unit[chosen], self.events.value[chosen], self.events.at_us[chosen], self.events.received_us[chosen]
        )

    def _before(self, metric: Metric, series: str, unit: Ints) -> Floats | None:
        events = self._about(series, unit, before=True)
        events = events.where(events.received_us < round(self.query.since_s * 1e6))
        if not len(events.unit) or metric.type in ("ratio", "quantile"):
            return None
        tally = UnitTally()
        tally.add(events.unit, events.at_us, events.value)
        made, _ = tally.of("sum" if metric.agg == "sum" else "mean", len(self.exposures))
        return made if metric.cap is None else np.minimum(made, metric.cap)

    def _of_calls(self, name: str, metric: Metric) -> tuple[Floats, Floats | None, Floats]:
        """Latency is put together as the metric says (its mean, where that is to be the last), errors are a share."""
        size = len(self.exposures)
        tally = self.calls.tallies[name]
        entry = self.exposures.at_us / 1e6 + metric.window_s + metric.delay_s
        if metric.window_s == 0:
            return tally.first(size), None, entry
        if metric.type == "ratio" and not metric.per:
            total, count = tally.of("sum", size)
            return total, np.where(count > 0, count, np.nan), entry
        return tally.of("mean" if metric.source == "errors" else metric.agg, size)[0], None, entry


def _phases_at(query: UnitQuery, at_us: Ints) -> Ints:
    """The phase that went on then, by the times at which phases began."""
    if not query.phases:
        return np.ones(len(at_us), np.int64)
    since = np.asarray([round(since_s * 1e6) for _, since_s in query.phases], np.int64)
    numbers = np.asarray([phase for phase, _ in query.phases], np.int64)
    made: Ints = numbers[np.maximum(np.searchsorted(since, at_us, side="right") - 1, 0)]
    return made
