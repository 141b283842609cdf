"""What the reconciler may rely on of an engine that places replicas itself, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from support.wait import until
from support.workload_subjects import WorkloadSubject
from tidegate.core.ports import Handle
from tidegate.core.reconcile.failures import ERROR_PREFIX
from tidegate.core.routing.targets import address_of
from tidegate.core.workloads import Instance, WorkloadKey, Workloads, WorkloadSpec, WorkloadState
from tidegate.errors import EngineUnavailable, InvalidArgument, NotLeader

LONG_S = 60.0
"""For what takes a real process, or several, on a machine that does much else."""


def state_of(workloads: Workloads, key: WorkloadKey) -> WorkloadState | None:
    return next((state for state in workloads.observe() if state.key == key), None)


def instances_of(workloads: Workloads, key: WorkloadKey) -> Sequence[Instance]:
    state = state_of(workloads, key)
    return () if state is None else state.instances


def ready_of(workloads: Workloads, key: WorkloadKey) -> list[Instance]:
    return [one for one in instances_of(workloads, key) if one.seen.ready and not one.terminating]


def wait(condition: Callable[[], object], what: str) -> None:
    until(condition, timeout_s=LONG_S, what=what)


def running(workloads: Workloads, spec: WorkloadSpec, count: int) -> list[Instance]:
    """The ready instances, once there are so many of them and no others."""
    wait(
        lambda: len(ready_of(workloads, spec.key)) == len(instances_of(workloads, spec.key)) == count,
        f"{count} ready instances",
    )
    return ready_of(workloads, spec.key)


def gone(workloads: Workloads, key: WorkloadKey) -> None:
    wait(lambda: state_of(workloads, key) is None, "the workload's end")


def sentence_of(workloads: Workloads, key: WorkloadKey) -> str:
    """All that the engine says of what is wrong."""
    state = state_of(workloads, key)
    if state is None:
        return ""
    lines = (line for one in state.instances for line in (one.waits, *one.seen.log_tail))
    return " ".join((state.problem, *lines)).strip()


def expected(subject: WorkloadSubject, count: int) -> int:
    """How many instances so many replicas show as."""
    return min(count, 1) if subject.pooled else count


def test_an_engine_without_anything_shows_nothing_and_deleting_that_is_no_error(
    workloads: Workloads, subject: WorkloadSubject
) -> None:
    spec = subject.good()
    workloads.check(spec.key.placement)
    assert list(workloads.observe()) == []
    assert workloads.unavailable_reason() is None
    workloads.delete(spec.key, spec.token)
    assert workloads.logs(Handle(subject.name, {"replica": "nobody"}), 10) == []


def test_what_is_asked_for_runs_answers_predictions_and_is_deleted_without_a_trace(
    workloads: Workloads, subject: WorkloadSubject
) -> None:
    spec = subject.good(count=2)
    workloads.apply(spec)
    found = running(workloads, spec, expected(subject, 2))
    state = state_of(workloads, spec.key)
    assert state is not None
    assert (state.key, state.token, state.problem) == (spec.key, spec.token, "")
    assert len({one.id for one in found}) == len(found)
    for one in found:
        assert address_of(str(one.seen.address)).credential, "what listens on a network asks for a key"
        assert one.handle.data["replica"] == one.id
        assert subject.ask(one) == 200
        assert subject.ask_without_key(one) in (401, 403)
        assert workloads.logs(one.handle, 5)
    workloads.delete(spec.key, spec.token)
    gone(workloads, spec.key)
    wait(lambda: not subject.left(), "the end of everything that was made for it")
    workloads.delete(spec.key, spec.token)


def test_asking_again_touches_nothing_and_a_new_adapter_finds_what_an_earlier_one_made(
    workloads: Workloads, subject: WorkloadSubject
) -> None:
    spec = subject.good()
    workloads.apply(spec)
    before = running(workloads, spec, 1)
    workloads.apply(spec)
    again = subject.workloads()
    again.apply(spec)
    assert [one.id for one in running(again, spec, 1)] == [one.id for one in before]
    assert [state.key for state in again.observe()] == [spec.key]
    assert subject.ask(before[0]) == 200


def test_another_platform_on_the_same_engine_sees_and_touches_nothing(
    workloads: Workloads, subject: WorkloadSubject
) -> None:
    spec = subject.good()
    workloads.apply(spec)
    (one,) = running(workloads, spec, 1)
    other = subject.elsewhere()
    assert list(other.observe()) == []
    other.delete(spec.key, spec.token + 1)
    assert subject.ask(one) == 200


def test_the_count_follows_and_those_that_gateways_let_go_of_end_first(
    workloads: Workloads, subject: WorkloadSubject
) -> None:
    if subject.pooled:
        pytest.skip("a pool shows none of its instances")
    spec = subject.good(count=1)
    workloads.apply(spec)
    running(workloads, spec, 1)
    workloads.apply(replace(spec, count=3))
    found = running(workloads, spec, 3)
    leaves, stay = found[1], {found[0].id, found[2].id}
    workloads.apply(replace(spec, count=2, ending=(leaves.id,)))
    assert {one.id for one in running(workloads, spec, 2)} == stay


def test_an_instance_that_is_to_go_while_the_count_stays_is_replaced(
    workloads: Workloads, subject: WorkloadSubject
) -> None:
    if subject.pooled:
        pytest.skip("a pool shows none of its instances")
    spec = subject.good()
    workloads.apply(spec)
    (before,) = running(workloads, spec, 1)
    workloads.apply(replace(spec, ending=(before.id,)))
    wait(lambda: [one for one in ready_of(workloads, spec.key) if one.id != before.id], "another in its place")
    assert subject.ask(ready_of(workloads, spec.key)[-1]) == 200


def test_none_at_all_and_back(workloads: Workloads, subject: WorkloadSubject) -> None:
    if subject.pooled:
        pytest.skip("an engine of pools has its own zero, which nobody sees")
    spec = subject.good()
    workloads.apply(spec)
    running(workloads, spec, 1)
    workloads.apply(replace(spec, count=0))
    running(workloads, spec, 0)
    assert state_of(workloads, spec.key) is not None
    workloads.apply(spec)
    assert subject.ask(running(workloads, spec, 1)[0]) == 200


def test_versions_and_endpoints_stand_beside_one_another(workloads: Workloads, subject: WorkloadSubject) -> None:
    specs = [subject.good("1"), subject.good("2"), subject.good("1", endpoint="fraud")]
    for spec in specs:
        workloads.apply(spec)
    for spec in specs:
        assert subject.ask(running(workloads, spec, 1)[0]) == 200
    workloads.delete(specs[0].key, 1)
    gone(workloads, specs[0].key)
    assert {state.key for state in workloads.observe()} == {specs[1].key, specs[2].key}
    assert [subject.ask(ready_of(workloads, spec.key)[0]) for spec in specs[1:]] == [200, 200]


def test_an_image_that_is_not_there_is_said_and_keeps_no_other_from_running(
    workloads: Workloads, subject: WorkloadSubject
) -> None:
    good, bad = subject.good(), subject.bad_image()
    workloads.apply(good)
    refused = ""
    try:
        workloads.apply(bad)
    except InvalidArgument as error:  # an engine may look the image up at once
        refused = error.message
    wait(lambda: "image" in (refused or sentence_of(workloads, bad.key)).lower(), "a sentence about the image")
    assert not ready_of(workloads, bad.key)
    assert subject.ask(running(workloads, good, 1)[0]) == 200


def test_a_version_that_cannot_be_loaded_ends_with_what_it_said(workloads: Workloads, subject: WorkloadSubject) -> None:
    spec = subject.failing()
    workloads.apply(spec)

    def said() -> list[str]:
        dead = [one for one in instances_of(workloads, spec.key) if not one.seen.alive]
        return [line for one in dead for line in one.seen.log_tail if line.startswith(ERROR_PREFIX)]

    wait(said, "its end, with its error")
    assert not ready_of(workloads, spec.key)


def test_one_that_never_answers_is_never_ready(workloads: Workloads, subject: WorkloadSubject) -> None:
    spec = subject.never_ready()
    workloads.apply(spec)
    wait(lambda: instances_of(workloads, spec.key), "an instance")
    assert not ready_of(workloads, spec.key)


def test_one_that_dies_is_replaced_by_another_instance(workloads: Workloads, subject: WorkloadSubject) -> None:
    spec = subject.good()
    workloads.apply(spec)
    (before,) = running(workloads, spec, 1)
    subject.crash(before)
    if not subject.pooled:
        wait(lambda: [one for one in ready_of(workloads, spec.key) if one.id != before.id], "another in its place")
        assert before.id not in {one.id for one in ready_of(workloads, spec.key)}
    wait(lambda: [subject.ask(one) for one in ready_of(workloads, spec.key)] == [200], "predictions again")


def test_an_engine_that_is_away_is_unknown_and_what_runs_serves_on(
    workloads: Workloads, subject: WorkloadSubject
) -> None:
    spec = subject.good()
    workloads.apply(spec)
    (one,) = running(workloads, spec, 1)
    with subject.away():
        made = subject.workloads()
        for ask in (made.observe, lambda: made.apply(spec), lambda: made.delete(spec.key, 1)):
            with pytest.raises(EngineUnavailable):
                ask()
        assert subject.ask(one) == 200
    assert [found.id for found in running(workloads, spec, 1)] == [one.id]


def test_a_former_leader_changes_nothing_any_more(workloads: Workloads, subject: WorkloadSubject) -> None:
    spec = subject.good(token=5)
    workloads.apply(spec)
    (one,) = running(workloads, spec, 1)
    workloads.apply(replace(spec, token=6))
    wait(lambda: (found := state_of(workloads, spec.key)) is not None and found.token == 6, "the younger lease")
    former = subject.workloads()
    with pytest.raises(NotLeader):
        former.apply(replace(spec, count=0, token=5))
    with pytest.raises(NotLeader):
        former.delete(spec.key, 5)
    assert [found.id for found in running(workloads, spec, 1)] == [one.id], "a new leader restarts nothing"


def test_a_name_too_long_for_the_engine_is_refused_with_what_is_possible(
    workloads: Workloads, subject: WorkloadSubject
) -> None:
    spec = subject.good(endpoint="e" * 63)
    if subject.name == "ecs":
        pytest.skip("its names are longer than any endpoint's")
    with pytest.raises(InvalidArgument, match=r"\d+ characters"):
        workloads.apply(spec)
    assert list(workloads.observe()) == []
