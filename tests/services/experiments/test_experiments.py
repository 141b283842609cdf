"""Experiments from creation to their end: what people do, what looks find, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.control import ME, SIGNATURE, add_version, lead_elsewhere
from support.experiment_bed import DAY_S, Bed
from tidegate.api.metrics import render
from tidegate.core.endpoints.kept_aliases import CHALLENGER
from tidegate.errors import (
    AutomationRunning,
    CaptureUnreadable,
    Conflict,
    InUse,
    InvalidArgument,
    NotLeader,
    SignatureChanged,
    UnknownExperiment,
    UnknownVersion,
)
from tidegate.services.declared import decisions
from tidegate.services.experiments.views import QUIET_S
from tidegate.store.endpoints import kept_aliases
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import experiments as rows
from tidegate.store.experiments import rollouts
from tidegate.store.tables import VariantRow
from tidegate.wire.capture.capture import CaptureSettingsRequest
from tidegate.wire.experiments.experiments import ExperimentRequest
from tidegate.wire.rest import DeployRequest, RollbackRequest, TrafficRequest
from tidegate.wire.signature import Signature, TensorSpec

BETTER = {"converted": [(1000, 10_000), (1400, 10_000)]}
WORSE = {"converted": [(1400, 10_000), (1000, 10_000)]}
EQUAL = {"converted": [(1000, 10_000), (1000, 10_000)]}


# -- first the whole path ---------------------------------------------------------------------------------------------


def test_a_better_version_is_promoted_by_itself_with_the_evidence_kept(bed: Bed) -> None:
    created = bed.create(auto=True)
    assert (created.state, created.active, created.phase) == ("waiting_for_traffic", True, 1)
    assert bed.endpoint().target == {"1": 50.0, "2": 50.0}
    assert bed.endpoint().asked == {"1": 100.0}
    bed.captured.values = {"converted": [(5, 50), (7, 50)]}
    early = bed.look()
    assert (early.decision, early.status) == ("insufficient_data", "insufficient_data")
    bed.captured.values = BETTER
    view = bed.look()
    assert (view.state, view.decision, view.active, view.winner) == ("decided", "promote", False, "b")
    assert view.next == "version 2 has all traffic"
    assert (view.arms[1].units, view.arms[1].exposed) == (10_000, 10_000)
    assert view.improvement == pytest.approx(0.4)
    assert bed.endpoint().asked == {"2": 100.0}
    assert bed.endpoint().automation is None
    action, actor, note = bed.history()[0]
    assert (action, actor) == ("promote", "experiment blue")
    assert "ready to promote" in note
    looks = bed.experiments.looks("churn", "blue")
    assert [one.decision for one in looks] == ["insufficient_data", "promote"]
    assert looks[-1].metrics[0].p_value == view.p_value
    with bed.container.store.reading() as tx:
        assert rollouts.counts(tx) == {("churn", "experiment", "promoted"): 1}
    bed.container.endpoints.rollback("churn", RollbackRequest(), ME)
    assert bed.endpoint().asked == {"1": 100.0}


def test_a_version_against_itself_is_said_to_be_an_aa_test(bed: Bed) -> None:
    assert not any("A/A" in one for one in bed.create().warnings)
    bed.experiments.stop("churn", "blue", ME)
    created = bed.create(treatments=["1"], name="same", auto=True)
    assert any("treatment is version 1, as control is: an A/A test" in one for one in created.warnings)
    bed.captured.values = BETTER
    bed.look()
    view = bed.view("same")
    assert (view.state, view.decision, bed.endpoint().asked) == ("decided", "promote", {"1": 100.0})
    assert bed.endpoint().automation is None


def test_without_auto_a_promotion_waits_for_approval(bed: Bed) -> None:
    bed.create()
    with pytest.raises(Conflict, match="no decision to approve"):
        bed.experiments.approve("churn", "blue", ME)
    bed.captured.values = BETTER
    view = bed.look()
    assert (view.state, view.decision) == ("running", "promote")
    assert ": 'tidegate experiment approve churn --name blue' promotes treatment" in view.next
    assert bed.endpoint().target == {"1": 50.0, "2": 50.0}
    done = bed.experiments.approve("churn", "blue", ME)
    assert (done.state, done.decision) == ("decided", "promote")
    assert bed.endpoint().asked == {"2": 100.0}
    assert bed.history()[0][2].startswith("approved by me: ")
    audited = [entry.action for entry in bed.container.audit.page(10).entries]
    assert audited[:2] == ["experiment_approve", "promote"]


def test_a_promotion_that_waits_says_since_when_and_is_approved_on_a_fresh_look_alone(bed: Bed) -> None:
    bed.create()
    bed.captured.values = BETTER
    first = bed.look().next
    assert "ready for review since 2023-11-14T22:14:20Z" in first
    assert bed.look().next == first, "since the first look that came to it"
    bed.now += 1000.0
    with pytest.raises(Conflict, match="was last looked at 17 minutes ago"):
        bed.experiments.approve("churn", "blue", ME)
    bed.captured.values = EQUAL
    assert bed.look().decision == "continue", "it is ready for as long as it is so"
    bed.captured.values = BETTER
    assert "since 2023-11-14T22:14:20Z" not in bed.look().next
    assert bed.experiments.approve("churn", "blue", ME).state == "decided"


def test_a_worse_version_is_rolled_back_whether_or_not_promotions_are_automatic(bed: Bed) -> None:
    bed.create()
    bed.captured.values = WORSE
    view = bed.look()
    assert (view.state, view.decision) == ("decided", "rollback")
    assert bed.endpoint().target == {"1": 100.0}
    action, actor, note = bed.history()[0]
    assert (action, actor) == ("rollback", "experiment blue")
    assert "worse" in note
    with bed.container.store.reading() as tx:
        assert rollouts.counts(tx) == {("churn", "experiment", "rolled_back"): 1}


def test_a_breached_guardrail_rolls_back_and_is_measured_until_then(bed: Bed) -> None:
    bed.create(guardrails=["errors:margin=abs:0.02"])
    bed.captured.values = EQUAL | {"guardrail:errors": [(50, 10_000), (40, 10_000)]}
    view = bed.look()
    assert (view.state, [one.state for one in view.guardrails]) == ("running", ["ok"])
    with bed.container.store.reading() as tx:
        (figure,) = rollouts.guardrails(tx)
    assert (figure.endpoint, figure.variant, figure.guardrail, figure.margin) == ("churn", "treatment", "errors", 0.02)
    bed.captured.values = EQUAL | {"guardrail:errors": [(50, 10_000), (900, 10_000)]}
    view = bed.look()
    assert (view.decision, view.guardrails[0].state) == ("rollback", "breached")
    assert bed.endpoint().automation is None
    with bed.container.store.reading() as tx:
        assert rollouts.guardrails(tx) == []


def test_without_a_result_it_ends_and_gives_control_all_traffic(bed: Bed) -> None:
    bed.create(max_days=2)
    bed.captured.values = EQUAL
    bed.look()
    bed.look(DAY_S - 10)
    assert bed.view().active
    bed.captured.values = {"converted": [(1001, 10_010), (1001, 10_010)]}
    bed.look(DAY_S - 10)
    view = bed.look(30)
    assert (view.state, view.decision) == ("decided", "inconclusive")
    assert "2 days" in view.reason
    assert bed.endpoint().target == {"1": 100.0}


# -- what people do ---------------------------------------------------------------------------------------------------


def test_a_draft_starts_when_it_is_told_to(bed: Bed) -> None:
    view = bed.create(start=False)
    assert (view.state, view.active, view.phase) == ("draft", False, None)
    assert bed.endpoint().automation is None
    assert bed.experiments.start("churn", "blue", ME).active
    with pytest.raises(Conflict, match="runs already"):
        bed.experiments.start("churn", "blue", ME)
    assert bed.endpoint().automation is not None


def test_a_pause_gives_everybody_control_and_no_time_passes(bed: Bed) -> None:
    bed.create(max_days=1)
    bed.captured.values = EQUAL
    bed.look()
    paused = bed.experiments.pause("churn", "blue", ME)
    assert (paused.state, paused.active) == ("paused", True)
    assert bed.endpoint().target == {"1": 100.0}
    with pytest.raises(AutomationRunning):
        bed.container.endpoints.set_traffic("churn", TrafficRequest({"3": 100.0}), ME)
    with pytest.raises(InUse):
        bed.container.models.delete_version("churn", "2", ME)
    assert bed.look(2 * DAY_S).state == "paused"
    resumed = bed.experiments.resume("churn", "blue", ME)
    assert (resumed.phase, [one.phase for one in resumed.phases]) == (2, [1, 2])
    assert bed.endpoint().target == {"1": 50.0, "2": 50.0}
    view = bed.look()
    assert (view.state, view.days_left) != ("decided", 0.0)
    assert [one.phase for one in bed.captured.asked[-1]] == [1, 2]


def test_a_long_pause_shortens_what_its_rows_are_not_kept_for(bed: Bed) -> None:
    bed.create(max_days=29)
    bed.captured.values = EQUAL
    bed.look()
    bed.look(600)
    bed.experiments.pause("churn", "blue", ME)
    bed.now += 600
    assert (bed.experiments.resume("churn", "blue", ME).max_days, bed.view().warnings) == (29.0, [])
    bed.experiments.pause("churn", "blue", ME)
    bed.now += 10 * DAY_S
    resumed = bed.experiments.resume("churn", "blue", ME)
    assert resumed.max_days == pytest.approx(19, abs=0.05)
    assert resumed.warnings[0].startswith("it may run for 19 days in all: it was paused")
    asked = ExperimentRequest("1", ["2"], ["converted:increase:proportion,window=1d"], "blue", max_days=29)
    with bed.container.store.reading() as tx:
        (row,) = rows.live(tx)
        decisions._bring_to(tx, bed.experiments, row, asked, ME)  # a file that asks for it stays as it is
    bed.experiments.pause("churn", "blue", ME)
    bed.now += 20 * DAY_S
    with pytest.raises(Conflict, match=r"not kept for long enough.*--retain"):
        bed.experiments.resume("churn", "blue", ME)
    bed.container.capture_rules.set("churn", CaptureSettingsRequest(retain_s=90 * DAY_S), ME)
    assert bed.experiments.resume("churn", "blue", ME).active


def test_what_was_to_be_approved_before_a_pause_is_looked_at_again_first(bed: Bed) -> None:
    bed.create()
    bed.captured.values = BETTER
    assert bed.look().decision == "promote"
    bed.experiments.pause("churn", "blue", ME)
    bed.experiments.resume("churn", "blue", ME)
    with pytest.raises(Conflict, match="no decision to approve"):
        bed.experiments.approve("churn", "blue", ME)
    bed.look()
    assert bed.experiments.approve("churn", "blue", ME).state == "decided"


def test_an_experiment_that_cannot_be_looked_at_is_not_approved(bed: Bed) -> None:
    bed.create()
    bed.captured.values = BETTER
    bed.look()
    whole = bed.deciding
    bed.deciding = replace(whole, judging=replace(whole.judging, gather=_unreadable))
    bed.look()
    with pytest.raises(Conflict, match=r"could not be looked at lately \(a file of captured rows is damaged\)"):
        bed.experiments.approve("churn", "blue", ME)
    bed.deciding = whole
    bed.look()
    assert bed.experiments.approve("churn", "blue", ME).state == "decided"


def _unreadable(*_: object) -> Any:
    raise CaptureUnreadable("a file of captured rows is damaged")


def test_units_whose_rows_are_gone_hold_it(bed: Bed) -> None:
    bed.create(auto=True, max_days=2)
    bed.captured.values = EQUAL
    assert bed.look().decision == "continue"
    bed.captured.values = {"converted": [(999, 9_990), (999, 9_999)]}
    assert bed.look().decision == "continue", "a few were forgotten because they asked for it"
    bed.captured.values = {"converted": [(300, 6_000), (900, 6_000)]}
    view = bed.look()
    assert (view.decision, view.active) == ("hold", True)
    assert "rows of 8000 units that took part are gone" in view.reason
    bed.look(DAY_S)
    assert bed.look(DAY_S).decision == "inconclusive", "it ends all the same"


def test_a_stop_gives_control_all_traffic_and_says_who_stopped_it(bed: Bed) -> None:
    bed.create()
    view = bed.experiments.stop("churn", "blue", ME)
    assert (view.state, view.reason) == ("stopped", "me stopped it")
    assert bed.endpoint().target == {"1": 100.0}
    assert bed.history()[0] == ("experiment", "experiment blue", "stopped by me")
    assert bed.look().state == "stopped"
    with pytest.raises(Conflict, match=r"has ended \(stopped\)"):
        bed.experiments.resume("churn", "blue", ME)
    with pytest.raises(UnknownExperiment, match="there is blue"):
        bed.experiments.stop("churn", "green", ME)


def test_several_are_listed_newest_first_and_get_names_of_their_own(bed: Bed) -> None:
    names = [bed.create(name=None, start=False).name for _ in range(2)]
    assert names == ["v1-vs-v2", "v1-vs-v2-2"]
    assert [one.name for one in bed.experiments.all("churn").experiments] == names[::-1]
    with pytest.raises(Conflict, match="already: give this one another name"):
        bed.create(name="v1-vs-v2")


# -- a ramp -----------------------------------------------------------------------------------------------------------


def test_a_ramp_raises_the_coverage_step_by_step_each_a_phase(bed: Bed) -> None:
    bed.create(ramp=[10, 50, 100], ramp_every_s=3600)
    assert bed.endpoint().target == {"1": 95.0, "2": 5.0}
    bed.captured.values = {"converted": [(10, 100), (10, 100)]}
    assert bed.look().phase == 1
    assert bed.look(3500).phase == 1, "not before its time"
    view = bed.look(200)
    assert (view.phase, [one.coverage for one in view.phases]) == (2, [0.1, 0.5])
    assert bed.endpoint().target == {"1": 75.0, "2": 25.0}
    assert "phase 2, 50 % of the units take part" in bed.history()[0][2]
    bed.look(3500)
    assert bed.look(200).phase == 3
    assert bed.look(7200).phase == 3, "it ends with its last step"


def test_a_ramp_goes_on_past_a_breach_that_is_only_to_alert_and_nothing_is_promoted(bed: Bed) -> None:
    bed.create(ramp=[10, 100], ramp_every_s=3600, guardrails=["errors:margin=abs:0.02"], on_breach="alert", auto=True)
    bed.captured.values = BETTER | {"guardrail:errors": [(50, 10_000), (900, 10_000)]}
    assert bed.look().phase == 1
    bed.captured.newest_at = bed.now
    view = bed.look(3700)
    assert (view.state, view.decision, view.phase) == ("running", "continue", 2)
    assert "errors" in view.reason


def test_a_split_of_a_draft_may_be_changed_and_one_that_was_started_stays(bed: Bed) -> None:
    bed.create(start=False)
    view = bed.experiments.set_split("churn", "blue", [80, 20], ME)
    assert [arm.share for arm in view.arms] == [80.0, 20.0]
    newest = bed.container.audit.page(1).entries[0]
    assert newest.action == "experiment_split"
    with pytest.raises(InvalidArgument, match="does not add up to 100"):
        bed.experiments.set_split("churn", "blue", [80, 30], ME)
    bed.experiments.start("churn", "blue", ME)
    assert bed.endpoint().target == {"1": 80.0, "2": 20.0}
    with pytest.raises(Conflict, match="its split stays as it began"):
        bed.experiments.set_split("churn", "blue", [50, 50], ME)


def test_units_that_come_again_are_traffic(bed: Bed) -> None:
    """A few users who took part within the first hour, and go on sending requests."""
    bed.create(on_no_traffic="abort")
    bed.captured.values = {"converted": [(10, 60), (10, 60)]}
    bed.look()
    for _ in range(3):
        bed.captured.newest_at = bed.now
        view = bed.look(QUIET_S - 60)
        assert view.state == "running"
    assert bed.look(60).state == "running"
    assert bed.look(QUIET_S).state == "stopped"


def test_a_margin_that_is_a_share_of_no_errors_is_warned_of(bed: Bed) -> None:
    view = bed.create(guardrails=["errors:margin=10%"], start=False)
    assert any("errors:margin=abs:0.01" in one for one in view.warnings)
    assert not bed.create(guardrails=["errors:margin=abs:0.02"], name="green", start=False).warnings


def test_no_data_never_advances_and_never_fails(bed: Bed) -> None:
    bed.create(ramp=[10, 100], ramp_every_s=60)
    for _ in range(5):
        view = bed.look(3600)
    assert (view.phase, view.decision, view.state) == (1, "insufficient_data", "waiting_for_traffic")
    bed.captured.values = {"converted": [(0, 40), (0, 0)]}
    assert bed.look(60).phase == 1, "one arm has none"


def test_a_mismatch_of_the_ratio_holds_and_goes_no_step_further(bed: Bed) -> None:
    bed.create(ramp=[10, 100], ramp_every_s=60)
    bed.captured.values = BETTER
    bed.captured.shares = [13_000, 9_000]
    view = bed.look(120)
    assert (view.decision, view.phase, view.state) == ("hold", 1, "running")
    assert "unhealthy: ratio" in view.reason
    with pytest.raises(Conflict, match="held by what it finds"):
        bed.experiments.resume("churn", "blue", ME)
    assert bed.endpoint().automation is not None


def test_an_experiment_that_nobody_takes_part_in_waits_or_ends_as_was_asked(bed: Bed) -> None:
    bed.create()
    bed.create(name="green", start=False, on_no_traffic="abort")
    bed.captured.values = {"converted": [(10, 60), (10, 60)]}
    bed.look()
    assert bed.view().state == "running"
    bed.look()
    assert bed.look(QUIET_S).state == "waiting_for_traffic"
    bed.experiments.stop("churn", "blue", ME)
    bed.experiments.start("churn", "green", ME)
    bed.captured.values = {}
    bed.look()
    bed.look(QUIET_S + 1)
    view = bed.view("green")
    assert (view.state, "--on-no-traffic abort" in view.reason) == ("stopped", True)
    assert bed.endpoint().target == {"1": 100.0}


# -- bad input, and what goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"treatments": []}, "name a treatment"),
        ({"treatments": ["2"] * 8}, "up to 8 arms"),
        ({"metrics": []}, "name a metric"),
        ({"metrics": ["converted"]}, "which way is better"),
        ({"metrics": ["a:increase", "a:decrease"]}, "a is among the metrics twice"),
        ({"guardrails": ["errors"]}, "none of max=X, min=X and margin=X"),
        ({"guardrails": ["errors:max=1", "errors:max=2"]}, "twice"),
        ({"guardrails": ["errors:max=1,window=1h", "errors:margin=0.1"]}, "measure it in two ways"),
        ({"split": [50.0]}, "has 1 parts, and there are 2 arms"),
        ({"split": [60.0, 50.0]}, "60/50 does not add up to 100"),
        ({"split": [100.0, 0.0]}, "above 0"),
        ({"split": [105.0, -5.0]}, "above 0"),
        ({"split": [1e308, 1e308]}, "does not add up to 100"),
        ({"alpha": 1e-320}, "alpha must be at least 0.000001"),
        ({"mde": "1e-300"}, "mde must be at least 0.000001"),
        ({"mde": "tiny"}, "no number"),
        ({"alpha": 0.9}, "alpha is"),
        ({"max_days": 0.0}, "max_days is"),
        ({"max_days": 30.0}, "are kept for 30d.*set --max-days 29"),
        ({"ramp": [50.0, 10.0]}, "each higher than the one before"),
        ({"ramp_every_s": float("nan")}, "ramp_every_s"),
        ({"name": "Not A Name"}, "experiment name"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_words(bed: Bed, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        bed.create(**given)
    assert bed.experiments.all("churn").experiments == []


def test_the_days_fit_what_is_kept_where_nobody_says_how_many(bed: Bed) -> None:
    assert bed.create(start=False).max_days == 29.0
    assert bed.create(start=False, name="green", metrics=["x:increase"]).max_days == 30.0


def test_an_experiment_needs_versions_that_are_there_and_are_used_alike(bed: Bed) -> None:
    with pytest.raises(UnknownVersion):
        bed.create(treatments=["9"])
    other = Signature("matrix", (TensorSpec("input", "FP64", (-1, 5)),), SIGNATURE.outputs)
    add_version(bed.container, "churn", "4", signature=other)
    with pytest.raises(SignatureChanged, match="version 4 of 'churn' is not used as version 1 is"):
        bed.create(treatments=["4"])
    assert bed.create(treatments=["4"], accept_signature_change=True).active


def test_an_experiment_needs_what_is_captured(bed: Bed) -> None:
    rules = bed.container.capture_rules
    rules.set("churn", CaptureSettingsRequest(sample=0.5), ME)
    assert "50% of the requests are captured" in bed.create(start=False).warnings[0]
    rules.set("churn", CaptureSettingsRequest(sample=0.0), ME)
    with pytest.raises(InvalidArgument, match="nothing is captured of endpoint 'churn'"):
        bed.create(name="green")
    with pytest.raises(InvalidArgument, match="nothing is captured"):
        bed.experiments.start("churn", "blue", ME)


def test_one_automation_at_a_time_on_an_endpoint(bed: Bed) -> None:
    bed.create()
    with pytest.raises(AutomationRunning, match="experiment 'blue' sets the traffic"):
        bed.create(name="green", treatments=["3"])
    assert [one.name for one in bed.experiments.all("churn").experiments] == ["blue"], "nothing is left of it"


def test_control_is_what_the_endpoint_serves(bed: Bed) -> None:
    with pytest.raises(Conflict, match="serves 1=100: give its control all traffic first"):
        bed.create(control="3")


def test_a_change_of_traffic_by_a_person_needs_their_word_and_ends_it(bed: Bed) -> None:
    bed.create()
    request = TrafficRequest({"1": 80.0, "3": 20.0})
    with pytest.raises(AutomationRunning):
        bed.container.endpoints.set_traffic("churn", request, ME)
    bed.captured.values = BETTER
    bed.container.endpoints.set_traffic("churn", TrafficRequest(request.traffic, end_automation=True), ME)
    assert bed.view().state == "stopped", "at once, whoever looks first"
    view = bed.look()
    assert (view.state, view.reason) == ("stopped", "me ended it with a change of traffic (traffic)")
    assert bed.endpoint().asked == {"1": 80.0, "3": 20.0}
    with pytest.raises(Conflict, match="has ended"):
        bed.experiments.resume("churn", "blue", ME)


def test_a_rollback_by_a_person_returns_to_stable_and_ends_it(bed: Bed) -> None:
    bed.create()
    bed.container.endpoints.rollback("churn", RollbackRequest(), ME)
    assert bed.look().reason == "me ended it with a change of traffic (rollback)"
    assert bed.endpoint().target == {"1": 100.0}
    assert bed.create(name="green").active, "and another can begin"


def test_an_endpoint_that_is_deleted_ends_it(bed: Bed) -> None:
    bed.create()
    bed.container.endpoints.delete("churn", ME)
    view = bed.look()
    assert (view.state, view.reason) == ("stopped", "me deleted the endpoint while it ran")
    with bed.container.store.transaction() as tx:
        tx.delete(get_endpoint(tx, "churn"))
    bed.deciding.forget_gone()
    bed.container.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    assert bed.experiments.all("churn").experiments == [], "another endpoint of that name has none"


def test_an_endpoint_that_is_deleted_leaves_no_challenger(bed: Bed) -> None:
    bed.create()
    with bed.container.store.reading() as tx:
        tried = kept_aliases.get(tx, "churn", CHALLENGER)
        assert tried is not None
        assert tried.version == "2"
    bed.container.endpoints.delete("churn", ME)
    with bed.container.store.reading() as tx:
        tried = kept_aliases.get(tx, "churn", CHALLENGER)
        assert tried is not None
        assert (tried.version, tried.pending) == ("", True)


def test_a_version_in_use_is_not_deleted_and_a_draft_without_its_version_does_not_start(bed: Bed) -> None:
    bed.create(start=False, name="green", treatments=["3"])
    bed.container.models.delete_version("churn", "3", ME)
    with pytest.raises(Conflict, match="version 3 of 'churn' has been deleted"):
        bed.experiments.start("churn", "green", ME)
    bed.create()
    with pytest.raises(InUse):
        bed.container.models.delete_version("churn", "2", ME)


def test_an_arm_that_is_not_ready_is_told(bed: Bed) -> None:
    view = bed.create()
    assert view.state == "waiting_for_traffic"
    assert "treatment is not ready: version 2 is not started yet" in view.reason
    assert view.next == "units take part once replicas of all arms are ready"
    with bed.container.store.transaction() as tx:
        tx.add(VariantRow(endpoint="churn", version="2", status="ready", crashes=[]))
    assert "treatment is not routed yet: version 2 is ready" in bed.view().reason


def test_a_metric_that_nobody_reports_is_told(bed: Bed) -> None:
    bed.create()
    bed.captured.values = {"converted": [(0, 500), (0, 500)]}
    view = bed.look()
    assert any("no value of 'converted' has come for any of 1000 units" in one for one in view.warnings)


def test_a_mean_that_nobody_reports_is_told_when_windows_have_passed(bed: Bed) -> None:
    bed.create(metrics=["spent:increase,window=1h"])
    bed.captured.values = {"spent": [(0, 0), (0, 0)]}
    bed.captured.shares = [500, 500]
    view = bed.look()
    assert view.reason == "nobody has reported spent yet"
    assert any("no value of 'spent' has come for any of 1000 units" in one for one in view.warnings)


def test_one_whose_row_cannot_be_read_is_told_and_leaves_the_others_alone(bed: Bed) -> None:
    bed.create()
    with bed.container.store.transaction() as tx:
        (row,) = rows.live(tx)
        row.spec = {"arms": "of another release"}
        number = row.id
    bed.deciding.note_trouble(number, "its row cannot be read")
    with bed.container.store.reading() as tx:
        assert rows.live(tx)[0].trouble == "its row cannot be read"


def test_what_cannot_be_read_is_told_and_decides_nothing(bed: Bed) -> None:
    bed.create(auto=True)

    broken = replace(bed.deciding.judging, gather=_unreadable)
    bed.deciding, whole = replace(bed.deciding, judging=broken), bed.deciding
    view = bed.look()
    assert (view.state, view.active) == ("waiting_for_traffic", True)
    assert view.warnings == ["it could not be looked at lately: a file of captured rows is damaged"]
    bed.deciding = whole
    bed.captured.values = BETTER
    assert bed.look().decision == "promote"


def test_a_look_that_began_before_a_persons_word_is_dropped(bed: Bed) -> None:
    bed.create(auto=True)
    bed.captured.values = BETTER
    gather = bed.captured.gather

    def slowly(*given: Any) -> Any:
        bed.experiments.pause("churn", "blue", ME)
        return gather(*given)

    slow = replace(bed.deciding, judging=replace(bed.deciding.judging, gather=slowly))
    bed.deciding, whole = slow, bed.deciding
    assert bed.look().state == "paused"
    assert bed.endpoint().asked == {"1": 100.0}
    bed.deciding = whole
    bed.experiments.resume("churn", "blue", ME)
    assert bed.look().decision == "promote"


def test_who_does_not_lead_decides_nothing(bed: Bed) -> None:
    bed.create(auto=True)
    bed.captured.values = BETTER
    lead_elsewhere(bed.container, "http://other:8800")
    with pytest.raises(NotLeader):
        bed.look()
    assert (bed.view().active, bed.endpoint().asked) == (True, {"1": 100.0})
    assert bed.experiments.looks("churn", "blue") == []


def test_a_clock_that_is_set_moves_neither_steps_nor_the_end(bed: Bed) -> None:
    bed.create(max_days=29, ramp=[10, 100], ramp_every_s=3 * DAY_S)
    bed.captured.values = {"converted": [(1000, 10_000), (1000, 10_000)]}
    bed.look()
    bed.look(365 * DAY_S)
    assert (bed.view().active, bed.view().phase) == (True, 1)
    bed.look(-400 * DAY_S)
    assert (bed.view().active, bed.view().phase) == (True, 1)


def test_looks_are_bounded_and_the_newest_stay(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LOOKS_MAX", 8)
    bed.create()
    bed.captured.values = {"converted": [(10, 120), (10, 120)]}
    times = []
    for _ in range(30):
        bed.look()
        times.append(bed.now)
    kept = [one.at for one in bed.experiments.looks("churn", "blue")]
    assert len(kept) <= 8
    assert kept[-4:] == times[-4:]
    assert kept[0] == times[0]


def test_a_scrape_has_guardrails_and_how_many_ended_how(bed: Bed) -> None:
    bed.create(guardrails=["errors:margin=abs:0.02", "latency_p95:margin=0.1"])
    bed.captured.values = EQUAL | {"guardrail:errors": [(50, 10_000), (40, 10_000)]}
    bed.look()
    scraped = render(bed.container.measures.get()).decode()
    place = '{endpoint="churn",guardrail="errors",variant="treatment"}'
    assert f"tidegate_guardrail_margin{place} 0.02" in scraped
    assert f"tidegate_guardrail_value{place} -0.001" in scraped
    assert f"tidegate_guardrail_bound{place} " in scraped
    assert 'guardrail="latency_p95",variant="treatment"} 0.1' in scraped, "its margin is known, and nothing else"
    assert 'tidegate_guardrail_value{endpoint="churn",guardrail="latency_p95"' not in scraped
    bed.experiments.stop("churn", "blue", ME)
    scraped = render(bed.container.measures.get()).decode()
    assert 'tidegate_rollouts_total{endpoint="churn",kind="experiment",outcome="stopped"} 1.0' in scraped
    assert "tidegate_guardrail_value{" not in scraped


# -- who is told ------------------------------------------------------------------------------------------------------


def test_a_breach_is_told_where_it_is_only_to_alert(bed: Bed) -> None:
    bed.create(guardrails=["errors:margin=abs:0.02"], on_breach="alert")
    bed.captured.values = EQUAL | {"guardrail:errors": [(50, 10_000), (900, 10_000)]}
    view = bed.look()
    assert (view.active, view.decision) == (True, "continue")
    assert bed.alerts() == [("firing", "experiment 'blue' goes on; past its margin: errors")]
    bed.experiments.stop("churn", "blue", ME)
    bed.container.alerts.state.tick()
    assert bed.endpoint().target == {"1": 100.0}


def test_what_waits_for_a_person_is_told_until_somebody_sees_to_it(bed: Bed) -> None:
    bed.create()
    bed.captured.values = BETTER
    bed.look()
    ((state, message),) = bed.alerts()
    assert (state, message.startswith("experiment 'blue' waits for approval: ")) == ("firing", True)
    bed.experiments.approve("churn", "blue", ME)
    with bed.container.store.transaction() as tx:
        bed.container.alerts.state.told(tx, "churn", [], bed.now + 901)
    assert bed.alerts()[0][0] == "resolved"


def test_an_end_that_the_loop_decided_on_is_told(bed: Bed) -> None:
    bed.create()
    bed.captured.values = WORSE
    bed.look()
    ((state, message),) = bed.alerts()
    assert (state, message.startswith("experiment 'blue' was rolled back: ")) == ("firing", True)


# -- crashes ----------------------------------------------------------------------------------------------------------


def test_a_control_plane_that_dies_in_a_promotion_has_done_nothing_and_its_successor_does_it(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.create(auto=True)
    bed.captured.values = BETTER

    def dies(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(rollouts, "count", dies)
        with pytest.raises(RuntimeError, match="killed"):
            bed.look()
    assert (bed.view().active, bed.endpoint().asked, bed.view().looked_at) == (True, {"1": 100.0}, None)
    assert bed.endpoint().target == {"1": 50.0, "2": 50.0}
    bed.deciding = replace(bed.deciding)
    assert bed.look().decision == "promote"
    assert bed.endpoint().asked == {"2": 100.0}


def test_what_a_look_found_outlives_the_control_plane(bed: Bed) -> None:
    bed.create(mde="5%")
    bed.captured.values = {"converted": [(1000, 10_000), (1120, 10_000)]}
    before = bed.look().p_value
    bed.deciding = replace(bed.deciding)
    bed.captured.values = {"converted": [(2000, 20_000), (2000, 20_000)]}
    after = bed.look()
    assert before is not None
    assert after.p_value is not None
    assert after.p_value <= before, "evidence that there was is not forgotten"
