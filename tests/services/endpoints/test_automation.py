"""People and automations on one endpoint: whose word is in effect, and what history says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from support.control import ME, NewDatabase, add_version, container_at
from tidegate.api.metrics import render
from tidegate.core.access import Principal
from tidegate.core.endpoints.effective import AutomatedReplicas, AutomatedWeights, Share, Split
from tidegate.errors import AutomationRunning, Conflict, InUse, InvalidArgument, NotLeader, UnknownEndpoint
from tidegate.services.overview.measures import Measured
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import automation, history
from tidegate.store.endpoints.automation import EndpointSeen, seen_of
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.endpoints.history import Entry
from tidegate.store.tables import EndpointRow, HistoryRow, LeaseRow
from tidegate.wire.endpoints.tags import tag_of
from tidegate.wire.rest import DeployRequest, Endpoint, RollbackRequest, ScaleRequest, TrafficRequest
from tidegate.wiring import Container

STABLE = {"1": 100.0}


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    for number in ("1", "2", "3"):
        add_version(container, "churn", number)
    container.endpoints.deploy("churn", DeployRequest("churn", "1", replicas=2), _person("ann"))
    yield container
    container.close()


def _person(name: str) -> Principal:
    return replace(ME, name=name)


def _loops(platform: Container) -> Store:
    """As the loops have it: only the leader may write."""
    return platform.store.fenced(platform.leadership.fence)


def _seen(platform: Container) -> EndpointSeen:
    with platform.store.reading() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        return seen_of(row)


def _experiment(
    seen: EndpointSeen, percent: float = 10.0, salt: str = "exp-salt", name: str = "blue"
) -> AutomatedWeights:
    shares = (Share("control", "1", 100.0 - percent), Share("treatment", "2", percent))
    return AutomatedWeights("experiment", name, seen.revision, Split(salt, shares), STABLE)


def _entry(action: str = "experiment") -> Entry:
    return Entry(action, 5.0, "experiment blue")


def _begin(platform: Container, percent: float = 10.0) -> EndpointSeen:
    seen = _seen(platform)
    with _loops(platform).transaction() as tx:
        assert automation.set_weights(tx, seen, _experiment(seen, percent), _entry())
    return seen


def _autoscale(platform: Container, seen: EndpointSeen, **counts: int) -> bool:
    decided = {name[1:]: AutomatedReplicas(count, seen.revision, "load") for name, count in counts.items()}
    with _loops(platform).transaction() as tx:
        return automation.set_replicas(tx, seen, decided, Entry("autoscale", 5.0, "autoscaler"))


def _get(platform: Container) -> Endpoint:
    return platform.endpoints.get("churn")


def test_an_automation_takes_effect_and_leaves_what_people_asked_for(platform: Container) -> None:
    before = _get(platform)
    _begin(platform)
    now = _get(platform)
    assert (now.asked, now.target) == ({"1": 100.0}, {"1": 90.0, "2": 10.0})
    assert (now.revision, now.generation, now.status) == (before.revision, before.generation + 1, "deploying")
    assert tag_of(now) == tag_of(before), "nobody's If-Match fails of an automation"
    assert [(one.name, one.version, one.target_weight) for one in now.variants] == [
        ("control", "1", 90.0),
        ("treatment", "2", 10.0),
    ]
    assert now.automation is not None
    assert (now.automation.kind, now.automation.name, now.automation.stable) == ("experiment", "blue", STABLE)
    newest = platform.endpoints.history("churn")[0]
    assert (newest.action, newest.actor, newest.automated) == ("experiment", "experiment blue", True)
    assert (newest.revision, newest.generation, newest.traffic) == (1, 2, {"1": 90.0, "2": 10.0})


def test_an_automation_of_what_is_not_there_is_refused(platform: Container) -> None:
    seen = _seen(platform)
    right = _experiment(seen)
    platform.models.delete_version("churn", "3", ME)
    gone = (
        replace(right, stable={"3": 100.0}),
        replace(right, split=Split("salt", (Share("a", "1", 50), Share("b", "3", 50)))),
    )
    for late in gone:
        with _loops(platform).transaction() as tx:
            assert not automation.set_weights(tx, seen, late, _entry())
    wrong = replace(right, stable={"1": 12.0}), replace(right, name="n" * 64), _experiment(seen, salt="s" * 65)
    for senseless in wrong:
        with _loops(platform).transaction() as tx, pytest.raises(InvalidArgument):
            automation.set_weights(tx, seen, senseless, _entry())
    assert _get(platform).automation is None


def test_a_step_that_changes_nothing_is_none(platform: Container) -> None:
    seen = _begin(platform)
    with _loops(platform).transaction() as tx:
        assert automation.set_weights(tx, seen, _experiment(seen), _entry())
    assert (_get(platform).generation, len(platform.endpoints.history("churn"))) == (2, 2)
    split = Split("salt", (Share("control", "1", 50.0),))
    with pytest.raises(InvalidArgument, match="add up to"), _loops(platform).transaction() as tx:
        automation.set_weights(tx, seen, replace(_experiment(seen), split=split), _entry())


def test_a_ramp_is_kept_and_counts_by_version(platform: Container) -> None:
    seen = _seen(platform)
    arms = (Share("baseline", "1", 50.0), Share("canary", "2", 50.0), Share("stable", "1", 0.0))
    ramp = AutomatedWeights("canary", "up", seen.revision, Split("s", arms, "", 0.1, "stable", 2), STABLE)
    with _loops(platform).transaction() as tx:
        assert automation.set_weights(tx, seen, ramp, _entry("canary"))
    with platform.store.reading() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        assert automation.automated_of(row).weights == ramp
    now = _get(platform)
    assert now.target == {"1": 95.0, "2": 5.0}
    assert now.automation is not None
    assert now.automation.shares == {"baseline": 50.0, "canary": 50.0}
    assert (now.automation.coverage, now.automation.uncovered, now.automation.phase) == (0.1, "stable", 2)
    wanted = {one.name: one.target_weight for one in now.variants}
    assert wanted == {"baseline": 5.0, "canary": 5.0, "stable": 90.0}
    assert platform.endpoints.history("churn")[0].traffic == {"1": 95.0, "2": 5.0}


def test_one_version_can_be_two_variants(platform: Container) -> None:
    seen = _seen(platform)
    split = Split("aa", (Share("a", "1", 50.0), Share("b", "1", 50.0)))
    with _loops(platform).transaction() as tx:
        assert automation.set_weights(tx, seen, replace(_experiment(seen), split=split), _entry("aa"))
    now = _get(platform)
    assert now.target == {"1": 100.0}
    assert [(one.name, one.version, one.replicas.desired) for one in now.variants] == [("a", "1", 2), ("b", "1", 2)]
    scraped = render(Measured(platform.status.get(), endpoints=[now])).decode()
    assert scraped.count('tidegate_replicas_desired{endpoint="churn",version="1"} 2.0') == 1, "once a version"
    assert 'tidegate_traffic_target_percent{endpoint="churn",variant="a",version="1"} 50.0' in scraped


@pytest.mark.parametrize("action", ["traffic", "promote", "deploy"])
def test_a_change_of_traffic_ends_an_automation_only_when_it_says_so(platform: Container, action: str) -> None:
    _begin(platform)

    def change(*, end: bool) -> Endpoint:
        if action == "deploy":
            return platform.endpoints.deploy("churn", DeployRequest("churn", "1", end_automation=end), _person("ann"))
        return platform.endpoints.set_traffic(
            "churn", TrafficRequest(STABLE, action, end_automation=end), _person("ann")
        )

    with pytest.raises(AutomationRunning, match=r"experiment 'blue' sets the traffic.*--end-automation") as refused:
        change(end=False)
    assert refused.value.code == "automation_running"
    assert _get(platform).revision == 1
    after = change(end=True)  # what people had asked for before, and yet a change
    assert (after.target, after.automation, after.revision) == (STABLE, None, 2)
    newest = platform.endpoints.history("churn")[0]
    assert (newest.action, newest.note, newest.automated) == (action, "ends experiment blue", False)


def test_a_loop_that_has_not_noticed_yet_changes_nothing_more(platform: Container) -> None:
    seen = _begin(platform)
    platform.endpoints.set_traffic("churn", TrafficRequest({"2": 100}, end_automation=True), ME)
    with _loops(platform).transaction() as tx:
        assert not automation.set_weights(tx, seen, _experiment(seen, 50.0), _entry())
        assert not automation.end_weights(tx, seen, _entry())
    assert (_get(platform).target, _get(platform).generation) == ({"2": 100.0}, 3)
    again = _seen(platform)
    with _loops(platform).transaction() as tx:
        assert automation.set_weights(tx, again, _experiment(again, 50.0, "another"), _entry())
    assert _get(platform).target == {"1": 50.0, "2": 50.0}


def test_an_automation_that_ends_by_itself_leaves_people_s_weights(platform: Container) -> None:
    seen = _begin(platform)
    with _loops(platform).transaction() as tx:
        assert automation.end_weights(tx, seen, _entry("stop"))
    now = _get(platform)
    assert (now.target, now.automation, now.revision, now.generation) == (STABLE, None, 1, 3)
    assert [one.name for one in now.variants] == ["1"]


def test_a_rollback_ends_an_automation_and_restores_what_was_stable(platform: Container) -> None:
    platform.endpoints.set_traffic("churn", TrafficRequest({"3": 100}), ME)
    platform.endpoints.set_traffic("churn", TrafficRequest(STABLE), ME)
    seen = _begin(platform, 10.0)
    for percent in (25.0, 50.0):
        with _loops(platform).transaction() as tx:
            assert automation.set_weights(tx, seen, _experiment(seen, percent), _entry("step"))
    back = platform.endpoints.rollback("churn", RollbackRequest(), _person("ann"))
    assert (back.target, back.automation) == (STABLE, None)
    newest = platform.endpoints.history("churn")[0]
    assert (newest.action, newest.restores, newest.note) == ("rollback", 3, "ends experiment blue")
    again = platform.endpoints.rollback("churn", RollbackRequest(), ME)
    assert again.target == {"3": 100.0}, "what people had before, and no step of the experiment's"


def test_a_rollback_goes_back_to_a_promotion(platform: Container) -> None:
    _begin(platform, 50.0)
    promotion = TrafficRequest({"2": 100}, "promote", end_automation=True)
    platform.endpoints.set_traffic("churn", promotion, _person("experiment blue"))
    platform.endpoints.set_traffic("churn", TrafficRequest({"3": 100}), ME)
    assert platform.endpoints.rollback("churn", RollbackRequest(), ME).target == {"2": 100.0}


def test_a_rollback_cannot_name_what_an_automation_did(platform: Container) -> None:
    _begin(platform)
    with pytest.raises(Conflict, match="no revision 2: it has 1 to 1"):
        platform.endpoints.rollback("churn", RollbackRequest(to=2), ME)
    assert platform.endpoints.rollback("churn", RollbackRequest(to=1), ME).target == STABLE


def test_the_autoscalers_numbers_hold_until_people_fix_one(platform: Container) -> None:
    seen = _seen(platform)
    assert _autoscale(platform, seen, v1=7)
    now = _get(platform)
    assert (now.variants[0].replicas.desired, now.revision, now.generation) == (7, 1, 2)
    assert _autoscale(platform, seen, v1=7)
    assert _get(platform).generation == 2, "the same number is no change"
    platform.endpoints.set_traffic("churn", TrafficRequest({"1": 50, "2": 50}), ME)
    assert [one.replicas.desired for one in _get(platform).variants] == [2, 7], "traffic is another matter"
    fixed = platform.endpoints.scale("churn", ScaleRequest(2), ME)  # the number people had asked for before
    assert (fixed.revision, [one.replicas.desired for one in fixed.variants]) == (3, [2, 2])
    assert not _autoscale(platform, seen, v1=9), "it had not noticed yet"
    assert _autoscale(platform, _seen(platform), v1=9)
    platform.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    assert {one.version: one.replicas.desired for one in _get(platform).variants}["1"] == 9
    deployed = platform.endpoints.deploy("churn", DeployRequest("churn", "1", replicas=2), ME)
    assert {one.version: one.replicas.desired for one in deployed.variants}["1"] == 2


def test_a_version_may_have_no_replica_and_gets_a_bounded_number(platform: Container) -> None:
    with pytest.raises(InvalidArgument, match="cannot have -1 replicas"):
        _autoscale(platform, _seen(platform), v1=-1)
    with pytest.raises(InvalidArgument, match="up to 10000 replicas, not 10001"):
        _autoscale(platform, _seen(platform), v1=10_001)
    assert _autoscale(platform, _seen(platform), v1=0)
    assert [one.replicas.desired for one in _get(platform).variants if one.version == "1"] == [0]


def test_what_people_confirm_ends_what_was_decided_before_and_is_no_revision(platform: Container) -> None:
    with platform.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        row.status = "ready"
    before, history_before = _get(platform), platform.endpoints.history("churn")
    decided = _seen(platform)
    platform.endpoints.scale("churn", ScaleRequest(2), ME)  # as it is already
    assert not _autoscale(platform, decided, v1=9), "it was decided before"
    later = _seen(platform)
    assert _autoscale(platform, later, v1=9)
    platform.endpoints.set_traffic("churn", TrafficRequest(STABLE), ME)  # as it is already
    with _loops(platform).transaction() as tx:
        assert not automation.set_weights(tx, later, _experiment(later), _entry())
    assert _autoscale(platform, later, v1=8), "traffic is another matter"
    again = _seen(platform)
    with _loops(platform).transaction() as tx:
        assert automation.set_weights(tx, again, _experiment(again), _entry())
    now = _get(platform)
    assert now.automation is not None
    assert (now.revision, now.automation.revision) == (before.revision, before.revision)
    assert [one for one in platform.endpoints.history("churn") if not one.automated] == history_before


def test_scaling_during_an_experiment_leaves_the_experiment(platform: Container) -> None:
    _begin(platform)
    now = platform.endpoints.scale("churn", ScaleRequest(5), ME)
    assert now.automation is not None
    assert [(one.name, one.replicas.desired) for one in now.variants] == [("control", 5), ("treatment", 5)]


def test_a_former_leader_writes_nothing(platform: Container) -> None:
    seen, late = _seen(platform), _loops(platform)
    with platform.store.transaction() as tx:
        tx.execute(update(LeaseRow).values(token=LeaseRow.token + 1))
    with pytest.raises(NotLeader), late.transaction() as tx:
        automation.set_weights(tx, seen, _experiment(seen), _entry())
    assert (_get(platform).automation, _get(platform).generation) == (None, 1)


def test_a_version_in_an_experiment_is_in_use(platform: Container) -> None:
    _begin(platform)
    with pytest.raises(InUse, match="endpoint churn"):
        platform.models.delete_version("churn", "2", ME)


def _remove(platform: Container) -> None:
    """As the loop does once the replicas are gone."""
    platform.endpoints.delete("churn", _person("bob"))
    with platform.store.transaction() as tx:
        tx.delete(tx.get_one(EndpointRow, "churn"))


def test_history_outlives_its_endpoint_and_is_not_the_next_ones(platform: Container) -> None:
    late = _begin(platform)
    _remove(platform)
    gone = platform.endpoints.history("churn")
    assert [(one.action, one.actor) for one in gone] == [
        ("delete", "bob"),
        ("experiment", "experiment blue"),
        ("deploy", "ann"),
    ]
    platform.endpoints.deploy("churn", DeployRequest("churn", "2"), _person("eve"))
    assert [one.actor for one in platform.endpoints.history("churn")] == ["eve"]
    with pytest.raises(Conflict, match="nothing to roll back to"):
        platform.endpoints.rollback("churn", RollbackRequest(), ME)
    with _loops(platform).transaction() as tx:
        assert not automation.set_weights(tx, late, _experiment(late), _entry()), "that was another endpoint"
    every = platform.endpoints.history("churn", every=True)
    assert [one.revision for one in every] == [1, 2, 1, 1]
    assert len({one.endpoint_id for one in every}) == 2
    with pytest.raises(UnknownEndpoint):
        platform.endpoints.history("never")


def test_history_is_paged(platform: Container) -> None:
    for number in (3, 4, 5):
        platform.endpoints.scale("churn", ScaleRequest(number), ME)
    first = platform.endpoints.history("churn", 3)
    rest = platform.endpoints.history("churn", 3, first[-1].id)
    assert [one.revision for one in (*first, *rest)] == [4, 3, 2, 1]
    for wrong in (0, 1001):
        with pytest.raises(InvalidArgument, match="from 1 to 1000"):
            platform.endpoints.history("churn", wrong)


def test_history_is_bounded_and_automations_push_out_nothing_of_peoples(
    platform: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "KEPT_OF_PEOPLE", 3)
    monkeypatch.setattr(history, "KEPT_OF_AUTOMATIONS", 2)
    for number in (3, 4, 5):
        platform.endpoints.scale("churn", ScaleRequest(number), ME)
    seen = _seen(platform)
    for count in range(6, 11):
        assert _autoscale(platform, seen, v1=count)
    kept = platform.endpoints.history("churn")
    assert [(one.automated, one.generation) for one in kept] == [
        (True, 9),
        (True, 8),
        (False, 4),
        (False, 3),
        (False, 2),
    ]
    with pytest.raises(Conflict, match="no revision 1: it has 2 to 4"):
        platform.endpoints.rollback("churn", RollbackRequest(to=1), ME)


def test_endpoints_deleted_long_ago_are_forgotten(platform: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ENDPOINTS_GONE_MAX", 2)
    for _ in range(4):
        _remove(platform)
        platform.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    with platform.store.reading() as tx:
        assert tx.scalar(select(func.count(HistoryRow.endpoint_uid.distinct()))) == 4, "the last delete is not over yet"
