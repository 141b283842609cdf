"""The REST shapes of monitoring: settings, baselines, and what monitors found. Times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from tidegate.wire.decoding import convert
from tidegate.wire.exact import STRICT, Flag, Number

MonitorName = Literal[
    "feature_drift",
    "prediction_drift",
    "performance",
    "estimated_performance",
    "data_quality",
    "label_shift",
    "traffic",
    "latency",
    "errors",
    "label_coverage",
    "capture",
]
MonitorState = Literal["ok", "alert", "unknown"]
Severity = Literal["low", "medium", "high", "critical"]
Against = Literal["baseline", "previous"]
BaselineSource = Literal["validation", "file", "production"]


class Histograms(msgspec.Struct, frozen=True):
    """The pair of a column: what its bins are called, and how many rows each had in the baseline and has now."""

    names: list[str]
    reference: list[int]
    current: list[int]


class MonitorResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one monitor says of one thing (a feature, a metric, an endpoint) between two moments.

    `since` and `until` are `from` and `to` in JSON. `state` "unknown": nothing can be known, so nothing was decided;
    then numbers are None. `severity` is that of an alert. `n` and `n_reference`: rows (requests, of traffic, latency
    and errors) now and in what they are compared with: the baseline, or (`against` "previous") the full block of rows
    before, which is shown beside it, decides nothing and alerts nobody.

    Drift has `drift_detected`, `effect` (at least `effect_lower`), `p_value`, distances each beside what it passes once
    in twenty times without drift (`…_null`), and `rates`: what became more or less frequent. Whatever has a value has
    `value`, `reference`, and the interval from `lower` to `upper`. Performance has `performance_drop`,
    `significant_drop`, `coverage` (the share of labels that came), and accuracy also by the names `current_accuracy`
    and `baseline_accuracy`. An estimate has its `method`, and what it assumes.
    """

    monitor: MonitorName
    endpoint: str
    version: str | None = None
    feature: str | None = None
    metric: str | None = None
    segment: str | None = None
    against: Against = "baseline"
    since: float = msgspec.field(name="from")
    until: float = msgspec.field(name="to")
    n: int = 0
    n_reference: int = 0
    verdict: str
    state: MonitorState
    severity: Severity | None = None
    evaluated_at: float

    kind: str | None = None
    drift_detected: bool | None = None
    ks_statistic: float | None = None
    p_value: float | None = None
    effect_name: str | None = None
    effect: float | None = None
    effect_lower: float | None = None
    critical: float | None = None
    n_effective: int | None = None
    wasserstein: float | None = None
    wasserstein_null: float | None = None
    jensen_shannon: float | None = None
    jensen_shannon_null: float | None = None
    psi: float | None = None
    psi_null: float | None = None
    rates: list[dict[str, Any]] = []
    histograms: Histograms | None = None

    value: float | None = None
    reference: float | None = None
    lower: float | None = None
    upper: float | None = None
    performance_drop: float | None = None
    significant_drop: bool | None = None
    coverage: float | None = None
    n_labelled: int | None = None
    current_accuracy: float | None = None
    baseline_accuracy: float | None = None
    final_lower: float | None = None
    final_upper: float | None = None
    coverage_by_age: list[dict[str, Any]] = []
    method: str | None = None
    assumption: str | None = None

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """For the API, which serves it as msgspec writes it."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            lambda value: convert(value, cls),
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        """For OpenAPI."""
        _, parts = msgspec.json.schema_components((cls, Histograms), ref_template="{name}")
        own: dict[str, Any] = {**parts[cls.__name__], "properties": dict(parts[cls.__name__]["properties"])}
        own["properties"]["histograms"] = {"anyOf": [{"type": "null"}, parts[Histograms.__name__]], "default": None}
        return own


@dataclass(frozen=True)
class MonitorResultPage:
    """Results, newest first. `next` is the cursor of the page after them, None after the last."""

    results: list[MonitorResult]
    next: str | None = None


@dataclass(frozen=True)
class MonitorRequest:
    """How an endpoint is monitored from now on; what is not given stays as it is.

    It is evaluated every `every_s` seconds (300), over the last `window_s` (3600) where no block of rows is judged.
    Rows are judged for performance once their labels had `label_delay_s` (0) to come. `block_s`: the shortest time that
    drift is judged over, up to a day (when not given: a day, or an hour where the baseline knows the hours of the
    week). `by`, `timezone` (UTC): of a baseline that is taken of production, the column whose values are the segments
    ("" for none), and whose days its traffic follows, such as `Europe/Berlin`. `on` false: not at all.
    `selective_labels`: labels come for rows that were chosen by the prediction or the outcome (loans that were
    granted), so that no average of them is taken.
    """

    __pydantic_config__ = STRICT

    every_s: Number | None = None
    window_s: Number | None = None
    label_delay_s: Number | None = None
    block_s: Number | None = None
    by: str | None = None
    timezone: str | None = None
    on: Flag | None = None
    selective_labels: Flag | None = None


@dataclass(frozen=True)
class MonitorBlock:
    """Rows of a version that are gathered to be judged, since when, and when they were judged last."""

    version: str
    since: float
    judged_at: float


@dataclass(frozen=True)
class MonitorView:
    """How an endpoint is monitored, and what that came to: when last, when next, what went wrong then ("" nothing)."""

    endpoint: str
    on: bool
    every_s: float
    window_s: float
    label_delay_s: float
    block_s: float | None
    by: str | None
    timezone: str
    evaluated_at: float | None = None
    next_at: float | None = None
    trouble: str = ""
    blocks: list[MonitorBlock] = field(default_factory=list)
    selective_labels: bool = False


@dataclass(frozen=True)
class MonitorRun:
    """What an evaluation found that was asked for."""

    results: list[MonitorResult]


@dataclass(frozen=True)
class BaselineRequest:
    """Take a new baseline of a version from an uploaded CSV or Parquet file.

    `target`: the column with the truth, without which there is no baseline of performance. `by`: the column whose
    values are the segments. `time_column`: when each row was; then the baseline knows the rhythm of hours and weekdays
    of `timezone`, and how much days differ.
    """

    __pydantic_config__ = STRICT

    upload: str
    filename: str
    target: str | None = None
    by: str | None = None
    timeout_s: Number = 120.0
    time_column: str | None = None
    timezone: str = "UTC"


@dataclass(frozen=True)
class BaselineColumn:
    """One column of a baseline: an input or an output, in so many bins."""

    name: str
    role: Literal["input", "output"]
    kind: str
    bins: int
    missing: int


@dataclass(frozen=True)
class BaselineView:
    """What a version's data is compared with. `source`: rows of its validation, of a file, or of production itself.

    `metric` is what decides about performance, with its `value` and how bad it may have been (`bound`); None without
    labels.
    """

    model: str
    version: str
    source: BaselineSource
    rows: int
    labelled: int
    made_at: float
    columns: list[BaselineColumn]
    by: str | None = None
    segments: list[str] = field(default_factory=list)
    metric: str | None = None
    value: float | None = None
    bound: float | None = None
    endpoint: str | None = None
    since: float | None = None
    until: float | None = None
