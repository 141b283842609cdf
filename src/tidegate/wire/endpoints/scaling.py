"""The REST shapes of scaling: what is asked of the number of replicas, and why it is what it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.wire.exact import STRICT, Number, Whole


@dataclass(frozen=True)
class ScaleRequest:
    """Either `replicas`, a fixed number of each version, which ends autoscaling; or what follows the load of each
    version: from `min` to `max` replicas by `target` (`concurrency=X`, `rps=X` or `cpu=X`).

    What is not given stays as it is; where the load was not followed before it is as the platform's settings say. Load
    is looked at over `stable_s` (60), over `panic_s` (6) in a rush, and a fleet shrinks to what it needed within
    `down_s` (300). With a `min` of 0 all versions sleep once there was no request for `idle_s`, and the next request
    wakes them. `autoscaler` is `tidegate`, or `engine` for Kubernetes' own HorizontalPodAutoscaler and for Google Cloud
    Run, which take bounds and target alone.
    """

    __pydantic_config__ = STRICT

    replicas: Whole | None = None
    min: Whole | None = None
    max: Whole | None = None
    target: str | None = None
    stable_s: Number | None = None
    panic_s: Number | None = None
    down_s: Number | None = None
    idle_s: Number | None = None
    autoscaler: str | None = None


@dataclass(frozen=True)
class ScalingView:
    """How the replicas of each version follow the load; `target` is of the `metric`, for each replica. They sleep after
    `idle_s` without a request; None: never. `autoscaler` is who counts them.
    """

    min: int
    max: int
    metric: str
    target: float
    stable_s: float
    panic_s: float
    down_s: float
    idle_s: float | None = None
    autoscaler: str = "tidegate"


@dataclass(frozen=True)
class ScaleSamples:
    """What a decision was made of: the `metric` of all replicas over `stable_s` and `panic_s`, None where it was not
    known; how many replicas that `need`s; and how long a replica takes to start, where one has.

    Of `silent` gateways nothing was known.
    """

    metric: str
    target: float
    stable: float | None
    stable_s: float
    panic: float | None
    panic_s: float
    need: int | None
    cold_start_s: float | None
    silent: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ScaleDecision:
    """How many replicas of a version there shall be and are, by which rule, and why, in words.

    `next_at` is when that may change although the load does not; None where it only does with the load. `samples` is
    None where nobody asked for the load: the number is fixed, or no decision was made yet. `managed_by` is as in
    `VariantView`: how many instances run is known to that engine alone.
    """

    version: str
    desired: int
    ready: int
    rule: str
    reason: str
    samples: ScaleSamples | None = None
    next_at: float | None = None
    at: float | None = None
    managed_by: str | None = None


@dataclass(frozen=True)
class Scale:
    """An endpoint's number of replicas: `scaling` while they follow the load, else `replicas` of each version."""

    endpoint: str
    replicas: int
    scaling: ScalingView | None
    versions: list[ScaleDecision]
