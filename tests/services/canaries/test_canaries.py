"""Canaries and guards on a real store, with captured requests and gateways' counts that the tests make up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.control import ME, add_version, container_at
from tidegate.core.captured import Columns
from tidegate.errors import AutomationRunning, CaptureUnreadable, Conflict, InvalidArgument, NotLeader, UnknownCanary
from tidegate.loops.canary import IDLE_S, LOOK_S, CanarySteps
from tidegate.services.canaries.guarding import GuardLooks
from tidegate.services.canaries.looking import CanaryLooks
from tidegate.services.canaries.use_cases import Canaries
from tidegate.services.endpoints.guards import Guarding
from tidegate.services.experiments.deciding import Deciding
from tidegate.store import canaries as canary_rows
from tidegate.store import rollouts
from tidegate.store.automation import effective_of
from tidegate.store.endpoints import get_endpoint
from tidegate.store.tables import FailedReplicaRow, VariantRow
from tidegate.wire.canary import CanaryRequest, CanaryView
from tidegate.wire.capture import CaptureSettingsRequest
from tidegate.wire.parts import AnsweredView
from tidegate.wire.rest import DeployRequest, RollbackRequest, TrafficRequest
from tidegate.wiring import Container

EVERY_S = 600.0
NAN = float("nan")


@dataclass
class Requests:
    """What gateways recorded: so many requests of each side a second, from a moment on."""

    at: float
    each: int = 0
    failing: int = 0
    code: int = 500
    slower: float = 1.0
    answer: float = 0.5
    trouble: str = ""

    def rows(
        self,
        table: str,
        _endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> Columns:
        assert version is None
        if self.trouble:
            raise CaptureUnreadable(self.trouble)
        made = self._answered() if table == "predictions" else self._failed()
        kept = (made["at"] >= since_s) & (made["at"] < until_s)
        return {name: made[name][kept] for name in columns or made}

    def labelled(self, *_asked: Any) -> Columns:
        raise NotImplementedError

    def _answered(self) -> Columns:
        draw = np.random.default_rng(1)
        sides = [("baseline", "1", self.each), ("canary", "2", self.each - self.failing)]
        variant = np.array([name for name, _, rows in sides for _ in range(rows)], dtype=object)
        rows = variant.size
        answers = draw.integers(0, 10, rows).astype(np.float64)
        if self.answer != self.answer or self.answer != 0.5:
            answers[variant == "canary"] = self.answer
        durations = draw.lognormal(1, 0.2, rows) * np.where(variant == "canary", self.slower, 1.0)
        return self._with(
            variant,
            {"row": np.zeros(rows, dtype=np.int64), "duration_ms": durations, "output_prediction": answers},
        ) | {"cached": np.zeros(rows, dtype=bool), "sample_rate": np.ones(rows)}

    def _failed(self) -> Columns:
        variant = np.array(["canary"] * self.failing, dtype=object)
        codes = np.full(self.failing, self.code)
        ones = np.ones(self.failing, dtype=np.int64)
        return self._with(variant, {"code": codes, "calls": ones, "duration_ms": np.full(self.failing, 2.0)})

    def _with(self, variant: Any, more: Columns) -> Columns:
        rows = variant.size
        keys = np.array([f"u{n}" for n in range(rows)], dtype=object)
        return {
            "variant": variant,
            "version": np.where(variant == "canary", "2", "1").astype(object),
            "at": np.full(rows, self.at),
            "pinned": np.zeros(rows, dtype=bool),
            "key": keys,
            **more,
        }


@dataclass
class Bed:
    """A platform that leads, its clock, and what the loop would do."""

    container: Container
    now: float = 1000.0
    captured: Requests = field(default_factory=lambda: Requests(1000.0))
    counts: AnsweredView | None = None

    def __post_init__(self) -> None:
        self.fenced = self.container.store.fenced(self.container.leadership.fence)
        guarding = Guarding(600.0, lambda _endpoint, _version: None)
        self.endpoints = replace(self.container.endpoints, guarding=guarding, clock=self.clock)
        self.canaries = Canaries(self.container.store, self.container.registry, self.clock, lambda: None)
        self.restart()

    def restart(self) -> None:
        """A control plane that has just begun to lead: it knows what the store has."""
        looks = CanaryLooks(self.fenced, self.captured, lambda *_: None, self.clock, lambda: None)
        guards = GuardLooks(self.fenced, lambda *_: self.counts, self.clock, lambda: None)
        self.steps = CanarySteps(self.fenced, looks, guards, self.clock)

    def clock(self) -> float:
        return self.now

    def begin(self, *steps: float, **more: Any) -> CanaryView:
        request = CanaryRequest(version="2", steps=list(steps or (5.0, 50.0, 100.0)), every_s=EVERY_S, **more)
        return self.canaries.begin("churn", request, ME)

    def routed(self) -> None:
        """The reconcile loop has brought to gateways what is in effect."""
        with self.container.store.transaction() as tx:
            row = get_endpoint(tx, "churn")
            assert row is not None
            now = effective_of(row)
            row.routed, row.routed_split = dict(now.traffic), {} if now.split is None else asdict(now.split)

    def look(self, after_s: float = 10.0) -> CanaryView:
        self.now += after_s
        self.steps.step()
        return self.canaries.get("churn")

    def step(self, **requests: Any) -> CanaryView:
        """A step's weights are routed, requests come, and its time passes."""
        self.routed()
        self.look()
        self.captured.__dict__.update({"at": self.now + EVERY_S, "each": 2000, **requests})
        return self.look(EVERY_S + 5.0)

    @property
    def traffic(self) -> dict[str, float]:
        return self.container.endpoints.get("churn").target

    @property
    def asked(self) -> dict[str, float] | None:
        return self.container.endpoints.get("churn").asked


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    container = container_at(tmp_path / "data")
    for number in ("1", "2", "3"):
        add_version(container, "churn", number)
    made = Bed(container)
    made.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    made.routed()
    yield made
    container.close()


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


# -- the guard ---------------------------------------------------------------------------------------------------------


def _deployed(bed: Bed, **more: Any) -> None:
    bed.endpoints.deploy("churn", DeployRequest("churn", "2", **more), ME)
    bed.routed()


def test_a_deployment_that_fails_goes_back_to_stable(bed: Bed) -> None:
    _deployed(bed)
    assert bed.canaries.get("churn").kind == "guard"
    bed.counts = AnsweredView(60.0, 5, 5, 0, 0)
    found = bed.look()
    assert (found.state, bed.asked) == ("aborted", {"1": 100.0})
    assert found.reason.startswith("5 of 5 requests failed or timed out (5 with 500, 0 timed out)")
    newest = bed.container.endpoints.history("churn")[0]
    assert (newest.action, newest.actor, newest.restores) == ("rollback", "guard", 1)


def test_a_guard_ends_in_silence(bed: Bed) -> None:
    _deployed(bed)
    bed.counts = AnsweredView(60.0, 500, 0, 0, 0)
    bed.look()
    assert bed.canaries.get("churn").state == "running"
    bed.now += 700.0
    bed.steps.step()
    with pytest.raises(UnknownCanary):
        bed.canaries.get("churn")
    assert bed.asked == {"2": 100.0}


def test_people_who_change_the_traffic_end_it(bed: Bed) -> None:
    _deployed(bed)
    bed.look()
    bed.endpoints.set_traffic("churn", TrafficRequest({"2": 90, "3": 10}), ME)
    bed.counts = AnsweredView(60.0, 50, 50, 0, 0)
    bed.now += 10.0
    bed.steps.step()
    assert bed.asked == {"2": 90.0, "3": 10.0}


def test_the_same_deployment_again_leaves_its_guard(bed: Bed) -> None:
    _deployed(bed)
    bed.look()
    _deployed(bed)
    bed.counts = AnsweredView(60.0, 50, 50, 0, 0)
    found = bed.look()
    assert (found.state, bed.asked) == ("aborted", {"1": 100.0})


def test_there_is_no_guard_where_it_is_not_wanted_or_nothing_was_before(bed: Bed) -> None:
    with pytest.raises(UnknownCanary):
        bed.canaries.get("churn")
    _deployed(bed, guard=False)
    with pytest.raises(UnknownCanary):
        bed.canaries.get("churn")


def test_a_fault_of_the_platform_is_no_fault_of_the_version(bed: Bed) -> None:
    """No gateway reports; replicas were killed from outside, as an engine does that goes away."""
    _deployed(bed)
    bed.look()
    with bed.container.store.transaction() as tx:
        for place in range(3):
            about: dict[str, Any] = {"at": bed.now, "kind": "crash", "backend": "local", "handle": {}, "log": []}
            tx.add(FailedReplicaRow(replica=f"r{place}", endpoint="churn", version="2", exit_code=-9, **about))
    assert bed.look().state == "running"
    assert bed.asked == {"2": 100.0}


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
