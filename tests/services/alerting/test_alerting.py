"""What results become in the store, what is sent of it, what people say to that, and what is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.control import ME, NewDatabase, add_version, container_at
from support.receivers import Receiver, hanging_server, http_receiver
from support.wait import until
from tidegate.adapters.notifiers.reach import LOOPBACK, Reach
from tidegate.adapters.notifiers.sending import Notifying
from tidegate.api.metrics import render
from tidegate.core.endpoints.effective import AutomatedWeights, Share, Split
from tidegate.errors import Conflict, InvalidArgument, UnknownAlert, UnknownEndpoint, UnknownNotifier
from tidegate.loops.notify import Notify, NotifyDependencies
from tidegate.services.alerting.acting import Holds, Rollbacks
from tidegate.services.alerting.deliveries import DEAD_AFTER_S
from tidegate.services.experiments.holding import hold
from tidegate.store.alerting import outbox as alert_outbox
from tidegate.store.endpoints.automation import effective_of, seen_of, set_weights
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.endpoints.history import Entry
from tidegate.store.tables import BaselineRow
from tidegate.wire.experiments.experiments import ExperimentRequest
from tidegate.wire.monitoring import alerts as wire
from tidegate.wire.monitoring.monitoring import BaselineColumn, BaselineView, MonitorRequest, MonitorResult
from tidegate.wire.rest import DeployRequest, TrafficRequest
from tidegate.wiring import Container


@dataclass
class Time:
    """A clock that a test sets."""

    now: float = 1_764_000_000.0

    def __call__(self) -> float:
        return self.now


class Bed:
    """The services of alerts on a store, at a time that tests set, and the loop that sends."""

    def __init__(self, container: Container, deadline_s: float = 5.0) -> None:
        alerts, self.container, self.time = container.alerts, container, Time()
        self.state = replace(alerts.state, clock=self.time)
        self.silences = replace(alerts.silences, clock=self.time)
        self.rules, self.notifiers = alerts.rules, replace(alerts.notifiers, clock=self.time)
        self.deliveries = replace(alerts.deliveries, clock=self.time)
        endpoints = replace(container.endpoints, store=container.fenced, clock=self.time)
        self.loop = Notify(
            NotifyDependencies(
                alerting=replace(self.state, store=container.fenced),
                deliveries=replace(self.deliveries, store=container.fenced),
                rollbacks=Rollbacks(endpoints),
                holds=Holds(container.fenced, self.time, (hold,)),
                send=Notifying(Reach(LOOPBACK, deadline_s), self.time).send,
                wake=threading.Event(),
                ticks=self.time,
                jitter=lambda: 0.0,
            )
        )

    def notifier(self, name: str, url: str, **more: Any) -> wire.NotifierView:
        return self.notifiers.put(name, wire.NotifierRequest("webhook", url, **more), ME)

    def found(self, state: Any = "alert", after_s: float = 60.0, **more: Any) -> None:
        """A monitor looked, some time after what was before."""
        self.time.now += after_s
        values = {"monitor": "feature_drift", "endpoint": "churn", "version": "2", "feature": "age"} | more
        times = {"since": self.time.now - 3600, "until": self.time.now, "evaluated_at": self.time.now}
        result = MonitorResult(**{"verdict": "age moved", "severity": "high", **times, **values, "state": state})
        with self.container.fenced.transaction() as tx:
            self.state.observe(tx, "churn", [result], self.time.now)

    def send(self) -> None:
        """Until nothing is due."""
        until(self._idle, 20.0)

    def _idle(self) -> bool:
        self.loop.step()
        return not self.loop._busy and not self.deliveries.due(())

    def one(self) -> wire.AlertView:
        (found,), _ = self.state.page(10)
        return found


@pytest.fixture
def container(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    for number in ("1", "2", "3"):
        add_version(container, "churn", number)
    container.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    container.endpoints.set_traffic("churn", TrafficRequest({"2": 100}), ME)
    yield container
    container.close()


def has_baseline(container: Container, *columns: str) -> None:
    """A baseline of version 2 with these columns, as its row has it."""
    view = BaselineView(
        "churn", "2", "file", 500, 0, 1.0, [BaselineColumn(name, "input", "numeric", 20, 0) for name in columns]
    )
    with container.store.transaction() as tx:
        tx.merge(BaselineRow(model="churn", version="2", file="x", view=msgspec.to_builtins(view), made_at=1.0))


@pytest.fixture
def bed(container: Container) -> Iterator[Bed]:
    bed = Bed(container)
    yield bed
    bed.loop.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as found:
        yield found


def _told(receiver: Receiver) -> list[tuple[str, str]]:
    return [(got.json["status"], got.json["groupLabels"].get("alertname", "")) for got in receiver.got]


def test_an_alert_on_a_column_that_a_new_baseline_lacks_resolves(bed: Bed) -> None:
    has_baseline(bed.container, "age", "income")
    bed.found()
    bed.state.tick()
    assert bed.one().state == "firing"
    has_baseline(bed.container, "income")
    bed.state.tick()
    assert (bed.one().state, bed.one().ended_because) == (
        "resolved",
        "the baseline of version 2 has no column age any more",
    )


def test_a_result_reaches_a_webhook_once_and_its_end_too(bed: Bed, receiver: Receiver) -> None:
    made = bed.notifier("team", receiver.url)
    bed.found(effect=0.31, effect_lower=0.2)
    bed.send()
    bed.found()
    bed.send()
    assert _told(receiver) == [("firing", "data_drift")]
    assert receiver.got[0].headers["webhook-signature"].startswith("v1,")
    alert = bed.one()
    assert (alert.type, alert.state, alert.version, alert.feature) == ("data_drift", "firing", "2", "age")
    bed.found("ok")
    bed.found("ok", after_s=900)
    bed.send()
    assert _told(receiver) == [("firing", "data_drift"), ("resolved", "data_drift")]
    assert bed.one().ended_because == "results are good again"
    assert made.secret is not None
    assert made.secret not in str(bed.notifiers.all()), "shown once"


def test_without_a_notifier_nothing_is_lost_and_a_new_one_hears_what_fires(bed: Bed, receiver: Receiver) -> None:
    bed.found()
    bed.notifier("late", receiver.url)
    bed.loop.step()
    bed.time.now += 60
    bed.send()
    assert _told(receiver) == [("firing", "data_drift")]


def test_a_transaction_that_fails_leaves_no_alert_and_no_message(bed: Bed, receiver: Receiver) -> None:
    bed.notifier("team", receiver.url)

    def observed_and_failed() -> None:
        with bed.container.fenced.transaction() as tx:
            result = MonitorResult(
                monitor="errors", endpoint="churn", since=0, until=1, verdict="", state="alert", evaluated_at=1
            )
            bed.state.observe(tx, "churn", [result], bed.time.now)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        observed_and_failed()
    assert bed.state.page(10) == ([], None)
    assert bed.deliveries.due(()) == []


def test_a_receiver_that_fails_is_asked_again_in_order_until_it_answers(bed: Bed, receiver: Receiver) -> None:
    receiver.status = 500
    bed.notifier("team", receiver.url)
    bed.found()
    bed.send()
    bed.found("ok")
    bed.found("ok", after_s=900)
    for _ in range(100):  # a day of failures
        bed.time.now += 900
        bed.send()
    before = len(receiver.got)
    assert before > 50
    assert {status for status, _ in _told(receiver)} == {"firing"}, "what ended waits for its beginning"
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    receiver.status = 200
    bed.time.now += 900
    bed.send()
    assert [status for status, _ in _told(receiver)[before:]] == ["firing", "resolved"]
    assert bed.notifiers.all()[0].dead == 0


def test_a_message_behind_one_that_failed_does_not_have_the_loop_look_without_a_pause(
    bed: Bed, receiver: Receiver
) -> None:
    receiver.status = 500
    bed.notifier("team", receiver.url)
    bed.found()
    bed.found(monitor="latency", feature=None)
    bed.send()
    assert len(receiver.got) == 1
    bed.time.now += 1.0
    assert bed.loop.step() > 0.5


def test_a_message_that_was_written_while_its_notifier_was_deleted_waits_for_nobody(bed: Bed) -> None:
    with bed.container.fenced.transaction() as tx:
        row = alert_outbox.add(tx, alert_outbox.NewDelivery("notice", "gone", "churn", {}), bed.time.now)
        number = row.id
    assert bed.loop.step() > 0.5
    assert (bed.deliveries.get(number).state, bed.deliveries.get(number).outcome) == (
        "dead",
        "its notifier was deleted",
    )


def test_what_is_refused_or_failed_for_days_is_a_dead_letter_that_can_be_sent_again(
    bed: Bed, receiver: Receiver
) -> None:
    receiver.status, receiver.said = 404, b"no such hook"
    bed.notifier("team", receiver.url)
    bed.found()
    bed.send()
    (dead,) = bed.deliveries.page(10, state="dead").deliveries
    assert dead.outcome == "answered 404: no such hook"
    assert bed.notifiers.all()[0].dead == 1
    receiver.status = 503
    bed.deliveries.resend(dead.id, ME)
    bed.send()
    assert bed.deliveries.get(dead.id).state == "pending"
    bed.time.now += DEAD_AFTER_S
    bed.send()
    assert bed.deliveries.get(dead.id).state == "dead"
    receiver.status = 200
    bed.deliveries.resend(dead.id, ME)
    bed.send()
    assert bed.deliveries.get(dead.id).state == "sent"
    with pytest.raises(Conflict, match="it is sent"):
        bed.deliveries.resend(dead.id, ME)


def test_a_receiver_that_hangs_keeps_no_other_waiting(container: Container, receiver: Receiver) -> None:
    bed = Bed(container, deadline_s=60.0)
    with hanging_server() as address:
        bed.notifier("hangs", f"http://{address}/")
        bed.notifier("works", receiver.url)
        bed.found()
        until(lambda: (bed.loop.step(), receiver.got)[1], 20.0)
        bed.found(feature="income")
        until(lambda: (bed.loop.step(), len(receiver.got) == 2)[1], 20.0)
        assert bed.deliveries.page(10, notifier="hangs", state="sent").deliveries == []
    bed.loop.close()


def test_a_crash_between_sending_and_marking_sends_again_under_the_same_id(
    bed: Bed, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.notifier("team", receiver.url)
    bed.found()
    with monkeypatch.context() as patched:
        patched.setattr(type(bed.deliveries), "done", lambda *_given: None)
        until(lambda: (bed.loop.step(), receiver.got)[1], 20.0)
        until(lambda: all(future.done() for future in bed.loop._busy.values()), 20.0)
    later = Bed(bed.container)
    later.time.now = bed.time.now
    later.send()
    later.loop.close()
    assert len(receiver.got) >= 2
    assert len({(got.headers["webhook-id"], got.body) for got in receiver.got}) == 1


def test_an_acknowledged_alert_and_a_silenced_one_are_quiet(bed: Bed, receiver: Receiver) -> None:
    bed.notifier("team", receiver.url)
    bed.found()
    bed.send()
    seen = bed.state.acknowledge(bed.one().id, wire.AcknowledgeRequest(), ME)
    assert (seen.state, seen.acknowledged_by) == ("acknowledged", "me")
    bed.found(after_s=90_000)
    bed.send()
    assert len(receiver.got) == 1
    assert bed.state.acknowledge(seen.id, wire.AcknowledgeRequest(off=True), ME).state == "firing"
    bed.send()
    assert len(receiver.got) == 2, "the repeat that was due"
    silence = bed.silences.add(wire.SilenceRequest({"feature": "a*"}, 200_000, "known"), ME)
    bed.found(after_s=90_000)
    assert bed.one().state == "silenced"
    bed.silences.end(silence.id, ME)
    bed.time.now += 60
    bed.send()
    assert len(receiver.got) == 3
    with pytest.raises(UnknownAlert):
        bed.state.get("none")
    for wrong in ({}, {"colour": "red"}):
        with pytest.raises(InvalidArgument):
            bed.silences.add(wire.SilenceRequest(wrong, 60), ME)


def test_alerts_end_with_their_version_and_their_endpoint(bed: Bed) -> None:
    bed.found()
    bed.found(monitor="traffic", version=None, feature=None)
    bed.container.endpoints.set_traffic("churn", TrafficRequest({"3": 100}), ME)
    with bed.container.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        row.routed = {"3": 100.0}
    bed.time.now += 60
    bed.loop.step()
    ended = {one.type: one.ended_because for one in bed.state.page(10)[0]}
    assert ended == {"data_drift": "version 2 gets no traffic any more", "traffic": ""}
    bed.container.endpoints.delete("churn", ME)
    bed.time.now += 60
    bed.loop.step()
    assert {one.state for one in bed.state.page(10)[0]} == {"resolved"}


def test_alerts_end_where_nobody_looks_any_more(bed: Bed, receiver: Receiver) -> None:
    bed.notifier("team", receiver.url)
    bed.found()
    bed.send()
    bed.container.monitoring.configure("churn", MonitorRequest(on=False), ME)
    bed.time.now += 60
    bed.send()
    assert [status for status, _ in _told(receiver)] == ["firing", "resolved"]
    assert bed.one().ended_because == "the endpoint is not monitored any more"


def test_prometheus_is_told_of_alerts_and_of_what_waits(bed: Bed, receiver: Receiver) -> None:
    receiver.status = 404
    bed.notifier("team", receiver.url)
    bed.found()
    bed.send()
    bed.found(feature="income")
    scraped = render(bed.container.measures.get()).decode()
    assert 'tidegate_alerts{endpoint="churn",severity="high",state="firing"} 2.0' in scraped
    assert 'tidegate_alert_deliveries{state="dead",target="team"} 1.0' in scraped
    assert 'tidegate_alert_deliveries{state="pending",target="team"} 1.0' in scraped
    assert "tidegate_alert_oldest_pending_seconds" in scraped


# -- actions ----------------------------------------------------------------------------------------------------------


def _rule(bed: Bed, **more: Any) -> None:
    rule = wire.AlertRule("performance", **{"actions": ["rollback"], **more})
    bed.rules.change("churn", wire.AlertRulesRequest([rule]), ME)


def _fails(bed: Bed) -> None:
    bed.found(monitor="performance", feature=None, metric="accuracy", verdict="accuracy fell by 0.2", value=0.7)


def _traffic(bed: Bed) -> dict[str, float]:
    with bed.container.store.reading() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        return row.traffic


def test_a_rollback_is_made_once_by_the_service_that_people_use_and_history_says_why(bed: Bed) -> None:
    _rule(bed)
    _fails(bed)
    bed.send()
    assert _traffic(bed) == {"1": 100.0}
    newest = bed.container.endpoints.history("churn")[0]
    assert (newest.action, newest.actor) == ("rollback", "monitor")
    assert "performance_drift (high): accuracy fell by 0.2" in newest.note
    entry = bed.container.audit.page(1).entries[0]
    assert (entry.action, entry.who.kind, entry.who.name) == ("rollback", "platform", "monitor")
    assert bed.one().actions == ["rollback: rolled back to revision 1"]
    bed.container.endpoints.set_traffic("churn", TrafficRequest({"2": 100}), ME)
    _fails(bed)
    bed.send()
    assert _traffic(bed) == {"2": 100.0}, "once an alert"


def test_a_rollback_goes_to_traffic_without_the_version_and_not_over_somebodys_change(bed: Bed) -> None:
    _rule(bed)
    bed.container.endpoints.set_traffic("churn", TrafficRequest({"1": 50, "2": 50}), ME)
    _fails(bed)
    bed.container.endpoints.set_traffic("churn", TrafficRequest({"2": 90, "3": 10}), ME)
    bed.send()
    assert _traffic(bed) == {"2": 90.0, "3": 10.0}
    assert "somebody changed the endpoint" in bed.one().actions[0]
    _rule(bed, cooldown_s=0.0)
    bed.found("ok", monitor="performance", feature=None, metric="accuracy")
    bed.found("ok", monitor="performance", feature=None, metric="accuracy", after_s=900)
    _fails(bed)
    bed.send()
    assert _traffic(bed) == {"1": 100.0}, "and not 50/50, which has the version too"


def test_a_second_rollback_does_not_go_back_to_what_the_first_one_left(bed: Bed) -> None:
    bed.rules.change("churn", wire.AlertRulesRequest([wire.AlertRule("errors", actions=["rollback"])]), ME)
    errors: dict[str, Any] = {"monitor": "errors", "version": None, "feature": None}
    bed.found(**errors)
    bed.send()
    assert _traffic(bed) == {"1": 100.0}
    bed.found("ok", **errors)
    bed.found("ok", **errors, after_s=900)
    bed.found(**errors, after_s=3600)
    bed.send()
    assert _traffic(bed) == {"1": 100.0}, "version 2 failed before"
    newest, _ = bed.state.page(1)
    assert "nothing to go back to" in newest[0].actions[0]


def test_nothing_is_done_while_somebody_sees_to_it_or_where_there_is_nothing_to_go_back_to(bed: Bed) -> None:
    _rule(bed)
    bed.silences.add(wire.SilenceRequest({"endpoint": "churn"}, 3600), ME)
    _fails(bed)
    bed.send()
    assert (_traffic(bed), bed.one().actions) == ({"2": 100.0}, [])


def test_a_rollback_does_not_go_to_a_version_with_an_alert_of_its_own(bed: Bed) -> None:
    bed.found(monitor="performance", feature=None, metric="accuracy", version="1")
    bed.time.now += 60
    bed.loop.step()
    assert bed.one().ended_because == "version 1 gets no traffic any more"
    _rule(bed)
    _fails(bed)
    bed.send()
    assert _traffic(bed) == {"2": 100.0}
    newest = bed.state.page(10)[0][0]
    assert "a version with an alert of its own (performance_drift of version 1)" in newest.actions[0]


def test_an_automation_is_ended_only_where_the_rule_says_so(bed: Bed) -> None:
    _rule(bed)
    with bed.container.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        split = Split("salt", (Share("control", "2", 50.0), Share("treatment", "3", 50.0)))
        weights = AutomatedWeights("canary", "up", row.revision, split, {"2": 100.0})
        assert set_weights(tx, seen_of(row), weights, Entry("canary", 1.0, "canary"))
    bed.found(monitor="performance", feature=None, metric="accuracy", version="3")
    bed.send()
    assert "canary 'up' sets the traffic, and this rule may not end it" in bed.one().actions[0]
    _rule(bed, end_automation=True, cooldown_s=0.0)
    for after_s in (60, 900):
        bed.found("ok", monitor="performance", feature=None, metric="accuracy", version="3", after_s=after_s)
    bed.found(monitor="performance", feature=None, metric="accuracy", version="3")
    bed.send()
    with bed.container.store.reading() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        assert (row.traffic, effective_of(row).weights) == ({"2": 100.0}, None)


def test_an_experiment_that_runs_is_held_by_an_alert_until_somebody_resumes_it(bed: Bed) -> None:
    bed.rules.change("churn", wire.AlertRulesRequest([wire.AlertRule("drift", actions=["hold"], cooldown_s=0.0)]), ME)
    bed.found()
    bed.send()
    assert "no experiment and no canary runs on endpoint 'churn'" in bed.one().actions[0]
    for after_s in (60, 900):
        bed.found("ok", after_s=after_s)
    experiments = bed.container.experiments
    request = ExperimentRequest("2", ["3"], ["converted:increase"], name="blue", start=True)
    experiments.create("churn", request, ME)
    bed.found()
    bed.send()
    view = experiments.get("churn", "blue")
    assert "held: alert " in view.next
    assert "goes on when it is resumed" in view.next
    alerts, _ = bed.state.page(10)
    assert (view.active, alerts[0].actions) == (True, ["hold: held experiment blue"])
    newest = bed.container.endpoints.history("churn")[0]
    assert (newest.action, newest.actor, newest.note.startswith("held: alert ")) == (
        "experiment",
        "experiment blue",
        True,
    )
    assert "held" not in experiments.resume("churn", "blue", ME).next


def test_a_webhook_is_called_once_for_all_alerts_of_a_type_within_its_cooldown(bed: Bed, receiver: Receiver) -> None:
    rule = wire.AlertRule("drift", actions=[f"webhook={receiver.url}/retrain?key=secret"])
    view = bed.rules.change("churn", wire.AlertRulesRequest([rule]), ME)
    assert "secret" not in str(view)
    assert "secret" not in str(bed.container.audit.page(10))
    bed.found()
    bed.found(feature="income")
    bed.send()
    assert [got.path for got in receiver.got] == ["/retrain?key=secret"]
    bed.found(feature="income", after_s=3600)
    bed.send()
    assert [got.json["alerts"][0]["labels"]["feature"] for got in receiver.got] == ["age", "income"]


def test_no_log_has_the_url_of_an_action(
    bed: Bed, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rule = wire.AlertRule("drift", actions=[f"webhook={receiver.url}/retrain?key=hush"])
    bed.rules.change("churn", wire.AlertRulesRequest([rule]), ME)
    monkeypatch.setattr(alert_outbox, "get", lambda *_: 1 / 0)
    bed.found()
    bed.loop.step()
    until(lambda: all(future.done() for future in bed.loop._busy.values()), 20.0)
    bed.loop.step()
    assert "could not be marked" in caplog.text
    assert "hush" not in caplog.text
    assert "hush" not in render(bed.container.measures.get()).decode()


# -- rules and notifiers ----------------------------------------------------------------------------------------------


def test_rules_are_changed_field_by_field_and_reset(bed: Bed) -> None:
    assert bed.rules.get("churn").changed == []
    drift = wire.AlertRule("drift", for_s=600.0, threshold=0.1)
    view = bed.rules.change("churn", wire.AlertRulesRequest([drift, wire.AlertRule("all", cooldown_s=60.0)]), ME)
    found = {rule.type: rule for rule in view.rules}
    assert (found["data_drift"].for_s, found["data_drift"].cooldown_s, found["errors"].for_s) == (600.0, 60.0, 0.0)
    bed.rules.change("churn", wire.AlertRulesRequest([wire.AlertRule("drift", threshold=-1.0)]), ME)
    found = {rule.type: rule for rule in bed.rules.get("churn").rules}
    assert (found["data_drift"].threshold, found["data_drift"].for_s) == (None, 600.0)
    assert bed.rules.change("churn", wire.AlertRulesRequest(reset=True), ME).changed == []
    with pytest.raises(UnknownEndpoint):
        bed.rules.get("none")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (wire.AlertRule("weather"), "no type of alert"),
        (wire.AlertRule("drift", actions=["hold=blue"]), "no action: give rollback, hold or webhook=URL"),
        (wire.AlertRule("drift", actions=["reboot"]), "no action"),
        (wire.AlertRule("drift", actions=["webhook=ftp://a"]), "http:// or https://"),
        (wire.AlertRule("traffic", actions=["rollback"]), "does not cure traffic"),
        (wire.AlertRule("traffic", threshold=1.0), "no measure"),
        (wire.AlertRule("drift", threshold=float("nan")), "threshold must be"),
        (wire.AlertRule("drift", for_s=-1.0), "for_s must be"),
        (wire.AlertRule("drift", repeat_interval_s=1.0), "repeat_interval_s must be"),
        (wire.AlertRule("drift", group_by=["colour"]), "group_by takes"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(bed: Bed, rule: wire.AlertRule, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        bed.rules.change("churn", wire.AlertRulesRequest([rule]), ME)


def test_a_notifier_keeps_its_secret_when_it_is_changed_and_takes_what_waits_with_it(
    bed: Bed, receiver: Receiver
) -> None:
    first = bed.notifier("team", receiver.url)
    again = bed.notifier("team", f"{receiver.url}/other", severity_min="critical")
    assert first.secret is not None
    assert again.secret is None
    with bed.container.store.reading() as tx:
        from tidegate.store.alerting.alerts import get_notifier

        row = get_notifier(tx, "team")
        assert row is not None
        assert row.config["secret"] == first.secret
    bed.found(severity="high")
    bed.send()
    assert receiver.got == [], "not severe enough"
    bed.notifiers.test("team", ME)
    bed.notifiers.delete("team", ME)
    bed.send()
    assert receiver.got == []
    with pytest.raises(UnknownNotifier, match="there are none yet"):
        bed.notifiers.test("team", ME)
    with pytest.raises(InvalidArgument, match="whsec_"):
        bed.notifier("team", receiver.url, secret="hunter2")
    with pytest.raises(InvalidArgument, match="only webhooks are signed"):
        bed.notifiers.put("team", wire.NotifierRequest("slack", receiver.url, secret="whsec_a"), ME)


def test_what_is_over_is_forgotten_within_bounds(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidegate.store.alerting import alerts as rows

    monkeypatch.setattr(rows, "ENDED_KEPT_MAX", 2)
    bed.rules.change("churn", wire.AlertRulesRequest([wire.AlertRule("all", keep_firing_for_s=0.0)]), ME)
    for _ in range(4):
        bed.found()
        bed.found("ok")
    bed.state.forget_old()
    found, _ = bed.state.page(10)
    assert len(found) == 2
    first, cursor = bed.state.page(1)
    second, end = bed.state.page(1, cursor)
    assert (first + second, end) == (found, None)
