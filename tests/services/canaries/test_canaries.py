"""Canaries on a real store, with captured requests that the tests make up."""

from __future__ import annotations

from typing import Any

import pytest

from support.canary_bed import EVERY_S, NAN, Bed
from support.control import ME
from tidegate.core.captured import Columns
from tidegate.errors import AutomationRunning, Conflict, InvalidArgument, NotLeader, UnknownCanary
from tidegate.loops.canary import IDLE_S, LOOK_S
from tidegate.services.experiments.deciding import Deciding
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import canaries as canary_rows
from tidegate.store.experiments import rollouts
from tidegate.store.tables import VariantRow
from tidegate.wire.capture.capture import CaptureSettingsRequest
from tidegate.wire.experiments.canary import CanaryRequest
from tidegate.wire.rest import RollbackRequest, TrafficRequest


def test_a_good_version_takes_each_step_and_is_promoted(bed: Bed) -> None:
    begun = bed.begin()
    assert (begun.state, begun.weight, begun.stable) == ("running", 5.0, {"1": 100.0})
    assert bed.traffic == {"1": 95.0, "2": 5.0}
    found = bed.step()
    assert (found.state, found.step, found.weight) == ("running", 1, 50.0)
    assert bed.traffic == {"1": 50.0, "2": 50.0}
    assert bed.asked == {"1": 100.0}
    found = bed.step()
    assert found.state == "promoted", found
    assert bed.asked == {"2": 100.0}
    assert [(one.weight, one.requests >= 100) for one in found.history] == [(5.0, True), (50.0, True)]
    newest = bed.container.endpoints.history("churn")[0]
    assert (newest.action, newest.automated) == ("promote", False)
    with bed.container.store.reading() as tx:
        assert rollouts.counts(tx) == {("churn", "canary", "promoted"): 1}
        assert rollouts.guardrails(tx) == []
    bed.endpoints.rollback("churn", RollbackRequest(), ME)
    assert bed.asked == {"1": 100.0}, "a rollback goes to stable, never to a step"


@pytest.mark.parametrize(
    ("requests", "guardrail"),
    [
        ({"failing": 2000}, "errors"),
        ({"failing": 200}, "errors"),
        ({"failing": 2000, "code": 504}, "errors"),
        ({"failing": 2000, "code": 422}, "errors"),
        ({"slower": 5.0}, "latency"),
        ({"answer": NAN}, "non_finite"),
        ({"answer": 9.0}, "drift"),
    ],
)
def test_a_breach_of_any_default_guardrail_gives_stable_all_traffic(
    bed: Bed, requests: dict[str, Any], guardrail: str
) -> None:
    bed.begin()
    found = bed.step(**requests)
    assert found.state == "aborted", found
    assert f"{guardrail} breached" in found.reason
    assert "requests that it was given were affected" in found.reason
    assert bed.traffic == {"1": 100.0}
    assert bed.container.endpoints.history("churn")[0].action == "rollback"


def test_replicas_that_crash_are_a_breach_where_stables_do_not(bed: Bed) -> None:
    bed.begin()
    bed.routed()
    bed.look()
    with bed.container.store.transaction() as tx:
        tx.add(VariantRow(endpoint="churn", version="2", crashes=[bed.now - 1, bed.now]))
    found = bed.look()
    assert (found.state, "crashes breached" in found.reason) == ("aborted", True)


def test_one_crash_that_is_let_pass_does_not_have_rows_read_at_every_look(bed: Bed) -> None:
    bed.begin()
    bed.routed()
    with bed.container.store.transaction() as tx:
        tx.add(VariantRow(endpoint="churn", version="2", crashes=[bed.now]))
    number = next(iter(bed.steps._due), 1)
    assert bed.steps.canaries.look(number) is True
    assert bed.steps.canaries.look(number, is_due=False) is False


def test_a_version_that_does_not_run_fails_without_having_had_a_request(bed: Bed) -> None:
    bed.begin()
    with bed.container.store.transaction() as tx:
        tx.add(VariantRow(endpoint="churn", version="2", crashes=[], cause="no such file", quarantined_generation=9))
    found = bed.look()
    assert (found.state, found.reason) == ("failed", "version 2 does not run: no such file")
    assert bed.traffic == {"1": 100.0}


def test_a_version_that_was_given_up_is_tried_anew(bed: Bed) -> None:
    with bed.container.store.transaction() as tx:
        tx.add(VariantRow(endpoint="churn", version="2", crashes=[], cause="no such file", quarantined_generation=1))
    bed.begin()
    assert bed.look().state == "running"
    with bed.container.store.reading() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        assert row.retries["2"] == row.generation > 1
    bed.step()
    with bed.container.store.reading() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        assert row.retries["2"] < row.generation, "a step tries nothing anew"


def test_a_person_who_pauses_while_it_is_looked_at_is_first(bed: Bed) -> None:
    bed.begin()
    bed.routed()
    bed.look()
    bed.captured.__dict__.update(at=bed.now + EVERY_S, each=2000)
    read = bed.captured.rows

    def paused_meanwhile(*asked: Any) -> Columns:
        bed.canaries.pause("churn", ME)
        return read(*asked)

    bed.captured.rows = paused_meanwhile  # type: ignore[assignment, method-assign]
    found = bed.look(EVERY_S + 5.0)
    assert (found.state, found.step) == ("paused", 0)


def test_without_traffic_nothing_advances_and_nothing_fails(bed: Bed) -> None:
    bed.begin()
    bed.routed()
    for _ in range(3):
        found = bed.look(86_400.0)
    assert (found.state, found.step) == ("running", 0)
    assert found.reason.startswith("waiting for traffic: 0 requests")


def test_what_cannot_be_read_is_no_evidence(bed: Bed) -> None:
    bed.begin()
    found = bed.step(trouble="the disk is away")
    assert (found.state, found.reason) == ("running", "no evidence: the disk is away")


def test_it_is_said_where_nothing_is_recorded_any_more(bed: Bed) -> None:
    bed.begin()
    bed.container.capture_rules.set("churn", CaptureSettingsRequest(sample=0.0), ME)
    bed.routed()
    assert bed.look().reason.startswith("no evidence: nothing is recorded any more ('tidegate capture-settings churn")


def test_replicas_come_before_the_weight_is_counted(bed: Bed) -> None:
    bed.begin()
    bed.captured.at, bed.captured.each = bed.now + 1, 2000
    found = bed.look(EVERY_S * 2)
    assert (found.step, found.reason) == (0, "replicas for 5 % are made ready")


def test_a_replicas_first_minute_is_left_out(bed: Bed) -> None:
    from tidegate.store.tables import ReplicaRow

    bed.begin()
    ready_at = bed.now + 10 + EVERY_S - 30
    with bed.container.store.transaction() as tx:
        about: dict[str, Any] = {"handle": {}, "state": "ready", "backend": "local", "created_at": 1.0}
        tx.add(ReplicaRow(id="r", endpoint="churn", model="churn", version="2", ready_at=ready_at, **about))
    found = bed.step()
    assert found.reason.startswith("waiting for traffic: 0 requests")
    errors = next(one for one in found.guardrails if one.name == "errors")
    assert errors.value == 0.0, "errors count from the first request on"


def test_a_control_plane_that_restarts_goes_on_in_mid_step(bed: Bed) -> None:
    bed.begin()
    bed.routed()
    bed.look()
    bed.captured.at, bed.captured.each = bed.now + 20, 2000
    bed.restart()
    early = bed.look(EVERY_S / 2)
    assert (early.step, early.reason.startswith("no breach in 2000 requests")) == (0, True)
    bed.restart()
    assert bed.look(EVERY_S / 2 + 10).step == 1


def test_one_that_does_not_lead_any_more_changes_nothing(bed: Bed) -> None:
    from support.control import lead_elsewhere

    bed.begin()
    bed.routed()
    bed.look()
    bed.captured.__dict__.update(at=bed.now + 1, each=2000, failing=2000)
    lead_elsewhere(bed.container, "http://elsewhere")
    with pytest.raises(NotLeader):
        bed.look()
    assert bed.canaries.get("churn").state == "running"


def test_people_end_it_by_setting_the_traffic(bed: Bed) -> None:
    bed.begin()
    with pytest.raises(AutomationRunning, match="canary"):
        bed.endpoints.set_traffic("churn", TrafficRequest({"1": 50, "2": 50}), ME)
    bed.endpoints.set_traffic("churn", TrafficRequest({"1": 50, "2": 50}, end_automation=True), ME)
    found = bed.look()
    assert (found.state, found.reason) == ("ended", "people changed the traffic, or the endpoint is gone")
    assert bed.traffic == {"1": 50.0, "2": 50.0}


def test_paused_resumed_promoted_aborted_and_tried_again(bed: Bed) -> None:
    bed.begin()
    assert bed.canaries.pause("churn", ME).state == "paused"
    assert bed.step().step == 0
    assert bed.canaries.resume("churn", ME).state == "running"
    assert bed.look().step == 1
    assert bed.canaries.abort("churn", ME).state == "aborted"
    assert bed.traffic == {"1": 100.0}
    for verb in (bed.canaries.pause, bed.canaries.abort, bed.canaries.promote):
        with pytest.raises(Conflict, match="no canary runs"):
            verb("churn", ME)
    again = bed.canaries.retry("churn", ME)
    assert (again.state, again.step, again.steps) == ("running", 0, [5.0, 50.0, 100.0])
    with pytest.raises(Conflict, match="still runs"):
        bed.canaries.retry("churn", ME)
    assert bed.canaries.promote("churn", ME).state == "promoted"
    assert bed.asked == {"2": 100.0}


def test_a_paused_canary_is_taken_back_all_the_same(bed: Bed) -> None:
    bed.begin()
    bed.canaries.pause("churn", ME)
    assert bed.step(failing=2000).state == "aborted"


def test_a_canary_of_an_endpoint_that_is_gone_is_forgotten(bed: Bed) -> None:
    bed.begin()
    bed.container.endpoints.delete("churn", ME)
    assert bed.look().state == "ended"
    with bed.container.store.transaction() as tx:
        tx.delete(get_endpoint(tx, "churn"))
    nothing: Any = None
    Deciding(bed.fenced, nothing, bed.clock, lambda: None).forget_gone()
    with bed.container.store.reading() as tx:
        assert canary_rows.get(tx, 1) is None


def test_what_a_canary_cannot_be_of(bed: Bed) -> None:
    with pytest.raises(UnknownCanary, match="--canary"):
        bed.canaries.get("churn")
    with pytest.raises(InvalidArgument, match="must rise"):
        bed.begin(5.0, 1.0, 100.0)
    with pytest.raises(InvalidArgument, match="experiment create"):
        bed.begin(guardrails=["revenue:margin=0.1"])
    with pytest.raises(Conflict, match="has traffic already"):
        bed.canaries.begin("churn", CanaryRequest(version="1"), ME)
    with pytest.raises(InvalidArgument, match="needs a version"):
        bed.canaries.begin("churn", CanaryRequest(), ME)
    bed.begin()
    with pytest.raises(AutomationRunning):
        bed.canaries.begin("churn", CanaryRequest(version="3"), ME)
    assert bed.canaries.begin("churn", CanaryRequest(version="3", end_automation=True), ME).version == "3"
    bed.canaries.abort("churn", ME)
    bed.endpoints.set_traffic("churn", TrafficRequest({"1": 50, "3": 50}), ME)
    with pytest.raises(Conflict, match="share the traffic"):
        bed.begin()


def test_looks_come_often_while_there_is_something_to_look_at(bed: Bed) -> None:
    assert bed.steps.step() == IDLE_S, "a deployment may begin a guard"
    bed.begin()
    assert bed.steps.step() <= LOOK_S


def test_canaries_are_looked_at_by_a_loop_of_their_own(bed: Bed) -> None:
    """An experiment whose look takes long, or fails, keeps none from being aborted; failures are counted by loop."""
    loops = {one.name: one for one in bed.container.loops}
    assert loops["canary"].leader_only
    assert loops["canary"].wake is not loops["experiment"].wake
    bed.container.canaries.begin("churn", CanaryRequest(version="2", steps=[5.0, 100.0]), ME)
    assert loops["canary"].wake.is_set()
