"""From events and calls to each unit's one value: windows, delays, what is missing, and when a unit enters.

With a window, a unit enters `window_s` and `delay_s` after its first exposure, with what had come by then. Without one,
it enters with its first value, `delay_s` after that came. What comes later changes nothing: a value that grows while
somebody looks would break every sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegate.capture.units.exposures import Exposures
from tidegate.capture.units.tally import UnitTally
from tidegate.wire.experiments.experiments import Metric
from tidegate.wire.experiments.units import Floats, Ignored, Ints, MetricRows

SETTLE_S = 2.0
"""So long after its window has passed a unit enters: what came at its end is in the journal by then."""
COVERED_MIN = 0.1
"""A covariate of fewer units than this share is none."""


@dataclass(frozen=True)
class UnitEvents:
    """Values of one metric with the units they are about."""

    unit: Ints
    value: Floats
    at_us: Ints
    received_us: Ints

    def where(self, keep: NDArray[np.bool_]) -> UnitEvents:
        """Some of them."""
        return UnitEvents(self.unit[keep], self.value[keep], self.at_us[keep], self.received_us[keep])


def from_events(
    metric: Metric, exposures: Exposures, events: UnitEvents, ignored: Ignored
) -> tuple[Floats, Floats, Floats]:
    """Of each unit the value (NaN where none came), how many values it is of, and its entry (NaN: not known yet)."""
    first_us = exposures.at_us[events.unit]
    early = events.at_us < first_us
    ignored.early += int(early.sum())
    events = events.where(~early)
    entry_us = _entries(metric, exposures, events)
    if metric.window_s > 0:
        inside = events.at_us <= exposures.at_us[events.unit] + round(metric.window_s * 1e6)
        events = events.where(inside)
    in_time = events.received_us <= entry_us[events.unit]
    ignored.late += int((~in_time).sum()) if metric.window_s > 0 else 0
    events = events.where(in_time)
    tally = UnitTally()
    tally.add(events.unit, events.at_us, events.value)
    values, count = tally.of(metric.agg, len(exposures))
    if metric.window_s == 0:
        values = tally.first(len(exposures))
    return values, count, entry_us / 1e6


def _entries(metric: Metric, exposures: Exposures, events: UnitEvents) -> Floats:
    delay_us = round(metric.delay_s * 1e6)
    if metric.window_s > 0:
        return exposures.at_us.astype(np.float64) + round(metric.window_s * 1e6) + delay_us
    soonest = np.full(len(exposures), np.inf)
    np.minimum.at(soonest, events.unit, events.received_us.astype(np.float64))
    soonest[np.isinf(soonest)] = np.nan
    return soonest + delay_us


def is_zero_without(metric: Metric) -> bool:
    """Whether a unit of which nothing came in its window counts as 0: it did not convert, and bought nothing."""
    if metric.window_s == 0 or metric.source in ("latency", "errors"):
        return False
    return metric.type in ("proportion", "count", "ratio") or metric.agg == "sum"


def rows_of(
    metric: Metric,
    exposures: Exposures,
    found: tuple[Floats, Floats | None, Floats],
    now_s: float,
    arms: int,
    covariate: Floats | None,
) -> MetricRows:
    """A metric's matured units of (value, denominator, entry), in the order of entry."""
    value, denominator, entry = found
    if is_zero_without(metric):
        value = np.nan_to_num(value, nan=0.0)
        denominator = None if denominator is None else np.nan_to_num(denominator, nan=0.0)
    if metric.cap is not None:
        value = np.minimum(value, metric.cap)
    if metric.type == "proportion":  # its variance is that of something between 0 and 1
        value = np.clip(value, 0.0, 1.0)
    counted = ~exposures.several
    settle_s = SETTLE_S if metric.window_s > 0 else 0.0
    with np.errstate(invalid="ignore"):
        ripe = entry + settle_s <= now_s
    has = np.isfinite(value) if denominator is None else np.isfinite(value) & np.isfinite(denominator)
    places = np.flatnonzero(counted & ripe & has)
    order = np.lexsort((value[places], exposures.arm[places], exposures.at_us[places], entry[places]))
    places = places[order]
    waiting = counted & ~ripe
    return MetricRows(
        unit=places,
        value=value[places],
        entered_at=entry[places],
        immature=tuple(np.bincount(exposures.arm[waiting], minlength=arms).tolist()),
        denominator=None if denominator is None else denominator[places],
        covariate=None if covariate is None else _filled(covariate[places]),
    )


def _filled(covariate: Floats) -> Floats | None:
    """Units that were not seen before have the others' mean; None where that is most of them, or all are alike."""
    known = np.isfinite(covariate)
    if not len(covariate) or known.mean() < COVERED_MIN or np.ptp(covariate[known]) == 0:
        return None
    return np.where(known, covariate, covariate[known].mean())
