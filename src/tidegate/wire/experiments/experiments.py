"""The REST shapes of experiments: what is compared, what it came to, and why it was decided.

Times are seconds since the epoch. Services, statistics, CLI, console and reports share them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tidegate.wire.exact import STRICT, Flag, Number

MetricType = Literal["proportion", "mean", "count", "ratio", "quantile"]
MetricDirection = Literal["increase", "decrease"]
MetricSource = Literal["feedback", "label", "latency", "errors"]
Aggregate = Literal["last", "sum", "mean"]
BoundKind = Literal["max", "min", "margin"]
OnBreach = Literal["rollback", "hold", "alert"]
OnNoTraffic = Literal["hold", "abort"]
ExperimentState = Literal["draft", "running", "paused", "waiting_for_traffic", "decided", "stopped"]
ExperimentDecision = Literal["insufficient_data", "continue", "promote", "rollback", "hold", "inconclusive"]
GuardrailState = Literal["unknown", "ok", "breached", "undecided"]


@dataclass(frozen=True)
class Metric:
    """What is measured of a unit, and which way is better.

    A unit's value is what comes within `window_s` of its first exposure (0: its first value), once `delay_s` more have
    passed; put together by `agg`, and cut at `cap`. Of a `ratio`, `per` names the denominator; `q` is a quantile's
    level.
    """

    name: str
    direction: MetricDirection
    type: MetricType = "mean"
    window_s: float = 0.0
    delay_s: float = 0.0
    cap: float | None = None
    agg: Aggregate = "last"
    source: MetricSource = "feedback"
    q: float = 0.95
    per: str = ""


@dataclass(frozen=True)
class Guardrail:
    """A bound that a treatment must keep: `max` and `min` of the metric, or a `margin` that it may be worse by.

    A margin is a share of control's value, or an amount where it is `absolute`. One that is a `dry_run` is watched and
    decides nothing.
    """

    metric: Metric
    kind: BoundKind
    value: float
    absolute: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class ArmSpec:
    """An arm: its name, the version behind it, and its percent of the units that take part."""

    variant: str
    version: str
    share: float


@dataclass(frozen=True)
class ExperimentSpec:
    """What an experiment compares, and how it is decided. The first arm is control.

    `mde`: the smallest effect worth finding, a share of control's value, or an amount where `mde_absolute`. `ramp` is
    the percent of units that take part, step by step, each for `ramp_every_s`; what does not take part gets control.
    """

    arms: tuple[ArmSpec, ...]
    metrics: tuple[Metric, ...]
    guardrails: tuple[Guardrail, ...] = ()
    mde: float = 0.05
    mde_absolute: bool = False
    alpha: float = 0.05
    max_days: float = 30.0
    auto: bool = False
    on_breach: OnBreach = "rollback"
    on_no_traffic: OnNoTraffic = "hold"
    ramp: tuple[float, ...] = (100.0,)
    ramp_every_s: float = 86400.0


@dataclass(frozen=True)
class ExperimentRequest:
    """Create an experiment; metrics and guardrails in the grammar of the command line.

    `NAME:increase|decrease[:proportion|mean|count|ratio|quantile][,window=0s,delay=0s,cap=X,agg=last|sum|mean,
    source=feedback|label|latency|errors]` and `NAME:max=X|min=X|margin=X[,dry_run]`. `split` has a percent for each
    arm, control's first; `mde` may be `abs:X`. Versions are numbers, labels or `@` aliases. `max_days` None: 30,
    or as many as captured rows are kept for.
    """

    __pydantic_config__ = STRICT

    control: str
    treatments: list[str]
    metrics: list[str]
    name: str | None = None
    split: list[Number] = field(default_factory=list)
    guardrails: list[str] = field(default_factory=list)
    mde: str = "0.05"
    alpha: Number = 0.05
    max_days: Number | None = None
    auto: Flag = False
    on_breach: OnBreach = "rollback"
    on_no_traffic: OnNoTraffic = "hold"
    ramp: list[Number] = field(default_factory=list)
    ramp_every_s: Number = 86400.0
    start: Flag = False
    accept_signature_change: Flag = False


@dataclass(frozen=True)
class SplitRequest:
    """Percent of units for each arm of an experiment that was not started, control's first; none: equal parts."""

    __pydantic_config__ = STRICT

    split: list[Number]


@dataclass(frozen=True)
class ArmView:
    """An arm so far: units in the analysis of the first metric, and those whose window has not passed yet."""

    variant: str
    version: str
    share: float
    units: int
    immature: int
    exposed: int = 0


@dataclass(frozen=True)
class MetricView:
    """A metric of a treatment beside control's. None where nothing can be known yet.

    `improvement` is (b - a)/a, between `lower` and `upper` at every look; `winner` is "a", "b" or None.
    """

    name: str
    variant: str
    model_a_mean: float | None
    model_b_mean: float | None
    improvement: float | None
    lower: float | None
    upper: float | None
    p_value: float | None
    significant: bool
    winner: str | None
    method: str = ""
    units_a: int = 0
    units_b: int = 0
    immature: int = 0


@dataclass(frozen=True)
class GuardrailView:
    """A guardrail: the treatment's value, the bound of its sequence, and the margin (or limit) it must keep.

    Of a margin all three say by how much it is worse than control: as shares of control's value, or as amounts where it
    is `absolute`.
    """

    name: str
    variant: str
    value: float | None
    bound: float | None
    margin: float
    state: GuardrailState
    kind: BoundKind = "margin"
    dry_run: bool = False
    absolute: bool = False


@dataclass(frozen=True)
class RatioView:
    """Whether units came in the planned ratio. `several`: units that were in more than one arm."""

    sound: bool
    bayes_factor: float | None
    several: int = 0


@dataclass(frozen=True)
class PhaseView:
    """A split, and since when: what is estimated is estimated within each."""

    phase: int
    since: float
    coverage: float


@dataclass(frozen=True)
class LookView:
    """What one look at the data found: a point of the sequence over time."""

    at: float
    decision: ExperimentDecision
    reason: str
    metrics: list[MetricView]
    guardrails: list[GuardrailView]
    ratio: RatioView
    arms: list[ArmView]


@dataclass(frozen=True)
class ExperimentView:
    """An experiment and what is known of it. The first metric's fields stand at the top too, as two arms' "a" and "b".

    `status` is `insufficient_data` while nothing can be said, else the state. `start_time` is RFC 3339, None before the
    start. `next` says what happens next, `days_left` when about.
    """

    name: str
    endpoint: str
    model_a: str
    model_b: str
    traffic_split: float
    start_time: str | None
    active: bool
    state: ExperimentState
    status: str
    phase: int | None
    arms: list[ArmView]
    metrics: list[MetricView]
    guardrails: list[GuardrailView]
    ratio: RatioView
    decision: ExperimentDecision
    reason: str
    next: str
    days_left: float | None
    model_a_mean: float | None = None
    model_b_mean: float | None = None
    improvement: float | None = None
    lower: float | None = None
    upper: float | None = None
    p_value: float | None = None
    significant: bool = False
    winner: str | None = None
    auto: bool = False
    on_breach: OnBreach = "rollback"
    max_days: float = 30.0
    alpha: float = 0.05
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    looked_at: float | None = None
    expected_days: float | None = None
    warnings: list[str] = field(default_factory=list)
    phases: list[PhaseView] = field(default_factory=list)
    looks: list[LookView] = field(default_factory=list)


@dataclass(frozen=True)
class ExperimentList:
    """The experiments of an endpoint, newest first."""

    experiments: list[ExperimentView]


@dataclass(frozen=True)
class AaMetric:
    """How often a metric's own test found a difference in splits at random of the same units.

    `rate` over all planned looks, that of a fixed-time test looked at as often beside it.
    """

    name: str
    units: int
    rate: float | None
    fixed_rate: float | None
    verdict: str


@dataclass(frozen=True)
class AaView:
    """An A/A check on captured traffic between two moments."""

    endpoint: str
    since: float
    until: float
    repetitions: int
    looks: int
    metrics: list[AaMetric]


@dataclass(frozen=True)
class AaRequest:
    """Split captured units at random `repetitions` times, and look at each split `looks` times."""

    __pydantic_config__ = STRICT

    days: Number = 14.0
    repetitions: int = 1000
    looks: int = 20
