"""Units of an experiment as captured rows tell of them: who was exposed to which arm when, and what came of each.

`capture.units` makes them, `services.experiments` hands them to the statistics. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tidegate.wire.experiments.experiments import Metric

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BEFORE_S = 28 * 86_400.0


@dataclass(frozen=True)
class UnitQuery:
    """What is asked of captured rows.

    With `experiment`, calls that were assigned an arm of it from `since_s` on; without, all calls that nobody pinned,
    as one arm: traffic to plan with. `metrics` by the name that the analysis has for each. `phases` say in which phase
    a call was that names none: (phase, since), oldest first. Values of the `before_s` seconds before `since_s` are the
    units' covariate. With `calls_max`, of a long time only the newest part is read, which has about so many.
    """

    endpoint: str
    arms: tuple[str, ...]
    metrics: Mapping[str, Metric]
    since_s: float
    now_s: float
    experiment: str | None = None
    phases: Sequence[tuple[int, float]] = ()
    before_s: float = BEFORE_S
    calls_max: int | None = None


@dataclass(frozen=True)
class MetricRows:
    """A metric's matured units, one row each, in the order in which they entered.

    `unit` is the place in `UnitRows`. `immature`: by arm, units that may still enter. `covariate` is None where too few
    units were seen before.
    """

    unit: Ints
    value: Floats
    entered_at: Floats
    immature: tuple[int, ...]
    denominator: Floats | None = None
    covariate: Floats | None = None


@dataclass
class Ignored:
    """What was left out, and why: how many of each.

    `without_key` calls have no key, so they are of no unit; `omitted` ones failed in such
    numbers that gateways only counted them. Of feedback, `other_experiment` names another one,
    `other_arm` is about a call that was answered by another arm than the unit's, `early` is dated before the unit's
    first exposure, `late` came when its unit had entered, `not_exposed` is of no unit or call of the experiment, and
    `no_number` is a label that is none.
    """

    without_key: int = 0
    omitted: int = 0
    other_experiment: int = 0
    other_arm: int = 0
    early: int = 0
    late: int = 0
    not_exposed: int = 0
    no_number: int = 0


@dataclass(frozen=True)
class UnitRows:
    """Units that were exposed to one arm: arm (place in the query's), phase and time of the first exposure.

    `several` units were exposed to more than one arm, and are not among them. `sampled`: capture kept only a sample of
    the requests, so units and errors are estimates. Calls were read from `since_s` on; the newest of any unit came at
    `newest_at` (None: there is none).
    """

    arm: Ints
    phase: Ints
    exposed_at: Floats
    metrics: dict[str, MetricRows]
    several: int = 0
    ignored: Ignored = field(default_factory=Ignored)
    sampled: bool = False
    since_s: float = 0.0
    newest_at: float | None = None
