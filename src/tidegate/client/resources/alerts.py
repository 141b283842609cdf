"""`client.alerts`: what fires, who is told, what is done, and what people say to that."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, Unpack

import msgspec
import orjson

from tidegate.client.registration.files import OnProgress
from tidegate.client.rest.api import Api, decode
from tidegate.client.rest.paging import Page, every, page_of
from tidegate.client.rest.paths import API, part
from tidegate.client.waiting import meanwhile, poll
from tidegate.wire.monitoring.alerts import (
    AcknowledgeRequest,
    AlertRule,
    AlertRulesList,
    AlertRulesRequest,
    AlertRulesView,
    AlertView,
    DeliveryPage,
    DeliveryView,
    NotifierList,
    NotifierRequest,
    NotifierView,
    Replay,
    ReplayProgress,
    ReplayRequest,
    ReplayUnderWay,
    SilenceList,
    SilenceRequest,
    SilenceView,
)

TEST_TIMEOUT_S, REPLAY_TIMEOUT_S = 30.0, 300.0
REPLAY_LOOK_S = 2.0
"""How often it is asked how far a replay is."""


class ListedAlerts(TypedDict):
    """Alerts."""

    alerts: builtins.list[AlertView]
    next: NotRequired[str | None]


class NotifierOptions(TypedDict, total=False):
    """Which alerts a notifier sends, and how; see `NotifierRequest`."""

    secret: str | None
    sender: str | None
    recipients: str | None
    endpoint: str | None
    severity_min: Any
    resolved: bool


@dataclass(frozen=True)
class AlertsClient:
    """`client.alerts`."""

    api: Api

    def list(self, endpoint: str | None = None, state: str | None = None) -> builtins.list[AlertView]:
        """All alerts that are kept, newest first: of one endpoint, in one state (`firing`, `resolved`, …), if given."""
        return every(lambda limit, cursor: self.page(endpoint, state, limit, cursor))

    def page(
        self, endpoint: str | None = None, state: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[AlertView]:
        """The same, page by page; `cursor` is `next` of the page before."""
        params = {"endpoint": endpoint, "state": state, "limit": limit, "cursor": cursor}
        return page_of(self.api, f"{API}/alerts", ListedAlerts, "alerts", params)

    def get(self, alert_id: str) -> AlertView:
        """One alert. Raises `UnknownAlert`."""
        return self.api.get(f"{API}/alerts/{part(alert_id)}", AlertView)

    def acknowledge(self, alert_id: str, *, off: bool = False) -> AlertView:
        """Say that it was seen: it is not repeated, and no action is taken. `off` takes that back."""
        return self.api.send("POST", f"{API}/alerts/{part(alert_id)}/ack", AcknowledgeRequest(off), AlertView)

    def silences(self) -> builtins.list[SilenceView]:
        """Silences, the last to end first."""
        return self.api.get(f"{API}/silences", SilenceList).silences

    def silence(self, matchers: Mapping[str, str], duration_s: float, comment: str = "") -> SilenceView:
        """Tell nobody of alerts that match: `silence({"endpoint": "churn", "feature": "age*"}, 7200)`."""
        request = SilenceRequest(dict(matchers), duration_s, comment)
        return self.api.send("POST", f"{API}/silences", request, SilenceView)

    def end_silence(self, silence_id: str) -> SilenceView:
        """End one. Raises `UnknownSilence`."""
        return self.api.send("DELETE", f"{API}/silences/{part(silence_id)}", {}, SilenceView)

    def rules(self, endpoint: str) -> AlertRulesView:
        """An endpoint's rules. Raises `UnknownEndpoint`."""
        return self.api.get(f"{API}/alert-rules/{part(endpoint)}", AlertRulesView)

    def all_rules(self) -> builtins.list[AlertRulesView]:
        """Of endpoints where somebody changed some."""
        return self.api.get(f"{API}/alert-rules", AlertRulesList).endpoints

    def set_rules(self, endpoint: str, rules: Iterable[AlertRule] = (), *, reset: bool = False) -> AlertRulesView:
        """Change rules: `set_rules("churn", [AlertRule("performance", actions=["rollback"])])`.

        `reset` begins with the rules by default.
        """
        request = AlertRulesRequest([*rules], reset)
        return self.api.send("PUT", f"{API}/alert-rules/{part(endpoint)}", request, AlertRulesView)

    def test_rules(
        self,
        endpoint: str,
        since_s: float = 2_592_000.0,
        rules: Iterable[AlertRule] = (),
        source: Literal["captured", "results"] = "captured",
        on_progress: OnProgress | None = None,
    ) -> Replay:
        """What the endpoint's rules, with `rules` on top, would have sent over the last `since_s`; changes nothing.

        `on_progress` is called from another thread, with a sentence and the fraction that is done.
        """
        body = orjson.dumps(msgspec.to_builtins(ReplayRequest(endpoint, since_s, [*rules], source)))

        def look() -> None:
            under_way = self.replay_under_way()
            if on_progress is not None and under_way is not None and under_way.endpoint == endpoint:
                on_progress(*_how_far(under_way))

        with meanwhile(look if on_progress else None, REPLAY_LOOK_S):
            answer = self.api.raw("POST", f"{API}/alert-replays", body, timeout_s=REPLAY_TIMEOUT_S)
        return decode(answer.data, Replay, self.api.transport.who)

    def replay_under_way(self) -> ReplayProgress | None:
        """How far the replay of captured rows is that the control plane works on; None where there is none."""
        return self.api.get(f"{API}/alert-replays", ReplayUnderWay).replay

    def notifiers(self) -> builtins.list[NotifierView]:
        """Notifiers, by name."""
        return self.api.get(f"{API}/notifiers", NotifierList).notifiers

    def put_notifier(self, name: str, kind: Any, url: str, **options: Unpack[NotifierOptions]) -> NotifierView:
        """Make a notifier (`webhook`, `slack`, `alertmanager`, `smtp`, `apprise`), or change it whole.

        The answer has a webhook's `secret` where one was made; it is never shown again.
        """
        request = NotifierRequest(kind, url, **options)
        return self.api.send("PUT", f"{API}/notifiers/{part(name)}", request, NotifierView)

    def delete_notifier(self, name: str) -> None:
        """Remove one. Raises `UnknownNotifier`."""
        self.api.raw("DELETE", f"{API}/notifiers/{part(name)}", b"")

    def test_notifier(self, name: str, timeout_s: float = TEST_TIMEOUT_S) -> DeliveryView:
        """Send a message that says it is a test, and wait for the first attempt; `outcome` says what went wrong."""
        sent = self.api.send("POST", f"{API}/notifiers/{part(name)}/test", {}, DeliveryView)
        found, _ = poll(lambda: self.delivery(sent.id), lambda one: one.attempts > 0, timeout_s)
        return found

    def deliveries(
        self, state: str | None = None, notifier: str | None = None, limit: int = 100, before: int | None = None
    ) -> builtins.list[DeliveryView]:
        """Messages and actions, newest first: in one state (`pending`, `sent`, `dead`, `refused`), if given."""
        params = {"state": state, "notifier": notifier, "limit": limit, "before": before}
        return self.api.get(f"{API}/deliveries", DeliveryPage, params).deliveries

    def delivery(self, number: int) -> DeliveryView:
        """One of them. Raises `UnknownDelivery`."""
        return self.api.get(f"{API}/deliveries/{number}", DeliveryView)

    def resend(self, number: int) -> DeliveryView:
        """Send again what was given up. Raises `UnknownDelivery`, `Conflict`."""
        return self.api.send("POST", f"{API}/deliveries/{number}/resend", {}, DeliveryView)


def _how_far(seen: ReplayProgress) -> tuple[str, float]:
    done, of = (round((at - seen.since) / 3_600.0, 1) for at in (seen.at, seen.until))
    told = f"; {seen.messages} would have been sent" if seen.messages else ""
    return f"evaluated {done:g} of {of:g} hours{told}", (seen.at - seen.since) / (seen.until - seen.since)
