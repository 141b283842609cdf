"""The batcher under all that may happen to it: every call is answered once, with its own rows, within the bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from support.wait import until
from tidegate.dataplane.batching.batcher import Batcher
from tidegate.dataplane.calls.batch import Batch
from tidegate.dataplane.calls.call import Call, Destination, Identity
from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.dataplane.calls.limits import DataplaneLimits
from tidegate.dataplane.calls.outputs import ModelFailed, Outputs, TargetHung, TargetLost, TargetUnreached, TargetUnread
from tidegate.errors import NoReadyReplica, Overloaded, TidegateError
from tidegate.wire.signature import Signature, TensorSpec

SIGNATURE = Signature("matrix", (TensorSpec("input", "FP64", (-1, 1)),), (TensorSpec("prediction", "FP64", (-1,)),))
BATCH_ROWS_MAX, QUEUE_ROWS_MAX, CALL_ROWS_MAX = 24, 100, 70
FAILURES = (ModelFailed(), TargetLost(), TargetHung(), TargetUnreached(), TargetUnread())


class Asker:
    """A connection; keeps what each of its calls was answered."""

    def __init__(self, number: int) -> None:
        self.connection: object = number
        self.answers: dict[str, list[Any]] = {}

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None:
        self.answers[call.request_id].append(outputs.as_list("prediction")[first_row : first_row + call.rows])

    def fail(self, call: Call, error: TidegateError) -> None:
        self.answers[call.request_id].append(error)


class Counting:
    """The observer."""

    def __init__(self) -> None:
        self.answered = self.failed = self.rows = 0

    def batch_done(self, batch: Batch, outputs: Outputs, now_s: float) -> None:
        self.answered += sum(call.completes for call in batch.calls if not call.done)
        self.rows += sum(call.rows for call in batch.calls if not call.done)

    def call_failed(self, call: Call, error: TidegateError, now_s: float) -> None:
        self.failed += 1

    def abandoned(self, call: Call, now_s: float) -> None: ...

    def refused(self, failure: FailedRequest) -> None: ...


class HandTarget:
    """Holds one batch until the test says what becomes of it."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.held: tuple[Batch, Any] | None = None

    def send(self, batch: Batch, done: Any) -> None:
        assert self.held is None, "a target computes one batch at a time"
        assert len(batch.inputs["input"]) == batch.rows == sum(call.rows for call in batch.calls)
        assert batch.rows <= BATCH_ROWS_MAX
        self.held = batch, done

    def finish(self, result: TidegateError | None) -> None:
        if self.held is None:
            return
        (batch, done), self.held = self.held, None
        done(self, batch, result or Outputs({"prediction": batch.inputs["input"][:, 0] * 10}))


class Machine(RuleBasedStateMachine):
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now_s = 100.0
        self.observer = Counting()
        limits = DataplaneLimits(batch_rows_max=BATCH_ROWS_MAX, queue_rows_max=QUEUE_ROWS_MAX)
        self.batcher = Batcher(self.loop, limits, self.observer, clock=lambda: self.now_s)
        self.destination = Destination(Identity("e", "m", "1", "1"), SIGNATURE, [0.0], self.batcher)
        self.targets: dict[str, HandTarget] = {}
        self.gone: list[HandTarget] = []
        self.askers = [Asker(number) for number in range(4)]
        self.submitted: dict[str, Call] = {}
        self.cancelled: set[str] = set()
        self.unreached: set[str] = set()
        self.value = 0.0

    def turn(self) -> None:
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))

    @rule(name=st.sampled_from(["t1", "t2", "t3"]))
    def add_target(self, name: str) -> None:
        if name not in self.batcher._targets:
            self.targets[name] = HandTarget(name)
            self.batcher.add_target(self.targets[name])
            self.turn()

    @rule(name=st.sampled_from(["t1", "t2", "t3"]))
    def remove_target(self, name: str) -> None:
        if name in self.targets:
            self.gone.append(self.targets.pop(name))
            self.batcher.remove_target(name)
            self.turn()

    @rule(
        target=calls,
        asker=st.integers(0, 3),
        rows=st.one_of(st.integers(1, 3), st.integers(1, CALL_ROWS_MAX)),
        unit=st.sampled_from([None, None, "u1", "u2"]),
        timeout_s=st.sampled_from([5.0, 1000.0]),
        at_once=st.booleans(),
    )
    def submit(self, asker: int, rows: int, unit: str | None, timeout_s: float, at_once: bool) -> str:
        name = f"call-{len(self.submitted)}"
        call = Call(self.askers[asker], self.destination, name, rows)
        call.packed = [[self.value + row] for row in range(rows)]
        self.value += rows
        call.unit = unit
        call.started_s, call.deadline_s = self.now_s, self.now_s + timeout_s
        self.askers[asker].answers[name] = []
        self.submitted[name] = call
        try:
            self.batcher.submit(call)
        except (Overloaded, NoReadyReplica):
            call.done = True
            self.askers[asker].answers[name].append(None)
        if not at_once:
            self.turn()
        return name

    @rule(name=calls)
    def cancel(self, name: str) -> None:
        if not self.submitted[name].done:
            self.submitted[name].cancel()
            self.cancelled.add(name)

    @rule(index=st.integers(0, 5), took_s=st.sampled_from([0.001, 0.02]))
    def answer(self, index: int, took_s: float) -> None:
        busy = [target for target in (*self.targets.values(), *self.gone) if target.held]
        if busy:
            self.now_s += took_s
            busy[index % len(busy)].finish(None)
            self.turn()

    @rule(index=st.integers(0, 5), error=st.sampled_from(FAILURES))
    def fail(self, index: int, error: TidegateError) -> None:
        busy = [target for target in (*self.targets.values(), *self.gone) if target.held]
        if busy:
            target = busy[index % len(busy)]
            if target.held and isinstance(error, TargetUnreached):
                self.unreached |= {call.request_id for call in target.held[0].calls}
            target.finish(error)
            if isinstance(error, TargetLost | TargetUnreached):
                # By identity: one that was removed and is lost may have a successor of the same name.
                self.targets = {name: one for name, one in self.targets.items() if one is not target}
                self.gone = [one for one in self.gone if one is not target]
            self.turn()

    @rule()
    def time_passes(self) -> None:
        self.now_s += 6

    @invariant()
    def bounds_hold(self) -> None:
        assert self.batcher.limit_rows <= BATCH_ROWS_MAX
        # The bound, and what is left of one call for each replica: those that run once more come on top.
        again = sum(call.rows for name, call in self.submitted.items() if call.attempts or name in self.unreached)
        assert self.batcher.queued_rows <= QUEUE_ROWS_MAX + 4 * CALL_ROWS_MAX + again

    @invariant()
    def no_answer_twice_or_of_others(self) -> None:
        for asker in self.askers:
            for name, answers in asker.answers.items():
                call = self.submitted[name]
                assert len(answers) <= (0 if name in self.cancelled else 1)
                if answers and isinstance(answers[0], list):
                    assert isinstance(call.packed, list)
                    assert answers[0] == [row[0] * 10 for row in call.packed]

    @invariant()
    def no_replica_is_idle_while_calls_wait(self) -> None:
        waiting = self.batcher.queued_rows
        if waiting and self.targets and not any(target.held for target in self.targets.values()):
            self.turn()  # what was submitted at once is dispatched with the next turn
            assert any(target.held for target in self.targets.values()) or not self.batcher._queue.rows

    def teardown(self) -> None:
        """Whatever still waits is answered when its replicas answer, and at the latest at its deadline."""
        for _ in range(3 * len(self.submitted) + 3):
            for target in (*self.targets.values(), *self.gone):
                target.finish(None)
            self.turn()
        self.now_s += 2000
        if self.batcher.outstanding:
            until(self.expired, what="the answer to every call")
        answers = {name: given for asker in self.askers for name, given in asker.answers.items()}
        for name, given in answers.items():
            assert len(given) == (0 if name in self.cancelled else 1), name
        answered = sum(isinstance(given[0], list) for given in answers.values() if given)
        assert self.observer.answered == answered
        assert not self.batcher.queued_rows
        self.loop.close()

    def expired(self) -> bool:
        self.loop.run_until_complete(asyncio.sleep(0.001))
        return not self.batcher.outstanding


Machine.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestBatcher = Machine.TestCase
