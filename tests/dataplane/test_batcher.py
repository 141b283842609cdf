"""The batcher against a target whose answers the test gives by hand."""

import asyncio

import numpy as np
import pytest

from support.batcher_bench import Bench, HandTarget, run, turn
from tidegate.dataplane.batching.batcher import LOOKS_MAX
from tidegate.dataplane.calls.call import Call
from tidegate.dataplane.calls.outputs import ModelFailed, TargetHung, TargetLost, TargetUnreached, TargetUnread
from tidegate.errors import DeadlineExceeded, NoReadyReplica, Overloaded


def test_an_idle_target_gets_what_one_turn_brought_and_a_busy_one_lets_gather() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        bench.submit("b", 2, 3)
        await turn()
        assert [batch.rows for batch, _ in bench.target.sent] == [3]
        for name in "cde":
            bench.submit(name, ord(name))
        await turn()
        assert len(bench.target.sent) == 1
        bench.target.answer()
        await turn()
        assert bench.seen.answers == {"a": [10], "b": [20, 30]}
        assert [batch.rows for batch, _ in bench.target.sent] == [3]
        bench.target.answer()
        await turn()
        assert bench.seen.answers["d"] == [1000]

    run(go)


def test_who_comes_back_while_a_batch_is_about_to_go_joins_it() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        await turn()
        bench.submit("b", 2)
        bench.target.answer()
        await asyncio.sleep(0)
        bench.submit("a again", 3)  # as a client does that has just been answered
        await asyncio.sleep(0)
        assert bench.target.sent == []
        await turn()
        assert [batch.rows for batch, _ in bench.target.sent] == [2]

    run(go)


def test_a_stream_of_calls_holds_no_batch_back_for_long() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        for index in range(20):
            bench.submit(str(index), index)
            await asyncio.sleep(0)
        assert bench.target.sent[0][0].rows <= LOOKS_MAX + 1

    run(go)


def test_cancelling_one_call_of_a_batch_leaves_the_others_their_answers() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        calls = {name: bench.submit(name, index) for index, name in enumerate("abc")}
        await turn()
        calls["b"].cancel()
        bench.target.answer()
        assert bench.seen.answers == {"a": [0], "c": [20]}
        assert not bench.batcher.outstanding

    run(go)


def test_a_call_cancelled_while_it_waits_is_never_computed() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        await turn()
        bench.submit("b", 2).cancel()
        bench.submit("c", 3)
        bench.target.answer()
        await turn()
        assert bench.target.sent[0][0].inputs["input"].tolist() == [[3]]
        assert bench.batcher.queued_rows == 0

    run(go)


def test_the_row_limit_counts_rows_and_cuts_a_call_that_is_larger() -> None:
    async def go() -> None:
        bench = Bench(batch_rows_max=4)
        bench.batcher.add_target(bench.target)
        for name, rows in (("a", 3), ("b", 2), ("c", 9), ("d", 1)):
            bench.submit(name, *range(rows))
        await turn()
        while bench.target.sent:
            bench.target.answer()
        assert bench.seen.batches == [(3, "rows"), (4, "rows"), (4, "rows"), (4, "idle")]
        assert bench.seen.answers["c"] == [10 * value for value in range(9)]
        assert bench.seen.answers["d"] == [0]

    run(go)


def test_a_call_behind_a_gateway_is_not_cut_again() -> None:
    async def go() -> None:
        bench = Bench(batch_rows_max=4, splits=False)
        bench.batcher.add_target(bench.target)
        for name, rows in (("a", 3), ("b", 9), ("c", 1)):
            bench.submit(name, *range(rows))
        await turn()
        while bench.target.sent:
            bench.target.answer()
            await turn()
        assert bench.seen.batches == [(3, "rows"), (9, "rows"), (1, "idle")]

    run(go)


def test_models_that_do_not_batch_get_each_call_alone() -> None:
    async def go() -> None:
        bench = Bench(mergeable=False)
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        bench.submit("b", 2)
        await turn()
        bench.target.answer()
        bench.target.answer()
        assert bench.seen.batches == [(1, "alone"), (1, "idle")]

    run(go)


def test_two_targets_work_side_by_side() -> None:
    async def go() -> None:
        bench = Bench()
        second = HandTarget("t2")
        bench.batcher.add_target(bench.target)
        bench.batcher.add_target(second)
        bench.submit("a", 1)
        await turn()
        bench.submit("b", 2)
        await turn()
        second.answer()
        assert bench.seen.answers == {"b": [20]}

    run(go)


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    async def go() -> None:
        bench = Bench(queue_rows_max=2)
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        await turn()
        bench.submit("b", 1, 2)
        with pytest.raises(Overloaded) as caught:
            bench.submit("c", 1)
        assert caught.value.retry_after_s

    run(go)


def test_no_target_at_all_refuses_at_once() -> None:
    async def go() -> None:
        with pytest.raises(NoReadyReplica):
            Bench().submit("a", 1)

    run(go)


def test_calls_of_a_lost_target_run_alone_on_one_target_while_the_others_serve() -> None:
    async def go() -> None:
        bench = Bench()
        others = [HandTarget("t2"), HandTarget("t3")]
        bench.batcher.add_target(bench.target)
        bench.submit("poison", 1)
        bench.submit("neighbour", 2)
        await turn()
        for other in others:
            bench.batcher.add_target(other)
        bench.target.fail(TargetLost())
        await turn()
        aside, free = others if others[0].sent else others[::-1]
        assert [call.request_id for call in aside.sent[0][0].calls] == ["poison"]
        for value in (3, 4):
            bench.submit(f"later-{value}", value)
            await turn()
            free.answer()
        assert bench.seen.answers == {"later-3": [30], "later-4": [40]}
        aside.fail(TargetLost())
        assert isinstance(bench.seen.answers["poison"], ModelFailed)
        # The last target that lives is not risked while the dead ones may come back.
        assert not free.sent
        bench.batcher.add_target(again := HandTarget("t1"))
        await turn()
        assert [call.request_id for call in again.sent[0][0].calls] == ["neighbour"]
        again.answer()
        assert bench.seen.answers["neighbour"] == [20]
        bench.submit("x", 5)
        await turn()
        bench.submit("y", 6)
        await turn()
        again.answer()
        free.answer()
        assert bench.seen.answers["x"] == [50]
        assert bench.seen.answers["y"] == [60]

    run(go)


def test_a_lost_call_takes_the_last_living_target_when_no_other_comes_back() -> None:
    async def go() -> None:
        bench = Bench()
        second = HandTarget("t2")
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        await turn()
        bench.batcher.add_target(second)
        bench.target.fail(TargetLost())
        assert not second.sent
        bench.time.now += 10
        async with asyncio.timeout(30):
            while not second.sent:
                await asyncio.sleep(0.005)
        second.answer()
        assert bench.seen.answers == {"a": [10]}

    run(go)


def test_the_calls_of_a_hung_target_move_to_another_at_once() -> None:
    async def go() -> None:
        bench = Bench()
        second = HandTarget("t2")
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        bench.submit("b", 2)
        await turn()
        bench.batcher.add_target(second)
        bench.target.fail(TargetHung())
        await turn()
        second.answer()
        second.answer()
        assert bench.seen.answers == {"a": [10], "b": [20]}

    run(go)


def test_calls_of_the_only_target_wait_for_it_to_come_back() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        bench.submit("late", 1, timeout_s=1)
        await turn()
        bench.submit("waiting", 2)
        bench.target.fail(TargetLost())
        assert {name: type(error) for name, error in bench.seen.answers.items()} == {"waiting": NoReadyReplica}
        bench.time.now += 2
        async with asyncio.timeout(30):
            while "late" not in bench.seen.answers:
                await asyncio.sleep(0.005)
        assert isinstance(bench.seen.answers["late"], DeadlineExceeded)
        bench.batcher.add_target(again := HandTarget("t1"))
        await turn()
        again.answer()
        assert bench.seen.answers["a"] == [10]
        assert not again.sent
        assert not bench.batcher.outstanding

    run(go)


def test_a_batch_that_its_target_never_saw_goes_to_the_next_as_it_is_and_counts_as_no_attempt() -> None:
    async def go() -> None:
        bench = Bench()
        second = HandTarget("t2")
        bench.batcher.add_target(bench.target)
        calls = [bench.submit("a", 1), bench.submit("b", 2)]
        await turn()
        bench.batcher.add_target(second)
        bench.target.fail(TargetUnreached())
        await turn()
        assert [call.request_id for call in second.sent[0][0].calls] == ["a", "b"]
        assert [call.attempts for call in calls] == [0, 0]
        second.answer()
        assert bench.seen.answers == {"a": [10], "b": [20]}
        assert not bench.batcher.outstanding

    run(go)


def test_a_batch_that_kills_who_reads_it_meets_two_targets_and_no_more() -> None:
    async def go() -> None:
        bench = Bench()
        others = [HandTarget(f"t{number}") for number in range(2, 6)]
        bench.batcher.add_target(bench.target)
        calls = [bench.submit("a", 1), bench.submit("b", 2)]
        await turn()
        for other in others:
            bench.batcher.add_target(other)
        bench.target.fail(TargetUnread())
        await turn()
        (second,) = [other for other in others if other.sent]
        assert [call.request_id for call in second.sent[0][0].calls] == ["a", "b"]
        assert [call.attempts for call in calls] == [1, 1]
        second.fail(TargetUnread())
        await turn()
        assert all(isinstance(bench.seen.answers[name], ModelFailed) for name in "ab")
        assert not any(other.sent for other in others)
        assert not bench.batcher.outstanding

    run(go)


def test_a_suspect_that_kills_who_reads_it_is_given_up() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("poison", 1)
        await turn()
        bench.target.fail(TargetLost())
        for number in (2, 3):
            bench.batcher.add_target(HandTarget(f"t{number}"))
        bench.batcher.add_target(last := HandTarget("t4"))
        await turn()
        aside = bench.batcher._isolation.target
        assert isinstance(aside, HandTarget)
        aside.fail(TargetUnread())
        await turn()
        assert isinstance(bench.seen.answers["poison"], ModelFailed)
        assert not last.sent
        assert not bench.batcher.outstanding

    run(go)


def test_a_batch_that_its_target_never_saw_is_the_first_to_go_when_another_is_free() -> None:
    async def go() -> None:
        bench = Bench()
        second = HandTarget("t2")
        bench.batcher.add_target(bench.target)
        bench.submit("first", 1)
        await turn()
        bench.batcher.add_target(second)
        bench.submit("busy", 2)
        await turn()
        bench.submit("waiting", 3)
        bench.target.fail(TargetUnreached())
        assert bench.batcher.queued_rows == 2
        second.answer()
        await turn()
        assert [call.request_id for call in second.sent[0][0].calls] == ["first"]
        second.answer()
        await turn()
        second.answer()
        assert bench.seen.answers == {"first": [10], "busy": [20], "waiting": [30]}

    run(go)


def test_without_another_target_a_batch_that_none_saw_is_refused_at_once() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        await turn()
        bench.target.fail(TargetUnreached())
        assert isinstance(bench.seen.answers["a"], NoReadyReplica)
        assert bench.seen.answers["a"].retry_after_s
        assert not bench.batcher.outstanding

    run(go)


def test_a_suspect_that_its_target_never_saw_still_meets_no_other_replica_than_one_set_aside() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("poison", 1)
        await turn()
        bench.target.fail(TargetLost())
        bench.batcher.add_target(aside := HandTarget("t2"))
        bench.batcher.add_target(last := HandTarget("t3"))
        await turn()
        aside.fail(TargetUnreached())
        await turn()
        assert not last.sent  # the last one that lives is not risked while others may come back
        bench.batcher.add_target(again := HandTarget("t2"))
        await turn()
        again.answer()
        assert bench.seen.answers == {"poison": [10]}

    run(go)


def test_a_version_that_is_given_up_fails_what_waits_for_a_replica_to_come_back() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("a", 1)
        await turn()
        bench.target.fail(TargetLost())
        bench.batcher.close()
        assert isinstance(bench.seen.answers["a"], NoReadyReplica)
        assert bench.seen.answers["a"].retry_after_s

    run(go)


def test_a_failed_batch_runs_once_more_row_by_row_so_that_a_bad_one_fails_alone() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        for index, name in enumerate("abc"):
            bench.submit(name, index)
        await turn()
        bench.target.fail(ModelFailed("b is bad"))
        bench.target.answer()
        bench.target.fail(ModelFailed("b is bad"))
        bench.target.answer()
        assert bench.seen.answers["a"] == [0]
        assert bench.seen.answers["c"] == [20]
        assert bench.seen.answers["b"].message == "b is bad"

    run(go)


def test_deadlines_waiting_and_computing() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("computing", 1, timeout_s=1)
        await turn()
        bench.submit("waiting", 2, timeout_s=1)
        bench.submit("patient", 3, timeout_s=9)
        bench.time.now += 2
        async with asyncio.timeout(30):
            while len(bench.seen.answers) < 2:
                await asyncio.sleep(0.005)
        assert {name: type(error) for name, error in bench.seen.answers.items()} == {
            "computing": DeadlineExceeded,
            "waiting": DeadlineExceeded,
        }
        bench.target.answer()
        await turn()
        assert bench.target.sent[0][0].inputs["input"].tolist() == [[3]]
        bench.target.answer()
        await turn()
        assert bench.seen.answers["patient"] == [30]

    run(go)


def test_removing_the_last_target_fails_what_waits_but_answers_what_is_computed() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        bench.submit("computing", 1)
        await turn()
        bench.submit("waiting", 2)
        bench.batcher.remove_target("t1")
        assert isinstance(bench.seen.answers["waiting"], NoReadyReplica)
        bench.target.answer()
        assert bench.seen.answers["computing"] == [10]
        assert bench.target.sent == []

    run(go)


def test_calls_of_different_shapes_are_not_put_together() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        for name, width in (("a", 2), ("b", 3)):
            call = Call(bench.seen, bench.destination, name, 1)
            call.tensors = {"input": np.ones((1, width))}
            call.deadline_s = 1e9
            bench.batcher.submit(call)
        await turn()
        bench.target.answer()
        await turn()
        bench.target.answer()
        await turn()
        assert bench.seen.batches == [(1, "shape"), (1, "idle")]

    run(go)


def test_calls_with_different_params_never_share_a_batch() -> None:
    async def go() -> None:
        bench = Bench()
        bench.batcher.add_target(bench.target)
        for name, params in (("a", '{"k":1}'), ("b", '{"k":1}'), ("c", '{"k":2}'), ("d", None)):
            bench.submit(name, 1).params = params
        sent = []
        await turn()
        while bench.target.sent:
            sent.append((bench.target.sent[0][0].params, bench.target.sent[0][0].rows))
            bench.target.answer()
            await turn()
        assert sent == [('{"k":1}', 2), ('{"k":2}', 1), (None, 1)]

    run(go)
