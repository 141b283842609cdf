"""What people see of automations and of an endpoint's history."""

from __future__ import annotations

from dataclasses import replace

from tidegate.cli.endpoints.change import _shares
from tidegate.cli.endpoints.show import CHANGES_SHOWN, _endpoint, _endpoint_table, _page
from tidegate.wire.parts import AutomationView
from tidegate.wire.rest import Endpoint, HistoryEntry, ReplicaCount, VariantView

ARMS = [
    VariantView("1", 50.0, "ready", "", ReplicaCount(2, 2), target_weight=50.0, name="a"),
    VariantView("1", 50.0, "ready", "", ReplicaCount(2, 2), target_weight=50.0, name="b"),
]
RUNNING = Endpoint(
    name="churn",
    url="http://127.0.0.1:8000/predict/churn",
    status="ready",
    reason="",
    traffic={"1": 100.0},
    variants=ARMS,
    target={"1": 100.0},
    asked={"1": 90.0, "2": 10.0},
    automation=AutomationView("experiment", "blue", 3, {"1": 100.0}),
)
ENTRIES = [
    HistoryEntry(3, 2.0, "experiment", {"1": 100.0}, "experiment blue", id=9, automated=True),
    HistoryEntry(3, 1.0, "traffic", {"1": 90.0, "2": 10.0}, "ann", id=8),
]


def test_status_says_what_sets_the_traffic_and_names_the_variants() -> None:
    shown = _endpoint(RUNNING, ENTRIES)
    assert "experiment blue sets the traffic since revision 3; asked for was 1=90 2=10" in shown
    assert "a rollback restores 1=100" in shown
    assert "1 (a)" in shown
    assert "1 (b)" in shown
    assert "tidegate history" not in shown, "these are all"
    assert "tidegate history churn" in _endpoint(RUNNING, ENTRIES * (CHANGES_SHOWN // 2))
    plain = replace(RUNNING, automation=None, variants=[replace(ARMS[0], name="1")])
    assert "sets the traffic" not in _endpoint(plain, ENTRIES)
    assert "(1)" not in _endpoint(plain, ENTRIES)


def test_a_ramp_is_shown_by_what_takes_part() -> None:
    arms = {"baseline": 50.0, "canary": 50.0}
    ramp = AutomationView("canary", "churn-2", 3, {"1": 100.0}, arms, 0.05, "stable", 2, "salt")
    for shown in (_endpoint(replace(RUNNING, automation=ramp), ENTRIES), _shares(replace(RUNNING, automation=ramp))):
        lines = shown.splitlines()
        place = lines.index("5% of units take part in phase 2: baseline=50 canary=50")
        assert lines[place + 1] == "the others get stable"
    whole = replace(RUNNING, automation=replace(ramp, coverage=1.0))
    assert "100% of units take part in phase 2: baseline=50 canary=50" in _endpoint(whole, ENTRIES).splitlines()


def test_replicas_of_two_variants_of_a_version_are_counted_once() -> None:
    assert "2/2" in _endpoint_table([RUNNING])


def test_an_automation_s_entries_have_no_revision_to_go_back_to_and_pages_name_the_next() -> None:
    lines = _page("churn", ENTRIES, 2).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["auto", "3"]
    assert lines[-1] == "older ones: tidegate history churn --before 8"
    assert "--before" not in _page("churn", ENTRIES, 3)


def test_how_many_instances_run_is_unknown_where_their_engine_alone_counts_them() -> None:
    pools = [replace(one, replicas=ReplicaCount(1, 1), managed_by="cloudrun") for one in ARMS]
    pooled = replace(RUNNING, backend="cloudrun", variants=pools)
    listed = _endpoint_table([pooled])
    assert " unknown " in listed
    assert "1/1" not in listed
    told = _endpoint(pooled, ENTRIES)
    assert "on cloudrun, which alone knows how many instances run" in told
    assert "1/1" not in told
