"""How busy versions are: what gateways tell the control plane each second, and what the API shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.wire.exact import STRICT, Number, Whole

DURATION_BUCKETS_S = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0
)  # fmt: skip
"""Upper ends of the buckets that durations are counted in; what took longer is in one more."""


@dataclass(frozen=True)
class VersionLoad:
    """What one gateway had to do for one version (`""`: refused before one was chosen) during a report's span.

    `in_progress_s` is the integral of the number of requests in progress, so divided by the span their mean number.
    `requests` ended, and so many of them in `errors` (5xx). `durations` counts those that had a version by how long
    they took, in the buckets of `DURATION_BUCKETS_S` and one more.
    """

    __pydantic_config__ = STRICT

    endpoint: str
    version: str
    in_progress_s: Number
    requests: Whole
    errors: Whole
    durations: list[Whole]


@dataclass(frozen=True)
class LoadReport:
    """A gateway's load over the `span_s` seconds until now. Versions that are not named had nothing to do, or, where it
    is `truncated`, may have had: nothing is known of them.

    `host` is set where a control plane that stands by passes it on: ids of gateways are unique on their own host only.
    """

    __pydantic_config__ = STRICT

    gateway: str
    span_s: Number
    versions: list[VersionLoad]
    host: str = ""
    truncated: bool = False


@dataclass(frozen=True)
class LoadView:
    """How busy a version, or a whole endpoint, was over the last `window_s` seconds, over all gateways.

    `concurrency` is the mean number of requests in progress. `p50_s` and `p95_s` are estimated from a histogram; None
    where no request ended. Of so many live gateways (`gateways_silent`) the load is not known: it may be more.
    """

    window_s: float
    concurrency: float
    requests_per_s: float
    errors_per_s: float
    p50_s: float | None
    p95_s: float | None
    gateways_silent: int = 0


@dataclass(frozen=True)
class VersionSeries:
    """One version over time, a value for each point; null where it is not known. `p95_s` is null without requests."""

    requests_per_s: list[float | None] = field(default_factory=list)
    errors_per_s: list[float | None] = field(default_factory=list)
    concurrency: list[float | None] = field(default_factory=list)
    p95_s: list[float | None] = field(default_factory=list)


@dataclass(frozen=True)
class LoadSeries:
    """How busy an endpoint's versions were: means over the `step_s` seconds until each of `times` (seconds since 1970).

    By version; `""` has requests that were refused before one was chosen. Of so many live gateways (`gateways_silent`)
    nothing is known just now, so that the newest points are null.
    """

    step_s: float
    times: list[float]
    versions: dict[str, VersionSeries]
    gateways_silent: int = 0


@dataclass(frozen=True)
class EndpointsLoad:
    """How busy endpoints were, as `LoadSeries` has it for one: by name, those that had requests, all versions of each
    together.
    """

    step_s: float
    times: list[float]
    endpoints: dict[str, VersionSeries]
    gateways_silent: int = 0
