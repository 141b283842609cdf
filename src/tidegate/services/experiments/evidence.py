"""What the newest look at an experiment found, as its row keeps it. Written by `deciding`, read by `views`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from tidegate.sequential.analysis import Analysis
from tidegate.sequential.units import Exposed, Units
from tidegate.store.tables import ExperimentRow
from tidegate.wire.decoding import convert
from tidegate.wire.experiments.experiments import ArmView, ExperimentSpec
from tidegate.wire.numbers import finite

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExperimentEvidence:
    """An analysis, with what the next one needs of it; units by arm; what people should know of what was left out.

    `newest_at`: when the newest call of a unit had come; `ready_since`: since which look on a promotion was decided.
    """

    analysis: Analysis
    arms: list[ArmView]
    warnings: list[str] = field(default_factory=list)
    newest_at: float | None = None
    ready_since: float | None = None


def evidence_of(row: ExperimentRow) -> ExperimentEvidence | None:
    """As the row has it; None before the first look, and where another release wrote what cannot be read."""
    if row.evidence is None:
        return None
    try:
        return convert(row.evidence, ExperimentEvidence)
    except msgspec.ValidationError as error:
        _log.warning("experiment %s of %s is looked at from its beginning: %s", row.name, row.endpoint, error)
        return None


def finite_analysis(analysis: Analysis) -> Analysis:
    """The same, with None for numbers that are none: values near the largest double overflow in sums.

    A plan that is not finite is left out, and made anew at the next look.
    """
    body = msgspec.to_builtins(analysis)
    body["plans"] = {name: one for name, one in body["plans"].items() if one == _without_nan(one)}
    return convert(_without_nan(body), Analysis)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return finite(value) if isinstance(value, float) else value


def arms_so_far(spec: ExperimentSpec, units: Mapping[str, Units], exposed: Exposed) -> list[ArmView]:
    """Each arm with its exposed units, and how many of them are in the analysis of the first metric, or may still be.

    >>> from tidegate.wire.experiments.experiments import ArmSpec
    >>> spec = ExperimentSpec((ArmSpec("control", "1", 50.0), ArmSpec("treatment", "2", 50.0)), ())
    >>> [arm.exposed for arm in arms_so_far(spec, {}, Exposed({1: [3, 4], 2: [1, 0]}))]
    [4, 4]
    """
    size = len(spec.arms)
    first = spec.metrics[0].name if spec.metrics else ""
    seen = [_at(place, exposed.counts.values()) for place in range(size)]
    matured = units.get(first)
    entered = [0] * size if matured is None else np.bincount(matured.arm, minlength=size).tolist()
    waiting = [_at(place, [exposed.immature.get(first, ())]) for place in range(size)]
    return [
        ArmView(arm.variant, arm.version, arm.share, int(entered[place]), waiting[place], seen[place])
        for place, arm in enumerate(spec.arms)
    ]


def _at(place: int, rows: Iterable[Sequence[int]]) -> int:
    return sum(int(row[place]) for row in rows if place < len(row))
