"""What alerts are made of. Values only: `core.alerting.machine` decides, `services.alerting` reads and writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

AlertType = Literal[
    "data_drift",
    "prediction_drift",
    "label_shift",
    "performance_drift",
    "estimated_performance",
    "data_quality",
    "errors",
    "latency",
    "traffic",
    "label_coverage",
    "capture_dropped",
    "rollout",
]
Severity = Literal["low", "medium", "high", "critical"]
State = Literal["pending", "firing", "inhibited", "silenced", "acknowledged", "not_enough_data", "resolved"]
Condition = Literal["pending", "firing", "resolved"]
Verdict = Literal["ok", "alert", "unknown"]
Status = Literal["firing", "resolved"]
"""What a receiver is told of an alert."""

TYPES: tuple[AlertType, ...] = get_args(AlertType)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
STATES: tuple[State, ...] = get_args(State)
LABELS = ("alertname", "endpoint", "version", "monitor", "feature", "metric", "segment")
"""What tells one alert from another. The type is `alertname`, as Alertmanager has it."""
NO_TRAFFIC = "gets no traffic any more"
"""How it is said that an alert ended with its version: not that results are good again."""
_FINGERPRINT_CHARS, _ID_CHARS = 16, 12


@dataclass(frozen=True)
class Observation:
    """What one monitor found about one thing. `measured` is the number that a rule's threshold is compared with."""

    type: AlertType
    endpoint: str
    monitor: str
    verdict: Verdict
    version: str = ""
    feature: str = ""
    metric: str = ""
    segment: str = ""
    severity: Severity = "medium"
    message: str = ""
    measured: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """Those that have a value."""
        values = (self.type, self.endpoint, self.version, self.monitor, self.feature, self.metric, self.segment)
        return {name: value for name, value in zip(LABELS, values, strict=True) if value}

    @property
    def fingerprint(self) -> str:
        """The same for the same labels, in every process and release."""
        return _digest("\n".join(f"{name}={value}" for name, value in self.labels.items()))[:_FINGERPRINT_CHARS]


@dataclass(frozen=True)
class LastNotice:
    """The last notice of an alert that a receiver got."""

    status: Status
    at: float


@dataclass(frozen=True)
class Alert:
    """One episode of one fingerprint, from the first result that alerts to its end. Times in seconds since the epoch.

    `condition` is what the monitors say; `state` also what keeps it quiet. `ok_since` and `unknown_since` are of the
    newest results. `told` is by receiver, `acted` by action.
    """

    id: str
    fingerprint: str
    labels: Mapping[str, str]
    condition: Condition
    state: State
    severity: Severity
    message: str
    since: float
    evidence: Mapping[str, Any] = field(default_factory=dict)
    fired_at: float | None = None
    ok_since: float | None = None
    unknown_since: float | None = None
    ended_at: float | None = None
    ended_because: str = ""
    quiet_because: str = ""
    acknowledged_by: str = ""
    told: Mapping[str, LastNotice] = field(default_factory=dict)
    acted: Mapping[str, float] = field(default_factory=dict)

    @property
    def type(self) -> AlertType:
        """What sort of alert it is."""
        return self.labels["alertname"]  # type: ignore[return-value]  # made of an observation's type alone

    def label(self, name: str) -> str:
        """A label's value; "" where it has none of that name."""
        return self.labels.get(name, "")


def alert_id(fingerprint: str, since: float) -> str:
    """An episode's name: the same again when a step is made again after a crash."""
    return _digest(f"{fingerprint} {since!r}")[:_ID_CHARS]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Action:
    """What is done when an alert fires. `url` is a webhook's."""

    kind: Literal["rollback", "hold", "webhook"]
    url: str = ""

    @property
    def key(self) -> str:
        """What tells it from the other actions of an endpoint."""
        return f"{self.kind}={self.url}" if self.url else self.kind


@dataclass(frozen=True)
class Rule:
    """How results of one type become alerts. Alertmanager's and Prometheus' words, in seconds.

    An alert fires once results have alerted for `for_s`, and ends once they have been good for `keep_firing_for_s`.
    `threshold` raises the bar: an alert whose measure is below it counts as good.
    """

    enabled: bool = True
    for_s: float = 0.0
    keep_firing_for_s: float = 900.0
    repeat_interval_s: float = 86_400.0
    group_by: tuple[str, ...] = ("alertname", "endpoint")
    threshold: float | None = None
    actions: tuple[Action, ...] = ()
    cooldown_s: float = 3600.0
    end_automation: bool = False


@dataclass(frozen=True)
class Silence:
    """Alerts that match all of `matchers` (label to value, `*` for any characters) tell nobody while it lasts."""

    id: str
    matchers: Mapping[str, str]
    starts_at: float
    ends_at: float


@dataclass(frozen=True)
class Receiver:
    """A notifier, and which alerts it wants."""

    name: str
    endpoint: str = ""
    severity_min: Severity = "low"
    resolved: bool = True


@dataclass(frozen=True)
class KnownToBaseline:
    """What a version's newest baseline has: its columns and segments, and whether its rows have labels."""

    features: frozenset[str]
    segments: frozenset[str] = frozenset()
    labels: bool = True


@dataclass(frozen=True)
class AlertFacts:
    """What a step needs beside the results, all of one endpoint.

    `served` are the versions that get or shall get traffic; None where that is not known. `baselines` are by version;
    of one without a baseline nothing is said. `acted_at` says when each action was last begun. Of an endpoint that is
    `gone`, or not `monitored` any more, every alert ends.
    """

    rules: Mapping[AlertType, Rule] = field(default_factory=dict)
    silences: Sequence[Silence] = ()
    receivers: Sequence[Receiver] = ()
    known: Sequence[Alert] = ()
    served: frozenset[str] | None = None
    baselines: Mapping[str, KnownToBaseline] = field(default_factory=dict)
    acted_at: Mapping[str, float] = field(default_factory=dict)
    gone: bool = False
    monitored: bool = True

    def rule(self, type_: AlertType) -> Rule:
        """The endpoint's own, else the one by default."""
        return self.rules.get(type_, Rule())


@dataclass(frozen=True)
class Notice:
    """One message for one receiver: what is new of a group's alerts. `status` is `firing` while any of them is."""

    receiver: str
    group: Mapping[str, str]
    status: Status
    alerts: tuple[tuple[Alert, Status], ...]


@dataclass(frozen=True)
class Deed:
    """An action that is due, and the alerts it is for; all of one type, and for a rollback of one version."""

    action: Action
    type: AlertType
    version: str
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class Outcome:
    """The alerts as they are now, those that ended in this step too; what to send, and what to do."""

    alerts: tuple[Alert, ...] = ()
    notices: tuple[Notice, ...] = ()
    deeds: tuple[Deed, ...] = ()
