"""Endpoints as documents: all or none, the same again changes nothing, and what is exported makes the same again."""

from typing import Any

import pytest

from support.control import ME
from support.documents import apply, words
from tidegate.core.endpoints.effective import AutomatedWeights, Share, Split
from tidegate.errors import AutomationRunning, Conflict, InvalidArgument, UnknownVersion
from tidegate.services.alerting.rules import stored_rules
from tidegate.store.endpoints.automation import seen_of, set_weights
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.endpoints.history import Entry
from tidegate.wire.capture.capture import CaptureSettingsRequest
from tidegate.wire.endpoints.declared import ApplyRequest
from tidegate.wire.monitoring.alerts import AlertRule, AlertRulesRequest
from tidegate.wire.monitoring.monitoring import MonitorRequest
from tidegate.wire.rest import DeployRequest, ScaleRequest, TrafficRequest
from tidegate.wiring import Container

WEBHOOK = "webhook=https://ci.example/hooks/secret-of-ours"
WHOLE: dict[str, Any] = {
    "endpoint": "churn",
    "model": "churn",
    "traffic": {"1": 90, "v2": 10},
    "scaling": {"min": 1, "max": 4, "target": "concurrency=2", "down": "2m"},
    "serving": {"cache_ttl": "1m", "rate_limit": 100},
    "capture": {"sample": 0.5, "drop": ["input"], "retain": "7d"},
    "monitor": {"every": "1m", "label_delay": "7d", "timezone": "Europe/Berlin"},
    "alerts": {"errors": {"for": "15m"}, "performance_drift": {"actions": ["rollback", WEBHOOK], "threshold": 0.02}},
}


def test_a_document_makes_an_endpoint_with_all_that_it_says(platform: Container) -> None:
    (done,) = apply(platform, WHOLE)
    assert done.outcome == "created"
    assert platform.spec_changed.is_set()
    now = platform.endpoints.get("churn")
    assert (now.asked, now.revision, now.cache_ttl_s, now.rate_limit_per_s) == ({"1": 90.0, "2": 10.0}, 1, 60.0, 100.0)
    assert now.scaling is not None
    assert (now.scaling.max, now.scaling.metric, now.scaling.down_s) == (4, "concurrency", 120.0)
    capture = platform.capture_rules.get("churn")
    assert (capture.sample, capture.drop, capture.retain_s) == (0.5, ["input"], 7 * 86_400)
    monitor = platform.monitoring.get("churn")
    assert (monitor.every_s, monitor.label_delay_s, monitor.timezone) == (60.0, 7 * 86_400, "Europe/Berlin")
    rules = {rule.type: rule for rule in platform.alerts.rules.get("churn").rules}
    assert rules["errors"].for_s == 900
    assert rules["performance_drift"].actions == ["rollback", "webhook=https://ci.example/…"]
    assert [entry.action for entry in platform.endpoints.history("churn")] == ["apply"]
    assert words(done)["traffic"] == (None, "1=90 2=10")
    assert words(done)["monitor.every"] == ("5m", "1m")
    assert "monitor.on" not in words(done)


def test_the_same_document_again_changes_nothing(platform: Container) -> None:
    apply(platform, WHOLE)
    before, audited = platform.endpoints.get("churn"), platform.audit.page(100).entries
    (done,) = apply(platform, WHOLE)
    assert (done.outcome, done.changes) == ("unchanged", [])
    assert platform.endpoints.get("churn") == before
    assert platform.audit.page(100).entries == audited


def test_what_is_exported_changes_nothing_when_it_is_applied(platform: Container) -> None:
    apply(platform, WHOLE, {"endpoint": "plain", "model": "churn", "version": 2, "replicas": 3})
    exported = platform.documents.export().documents
    assert [one["endpoint"] for one in exported] == ["churn", "plain"]
    assert exported[1] == {"endpoint": "plain", "model": "churn", "version": "2", "replicas": 3}
    assert exported[0]["monitor"] == WHOLE["monitor"]
    assert "secret" not in str(exported)
    assert [one.outcome for one in apply(platform, *exported)] == ["unchanged", "unchanged"]
    with platform.store.reading() as tx:
        (_, webhook) = stored_rules(tx, "churn")["performance_drift"].actions
    assert webhook.key == WEBHOOK


def test_addresses_of_one_host_are_told_apart_by_their_rule(platform: Container) -> None:
    first, second, third = (f"webhook=https://ci.example/hooks/{name}" for name in ("first", "second", "third"))
    start = {"endpoint": "churn", "model": "churn", "version": "1"}
    apply(platform, {**start, "alerts": {"errors": {"actions": [first, second]}, "latency": {"actions": [third]}}})
    (exported,) = platform.documents.export("churn").documents
    (done,) = apply(platform, exported)
    assert done.outcome == "unchanged"
    with platform.store.reading() as tx:
        rules = stored_rules(tx, "churn")
    assert [[one.key for one in rules[name].actions] for name in ("errors", "latency")] == [[first, second], [third]]
    shown = "webhook=https://ci.example/…"
    with pytest.raises(InvalidArgument, match="may be one of 3 addresses"):
        apply(platform, {**start, "alerts": {"traffic": {"actions": [shown]}}})


def test_what_people_set_otherwise_is_in_the_document_and_goes_with_a_section_that_is_whole(
    platform: Container,
) -> None:
    platform.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    platform.endpoints.scale("churn", ScaleRequest(replicas=3), ME)
    platform.capture_rules.set("churn", CaptureSettingsRequest(sample=0.1, hash_keys=True), ME)
    platform.monitoring.configure("churn", MonitorRequest(block_s=60.0, on=False), ME)
    platform.alerts.rules.change("churn", AlertRulesRequest([AlertRule("drift", threshold=0.1)]), ME)
    (exported,) = platform.documents.export("churn").documents
    assert exported == {
        "endpoint": "churn",
        "model": "churn",
        "version": "1",
        "replicas": 3,
        "capture": {"sample": 0.1, "hash_keys": True},
        "monitor": {"on": False, "block": "1m"},
        "alerts": {"data_drift": {"threshold": 0.1}, "prediction_drift": {"threshold": 0.1}},
    }
    shorter = exported | {"monitor": {}, "alerts": {"data_drift": {"threshold": 0.1}}}
    del shorter["capture"]
    (done,) = apply(platform, shorter)
    assert words(done) == {
        "monitor.on": ("no", "yes"),
        "monitor.block": ("1m", "unset"),
        "alerts.prediction_drift.threshold": ("0.1", "unset"),
    }
    assert platform.capture_rules.get("churn").sample == 0.1


def test_a_dry_run_says_the_same_and_changes_nothing(platform: Container) -> None:
    platform.spec_changed.clear()
    audited = platform.audit.page(100).entries
    answer = platform.documents.apply(ApplyRequest([WHOLE], dry_run=True), ME)
    assert answer.dry_run
    assert platform.endpoints.shown.all() == []
    assert platform.audit.page(100).entries == audited
    assert not platform.spec_changed.is_set()
    assert apply(platform, WHOLE) == answer.documents


def test_all_documents_are_applied_or_none(platform: Container) -> None:
    good = {"endpoint": "a", "model": "churn", "version": "1"}
    bad = {"endpoint": "b", "model": "churn", "version": "1", "monitor": {"timezone": "Nowhere/Here"}}
    audited = platform.audit.page(100).entries
    with pytest.raises(InvalidArgument, match=r"document 2 \(b\): monitor.timezone: there is no time zone") as raised:
        apply(platform, good, bad)
    assert raised.value.details == {"field": "monitor.timezone", "document": 1}
    assert platform.endpoints.shown.all() == []
    assert platform.audit.page(100).entries == audited


WRONG: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"monitr": {}}, "monitr", "did you mean 'monitor'"),
    ({"monitor": {"evry": "5m"}}, "monitor.evry", "did you mean 'every'"),
    ({"alerts": {"errors": {"four": 1}}}, "alerts.errors.four", "did you mean 'for'"),
    ({"alerts": {"weather": {}}}, "alerts.weather", "there are data_drift"),
    ({"monitor": {"every": "soon"}}, "monitor.every", "a span of time"),
    ({"monitor": {"every": 0}}, "monitor.every", "give from 1 s"),
    ({"monitor": {"on": "yes"}}, "monitor.on", "true or false"),
    ({"version": 1.1}, "version", "in quotes"),
    ({"version": "1", "traffic": {"1": 100}}, "traffic", "exclude each other"),
    ({"traffic": {"1": 90, "2": 20}}, "traffic", "add up to 110"),
    ({"traffic": {"1": 50, "v1": 50}}, "traffic", "named twice"),
    ({"replicas": 0}, "replicas", "from 1 to"),
    ({"replicas": 2, "scaling": {"min": 1, "max": 2, "target": "rps=1"}}, "scaling", "exclude each other"),
    ({"scaling": {"min": 3, "max": 2, "target": "rps=1"}}, "scaling.min", "above the maximum"),
    ({"scaling": {"min": 1}}, "scaling.max", "is missing"),
    ({"placement": {"cpus": 2}}, "placement.backend", "only containers"),
    ({"placement": {"memory": "much"}}, "placement.memory", "an amount of bytes"),
    ({"capture": {"drop": ["inptu"]}}, "capture.drop", "inptu"),
    ({"capture": {"drop": "input"}}, "capture.drop", "a list of columns"),
    ({"alerts": {"errors": {"actions": ["webhook=https://x.example/…"]}}}, "alerts", "write it whole"),
    ({"endpoint": "Churn"}, "endpoint", "Churn"),
    ({"traffic": {"1": 10**400}}, "traffic.1", "from 0 to 100"),
    ({"version": 10**400}, "version", "number or label"),
    ({"serving": {"cache_ttl": 10**400}}, "serving.cache_ttl", "a span of time"),
    ({"model": "other"}, "model", "serves model 'churn'"),
)


def test_what_is_wrong_is_refused_by_its_path_and_nothing_changed(platform: Container) -> None:
    start = {"endpoint": "churn", "model": "churn", "version": "1"}
    apply(platform, start)
    before = platform.documents.export().documents
    for change, path, said in WRONG:
        wrong = {**start, **change}
        if "traffic" in change and "version" not in change:
            del wrong["version"]
        with pytest.raises((InvalidArgument, Conflict)) as raised:
            apply(platform, wrong)
        assert said in raised.value.message, change
        if isinstance(raised.value, InvalidArgument):
            assert raised.value.details["field"] == path, change
    assert platform.documents.export().documents == before


def test_a_new_endpoint_says_what_it_serves(platform: Container) -> None:
    for missing, said in (({"version": "1"}, "say with 'model'"), ({"model": "churn"}, "which version answers")):
        with pytest.raises(InvalidArgument, match=said):
            apply(platform, {"endpoint": "new", **missing})
    with pytest.raises(UnknownVersion, match="has no version '9'"):
        apply(platform, {"endpoint": "new", "model": "churn", "version": 9})
    with pytest.raises(InvalidArgument, match="another document is of this endpoint"):
        apply(platform, *[{"endpoint": "new", "model": "churn", "version": 1}] * 2)
    with pytest.raises(InvalidArgument, match="from 1 to 100"):
        apply(platform)


def test_a_followed_alias_is_a_field_and_stays_as_it_is(platform: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def alias(model: str, name: str) -> Any:
        asked.append((model, name))
        return type("Entry", (), {"version": "2", "tags": {}})()

    monkeypatch.setattr(platform.registry, "version_of_alias", alias)
    document = {"endpoint": "churn", "model": "churn", "follow": "@champion"}
    (done,) = apply(platform, document)
    assert words(done) == {"traffic": (None, "2=100"), "follow": (None, "@champion"), "replicas": (None, "1")}
    (exported,) = platform.documents.export("churn").documents
    assert exported == document | {"replicas": 1}
    assert apply(platform, exported)[0].outcome == "unchanged"
    assert asked == [("churn", "champion")]
    (done,) = apply(platform, {"endpoint": "churn", "version": "2"})
    assert words(done) == {"follow": ("@champion", None)}
    assert platform.endpoints.get("churn").follow is None


def test_an_automation_goes_on_where_the_document_says_what_people_said_before(platform: Container) -> None:
    document = {"endpoint": "churn", "model": "churn", "version": "1", "replicas": 2}
    apply(platform, document)
    with platform.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        split = Split("salt", (Share("control", "1", 50.0), Share("treatment", "2", 50.0)))
        weights = AutomatedWeights("experiment", "e1", row.revision, split, {"1": 100.0})
        assert set_weights(tx, seen_of(row), weights, Entry("experiment", 1.0))
    (done,) = apply(platform, document | {"replicas": 3, "monitor": {"every": "1m"}})
    assert set(words(done)) == {"replicas", "monitor.every"}
    now = platform.endpoints.get("churn")
    assert now.automation is not None
    assert now.asked == {"1": 100.0}
    with pytest.raises(AutomationRunning):
        apply(platform, document | {"version": "2"})
    apply(platform, document | {"version": "2"}, end_automation=True)
    assert platform.endpoints.get("churn").automation is None


def test_formats_that_are_not_there_are_refused_with_a_sentence(platform: Container) -> None:
    with pytest.raises(InvalidArgument, match="no format 'helm'"):
        platform.documents.export(form="helm")


def test_a_version_of_traffic_that_was_set_by_hand_is_reported(platform: Container) -> None:
    apply(platform, {"endpoint": "churn", "model": "churn", "version": "1"})
    platform.endpoints.set_traffic("churn", TrafficRequest({"2": 100}), ME)
    (done,) = apply(platform, {"endpoint": "churn", "version": "v1"}, dry_run=True)
    assert words(done) == {"traffic": ("2=100", "1=100")}
