"""The REST shapes of alerts: what fires, silences, rules, notifiers, deliveries. Times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tidegate.wire.exact import STRICT, Flag, Number

AlertState = Literal["pending", "firing", "inhibited", "silenced", "acknowledged", "not_enough_data", "resolved"]
AlertSeverity = Literal["low", "medium", "high", "critical"]
NotifierKind = Literal["webhook", "alertmanager", "slack", "smtp", "apprise"]
DeliveryState = Literal["pending", "sent", "dead", "refused"]


@dataclass(frozen=True)
class AlertView:
    """One episode of an alert, from the first result that alerted (`since`) to its end.

    `fingerprint` is that of its labels, the same for every episode. `quiet_because` says what keeps it quiet,
    `ended_because` why it ended. `evidence` is the result that the message is about; `actions` what was done.
    """

    id: str
    type: str
    endpoint: str
    monitor: str
    severity: AlertSeverity
    state: AlertState
    message: str
    since: float
    fingerprint: str
    version: str | None = None
    feature: str | None = None
    metric: str | None = None
    segment: str | None = None
    fired_at: float | None = None
    ended_at: float | None = None
    ended_because: str = ""
    quiet_because: str = ""
    acknowledged_by: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class AlertPage:
    """Alerts, newest first. `next` is the cursor of the next page, null after the last."""

    alerts: list[AlertView]
    next: str | None = None


@dataclass(frozen=True)
class AcknowledgeRequest:
    """Somebody has seen the alert: it is not repeated. `off` takes that back."""

    __pydantic_config__ = STRICT

    off: Flag = False


@dataclass(frozen=True)
class SilenceRequest:
    """Tell nobody of alerts that match all of `matchers`, for `duration_s` from now.

    A matcher is a label (`alertname`, `endpoint`, `version`, `monitor`, `feature`, `metric`, `segment`, `severity`,
    `id`) and its value, in which `*` stands for any characters.
    """

    __pydantic_config__ = STRICT

    matchers: dict[str, str]
    duration_s: Number
    comment: str = ""


@dataclass(frozen=True)
class SilenceView:
    """A silence; `active` while it lasts."""

    id: str
    matchers: dict[str, str]
    starts_at: float
    ends_at: float
    comment: str
    created_by: str
    active: bool


@dataclass(frozen=True)
class SilenceList:
    """Silences, the last to end first."""

    silences: list[SilenceView]


@dataclass(frozen=True)
class AlertRule:
    """How results of one type become alerts. What is None in a request stays as it is.

    An alert fires once results have alerted for `for_s` (0), and ends once they have been good for `keep_firing_for_s`
    (900). While it fires a notifier hears of it again each `repeat_interval_s` (86,400). Alerts with the same labels
    `group_by` are one message. Below `threshold` (of `measure`) nothing alerts; -1 in a request removes it. `actions`
    are `rollback`, `hold` (of the experiment or canary that runs) and `webhook=URL`, taken once an alert and at most
    once in `cooldown_s` (3,600); a rollback ends an automation of the traffic only with `end_automation`.
    """

    __pydantic_config__ = STRICT

    type: str
    enabled: Flag | None = None
    for_s: Number | None = None
    keep_firing_for_s: Number | None = None
    repeat_interval_s: Number | None = None
    group_by: list[str] | None = None
    threshold: Number | None = None
    actions: list[str] | None = None
    cooldown_s: Number | None = None
    end_automation: Flag | None = None


@dataclass(frozen=True)
class AlertRulesRequest:
    """Changes of an endpoint's rules. `reset` begins with the rules by default."""

    __pydantic_config__ = STRICT

    rules: list[AlertRule] = field(default_factory=list)
    reset: Flag = False


@dataclass(frozen=True)
class AlertRulesView:
    """An endpoint's rules, one for each type of alert; `changed` are the types whose rule is not as by default."""

    endpoint: str
    rules: list[AlertRule]
    changed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class AlertRulesList:
    """The rules of each endpoint where somebody changed some."""

    endpoints: list[AlertRulesView]


@dataclass(frozen=True)
class NotifierRequest:
    """Where to send notices: `url` of a webhook, an Alertmanager, Slack's webhook, or `smtp://user:password@host:port`
    with `sender` and `recipients` (with commas between them), or a service of Apprise, such as `discord://ID/TOKEN`.

    `secret` signs a webhook's messages; one is made where none is given. Only alerts of `endpoint`, and of
    `severity_min` or more, are sent; that they ended only with `resolved`.
    """

    __pydantic_config__ = STRICT

    kind: NotifierKind
    url: str
    secret: str | None = None
    sender: str | None = None
    recipients: str | None = None
    endpoint: str | None = None
    severity_min: AlertSeverity = "low"
    resolved: Flag = True


@dataclass(frozen=True)
class NotifierView:
    """A notifier. `address` is its URL without what is secret; `secret` is shown when it is made, and never again."""

    name: str
    kind: NotifierKind
    address: str
    endpoint: str | None
    severity_min: AlertSeverity
    resolved: bool
    created_at: float
    secret: str | None = None
    pending: int = 0
    dead: int = 0


@dataclass(frozen=True)
class NotifierList:
    """Notifiers, by name."""

    notifiers: list[NotifierView]


@dataclass(frozen=True)
class DeliveryView:
    """A message, or an action, and what became of it. `outcome` is the last failure, or what an action did."""

    id: int
    kind: str
    target: str
    endpoint: str
    state: DeliveryState
    attempts: int
    created_at: float
    next_at: float | None
    done_at: float | None
    outcome: str
    alerts: list[str]


@dataclass(frozen=True)
class DeliveryPage:
    """Deliveries, newest first. Where there are more, `next` is the `before` of the next page."""

    deliveries: list[DeliveryView]
    next: int | None = None


@dataclass(frozen=True)
class ReplayRequest:
    """Which alerts the endpoint's rules would have sent over the last `since_s`; with `rules` on top of them.

    `source`: of the rows that were captured or imported, evaluated as they would have been (`captured`), or of what
    monitors found then (`results`), which is much faster.
    """

    __pydantic_config__ = STRICT

    endpoint: str
    since_s: Number = 2_592_000.0
    rules: list[AlertRule] = field(default_factory=list)
    source: Literal["captured", "results"] = "captured"


@dataclass(frozen=True)
class ReplayedAlert:
    """What would have been sent at `at`."""

    at: float
    status: Literal["firing", "resolved"]
    type: str
    monitor: str
    severity: AlertSeverity
    message: str
    version: str | None = None
    feature: str | None = None
    metric: str | None = None
    segment: str | None = None


@dataclass(frozen=True)
class ReplayProgress:
    """How far a replay is: evaluated up to `at`, `evaluations` of `evaluations_total`, with so many `messages` so far.

    A message is one that would have been sent, of an alert that fires or has ended.
    """

    endpoint: str
    since: float
    until: float
    at: float
    evaluations: int
    evaluations_total: int
    messages: int


@dataclass(frozen=True)
class ReplayUnderWay:
    """The replay of captured rows that the control plane works on; null where there is none."""

    replay: ReplayProgress | None


@dataclass(frozen=True)
class Replay:
    """What would have been sent, oldest first, of so many evaluations and results.

    `until` is earlier than now where there was no time for more.
    """

    endpoint: str
    source: str
    since: float
    until: float
    evaluations: int
    results: int
    alerts: list[ReplayedAlert]
