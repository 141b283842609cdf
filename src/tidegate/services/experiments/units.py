"""Units of an experiment from what was captured, as the statistics take them. Called by the loop of experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.core.captured import CapturedUnits
from tidegate.sequential.units import Exposed, Units
from tidegate.wire.counts import counted
from tidegate.wire.experiments.experiments import ExperimentSpec, Metric, PhaseView
from tidegate.wire.experiments.units import Ignored, MetricRows, UnitQuery, UnitRows

GUARDRAIL = "guardrail:"
"""Before the name of a guardrail's metric where that is not one of the metrics."""


@dataclass(frozen=True)
class ExperimentUnits:
    """Reads what gateways captured."""

    captured: CapturedUnits

    def gather(
        self, spec: ExperimentSpec, place: tuple[str, str], started_at: float, phases: Sequence[PhaseView], now: float
    ) -> GatheredUnits:
        """Units of the experiment at `place` (endpoint, name) from `started_at` until now. Raises `CaptureUnreadable`.

        A unit's arm and phase are those of its first call, by the assigned variant; what of a phase is not captured
        follows from `phases`.
        """
        query = UnitQuery(
            place[0],
            tuple(arm.variant for arm in spec.arms),
            metrics_of(spec),
            started_at,
            now,
            place[1],
            [(one.phase, one.since) for one in phases],
        )
        return gathered(self.captured.units(query), len(spec.arms))


@dataclass(frozen=True)
class GatheredUnits:
    """Matured units by metric, how many were exposed, what people should know of what was left out, and when the newest
    call of a unit came.
    """

    units: dict[str, Units]
    exposed: Exposed
    warnings: list[str]
    newest_at: float | None = None


def metrics_of(spec: ExperimentSpec) -> dict[str, Metric]:
    """Metrics, and those of guardrails that differ, by the names that an analysis has for them."""
    named = {one.name: one for one in spec.metrics}
    for guardrail in spec.guardrails:
        if guardrail.metric not in spec.metrics:
            named[GUARDRAIL + guardrail.metric.name] = guardrail.metric
    return named


def gathered(rows: UnitRows, arms: int) -> GatheredUnits:
    """As the statistics take them."""
    phases = sorted({int(phase) for phase in np.unique(rows.phase)})
    counts = {phase: np.bincount(rows.arm[rows.phase == phase], minlength=arms).tolist() for phase in phases}
    return GatheredUnits(
        {name: _units(rows, one) for name, one in rows.metrics.items()},
        Exposed(counts, rows.several, {name: one.immature for name, one in rows.metrics.items()}),
        warnings_of(rows),
        rows.newest_at,
    )


def _units(rows: UnitRows, metric: MetricRows) -> Units:
    return Units(
        rows.arm[metric.unit],
        rows.phase[metric.unit],
        metric.value,
        metric.denominator,
        metric.covariate,
        metric.entered_at,
    )


def warnings_of(rows: UnitRows) -> list[str]:
    """What was left out, in sentences; none where nothing was."""
    ignored: Ignored = rows.ignored
    told = [
        (ignored.without_key, "call", "without a key (X-Tidegate-Key or user_id): assigned by request, and no unit"),
        (ignored.omitted, "failed call", "that came with so many others that they were only counted: no unit has them"),
        (rows.several, "unit", "in more than one arm: left out"),
        (ignored.other_arm, "feedback event", "about a call of another arm than the unit's: ignored"),
        (ignored.other_experiment, "feedback event", "for another experiment: ignored"),
        (ignored.late, "value", "after the unit had entered the analysis: give the metric a delay"),
        (ignored.early, "value", "dated before the unit's first call: ignored"),
        (ignored.no_number, "label", "neither a number nor true or false: ignored"),
    ]
    made = [f"{counted(count, noun)} {what}" for count, noun, what in told if count]
    if rows.sampled:
        made.append("capture keeps a sample of the requests: units that only failed are not seen, and errors estimated")
    return made
