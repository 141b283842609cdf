"""The autoscaler's decision: its truth table, and what holds whatever comes in."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.core.scaling.autoscale import AutoscaleDecision, Memory, ScalingFacts, decide
from tidegate.core.scaling.load import Point, Samples
from tidegate.core.scaling.policy import Scaling

SPEC = Scaling(1, 100, "concurrency", 1.0)
SLEEPY = replace(SPEC, min_replicas=0, idle_s=120.0)
NOW = 10_000.0


def told(*amounts: float, until: float = NOW, silent: tuple[str, ...] = ()) -> Samples:
    """One gateway's seconds, the last one just over."""
    first = until - len(amounts) + 1
    points = tuple(Point(first + index, 1.0, amount) for index, amount in enumerate(amounts))
    return Samples({"g-0": points} if points else {}, frozenset(silent))


def steady(load: float, seconds: int = 60, until: float = NOW) -> Samples:
    return told(*[load] * seconds, until=until)


def rush(before: float, load: float, until: float = NOW) -> Samples:
    return told(*[before] * 54, *[load] * 6, until=until)


def facts(load: Samples, desired: int, ready: int | None = None, cold_start_s: float | None = None) -> ScalingFacts:
    return ScalingFacts(desired, desired if ready is None else ready, load, load, cold_start_s)


def known(seconds: float, *needs: tuple[float, int], busy_at: float | None = NOW) -> Memory:
    """Of an autoscaler that has known the load for so long; `needs` are (seconds ago, replicas)."""
    return Memory(NOW - seconds, NOW - 2, busy_at, None, tuple((NOW - ago, need) for ago, need in needs))


UNKNOWN, SILENT = Samples(), told(*[3.0] * 60, silent=("g-1",))


@pytest.mark.parametrize(
    ("spec", "load", "desired", "memory", "answer"),
    [
        pytest.param(SLEEPY, steady(0), 0, known(900), (0, "asleep"), id="sleeps on"),
        pytest.param(SLEEPY, UNKNOWN, 0, Memory(), (0, "asleep"), id="sleeps on without data"),
        pytest.param(SLEEPY, told(0.2), 0, Memory(), (1, "wake"), id="one request wakes"),
        pytest.param(SLEEPY, rush(0, 30), 0, known(900), (30, "wake"), id="a crowd wakes as many"),
        pytest.param(SPEC, UNKNOWN, 7, known(900), (7, "unknown"), id="no data is no decision"),
        pytest.param(SPEC, told(9.0), 7, Memory(), (7, "unknown"), id="a second after a restart"),
        pytest.param(SPEC, steady(9, until=NOW - 20), 7, known(900), (7, "unknown"), id="old data"),
        pytest.param(SPEC, SILENT, 7, known(900, (1, 3)), (7, "unknown"), id="part of it does not shrink"),
        pytest.param(SPEC, SILENT, 2, Memory(), (3, "stable"), id="part of it grows"),
        pytest.param(SPEC, steady(5), 4, Memory(), (5, "stable"), id="needs more, also after a restart"),
        pytest.param(SPEC, steady(5), 5, known(900), (5, "stable"), id="needs what there is"),
        pytest.param(SPEC, rush(4, 9), 4, known(900), (8, "rate"), id="a rush, as fast as allowed"),
        pytest.param(SPEC, rush(4, 8), 4, known(900), (8, "panic"), id="a rush"),
        pytest.param(SPEC, rush(8, 0), 8, known(900), (8, "stable"), id="a lull is within the window"),
        pytest.param(SPEC, rush(20, 0), 8, known(900), (8, "stable"), id="what is needed no more is not started"),
        pytest.param(SPEC, steady(3), 8, known(299), (8, "hold"), id="known too shortly"),
        pytest.param(SPEC, steady(3), 8, known(900, (250, 8)), (8, "hold"), id="needed not long ago"),
        pytest.param(SPEC, steady(3), 8, known(900, (250, 6)), (6, "down"), id="the most of the window"),
        pytest.param(SPEC, steady(3), 4, known(900, (301, 4)), (3, "down"), id="needed long ago"),
        pytest.param(SPEC, steady(3), 40, known(900), (20, "rate"), id="half at a time"),
        pytest.param(SPEC, rush(2, 32), 32, known(900), (17, "down"), id="not into a rush"),
        pytest.param(SPEC, rush(2, 32), 17, known(900), (17, "down"), id="nor once there"),
        pytest.param(SPEC, steady(0), 2, known(900), (1, "min"), id="never below one"),
        pytest.param(replace(SPEC, min_replicas=4), steady(3), 8, known(900), (4, "min"), id="down to the minimum"),
        pytest.param(replace(SPEC, min_replicas=9), UNKNOWN, 8, Memory(), (9, "min"), id="a minimum holds unseen"),
        pytest.param(replace(SPEC, max_replicas=6), UNKNOWN, 8, Memory(), (6, "max"), id="a maximum holds unseen"),
        pytest.param(replace(SPEC, max_replicas=6), steady(9), 5, known(900), (6, "max"), id="up to the maximum"),
        pytest.param(SLEEPY, steady(0), 5, known(900, busy_at=NOW - 120), (0, "idle"), id="idle for long enough"),
        pytest.param(SLEEPY, steady(0), 5, known(900, (9, 5), busy_at=NOW - 119), (5, "hold"), id="not yet"),
        pytest.param(SLEEPY, steady(0), 5, known(90, busy_at=NOW - 500), (5, "hold"), id="idle, known too shortly"),
        pytest.param(SLEEPY, SILENT, 5, known(900, busy_at=NOW - 500), (5, "unknown"), id="perhaps not idle"),
        pytest.param(SLEEPY, steady(0.01), 3, known(900, (9, 3), busy_at=NOW - 500), (3, "hold"), id="hardly idle"),
        pytest.param(SPEC, steady(0), 3, known(900, (9, 3), busy_at=NOW - 900), (3, "hold"), id="idle, minimum 1"),
    ],
)
def test_the_truth_table(spec: Scaling, load: Samples, desired: int, memory: Memory, answer: tuple[int, str]) -> None:
    decision = decide(spec, facts(load, desired), memory, NOW)
    assert (decision.desired, decision.rule) == answer
    assert decision.reason


def test_a_panic_lasts_until_calm_has_and_the_peak_is_kept_all_through_it() -> None:
    decision = decide(SPEC, facts(rush(4, 8), 4), known(900), NOW)
    assert decision.rule == "panic"
    later = NOW + 59
    calm = decide(SPEC, facts(steady(1, until=later), 8), decision.memory, later)
    assert (calm.desired, calm.rule) == (8, "panic")
    later = NOW + 61
    calm = decide(replace(SPEC, down_s=0.0), facts(steady(1, until=later), 8), calm.memory, later)
    assert calm.rule != "panic"
    assert calm.desired == 8  # known for less than it takes: no look in between


def test_it_says_when_it_may_change_by_itself() -> None:
    assert decide(SPEC, facts(steady(3), 8), known(200), NOW).next_at == NOW + 100
    assert decide(SPEC, facts(steady(3), 8), known(900, (250, 8)), NOW).next_at == NOW + 50
    assert decide(SPEC, facts(rush(4, 9), 4), known(900), NOW).next_at == NOW + 10
    assert decide(SPEC, facts(steady(3), 3), known(900), NOW).next_at is None


def test_asking_often_changes_nothing_sooner() -> None:
    def after(look_s: float) -> int:
        desired, memory, at = 2, known(900), NOW
        while at <= NOW + 25:
            decision = decide(SPEC, facts(steady(80, until=at), desired), memory, at)
            desired, memory, at = decision.desired, decision.memory, at + look_s
        return desired

    assert after(0.05) == after(1.0) == 24  # 2, then twice or four more within any ten seconds: 6, 12, 24


def test_a_cold_start_is_waited_for_before_more_is_started_and_before_any_is_ended() -> None:
    slow = facts(steady(80), 2, cold_start_s=30.0)
    decision = decide(SPEC, slow, known(900), NOW)
    assert decision.desired == 6
    assert decision.next_at == NOW + 36
    at = NOW + 35
    assert decide(SPEC, facts(steady(80, until=at), 6, 2, 30.0), decision.memory, at).desired == 6
    eager = replace(SPEC, down_s=0.0, panic_s=6.0)
    assert decide(eager, facts(steady(1), 6, cold_start_s=600.0), known(599), NOW).rule == "hold"


def test_cpu_of_all_replicas_is_shared_by_as_many_as_keep_to_the_target() -> None:
    spec = Scaling(1, 10, "cpu", 70.0)
    assert decide(spec, facts(steady(3 * 95.0), 3), known(900), NOW).desired == 5


def test_several_gateways_are_one_load() -> None:
    points = steady(2).points["g-0"]
    assert decide(SPEC, facts(Samples({"g-0": points, "g-1": points}), 3), known(900), NOW).desired == 4


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -5.0])
def test_a_sample_that_cannot_be_is_none(wrong: float) -> None:
    seconds = [3.0] * 59
    without, with_it = told(*seconds), told(*seconds[:30], wrong, *seconds[30:])
    for memory in (known(900), known(900, (250, 6))):
        assert (
            decide(SPEC, facts(with_it, 8), memory, NOW).desired == decide(SPEC, facts(without, 8), memory, NOW).desired
        )
    nothing = decide(SPEC, facts(told(*[wrong] * 60), 8), known(900), NOW)
    assert (nothing.desired, nothing.rule) == (8, "unknown")
    assert decide(SLEEPY, facts(told(*[wrong] * 60), 0), known(900), NOW).rule == "asleep"


def test_a_sample_however_huge_asks_for_no_more_than_the_maximum() -> None:
    for spec in (SPEC, replace(SPEC, target=1e-300)):
        decision = decide(spec, facts(told(*[1e308] * 60), 60), known(900), NOW)
        assert (decision.desired, decision.rule) == (100, "max")


loads = st.lists(st.floats(0, 200), min_size=60, max_size=60)
memories = st.builds(
    lambda since, busy, needs: Memory(
        NOW - since, NOW - 2, NOW - busy, None, tuple(sorted(((NOW - ago, n) for ago, n in needs), key=lambda m: -m[1]))
    ),
    st.floats(2, 2000),
    st.floats(0, 2000),
    st.lists(st.tuples(st.floats(0, 290), st.integers(0, 100)), max_size=5),
)
specs = st.builds(
    lambda low, more, target: Scaling(low, low + more, "concurrency", target),
    st.integers(1, 50),
    st.integers(0, 50),
    st.floats(0.01, 1e6),
)
fast = settings(max_examples=60, deadline=None)
slow = settings(max_examples=12, deadline=None)


@fast
@given(specs, loads, st.integers(0, 120), memories)
def test_it_stays_within_its_bounds(spec: Scaling, load: list[float], desired: int, memory: Memory) -> None:
    decision = decide(spec, facts(told(*load), desired), memory, NOW)
    assert spec.min_replicas <= decision.desired <= spec.max_replicas


@fast
@given(loads, st.integers(1, 100), memories, st.sampled_from([-86_400.0, -30.0, -7.0, 7.0, 30.0, 86_400.0]))
def test_no_jump_of_the_clock_shrinks_a_fleet(load: list[float], desired: int, memory: Memory, jump_s: float) -> None:
    for series in (told(*load), told(*load, until=NOW + jump_s)):  # samples of before, and of after
        decision = decide(SPEC, facts(series, desired), memory, NOW + jump_s)
        assert decision.desired >= desired
        soon = decide(SPEC, facts(told(*load, until=NOW + jump_s + 2), desired), decision.memory, NOW + jump_s + 2)
        assert soon.desired >= desired


@slow
@given(loads, st.integers(1, 100))
def test_no_restart_shrinks_a_fleet(load: list[float], desired: int) -> None:
    memory = Memory()
    for second in range(0, 300, 2):
        at = NOW + second
        decision = decide(SPEC, facts(told(*load[: second + 1], until=at), desired), memory, at)
        assert decision.desired >= desired
        memory = decision.memory


@fast
@given(loads, st.integers(1, 100), memories, st.booleans())
def test_what_is_not_known_shrinks_nothing(load: list[float], desired: int, memory: Memory, part: bool) -> None:
    series = told(*load, silent=("g-1",)) if part else Samples(silent=frozenset({"g-0"}))
    decision = decide(SPEC, facts(series, desired), memory, NOW)
    assert decision.desired >= desired
    if not part:
        assert decision == replace(decision, desired=desired, rule="unknown")


@fast
@given(st.lists(st.floats(0, 100), min_size=20, max_size=40))
def test_after_a_panic_a_fleet_never_falls_below_the_peak_still_inside_the_window(levels: list[float]) -> None:
    """Each level of load lasts for ten seconds; at the end of each look all needs of the window are covered."""
    spec = replace(SPEC, down_s=0.0, up_factor=1000.0, up_step=1000)
    seconds = [level for level in levels for _ in range(10)]
    desired, memory, needed = 1, Memory(), list[tuple[float, int]]()
    for second in range(60, len(seconds), 2):
        at = NOW + second
        decision = decide(spec, facts(told(*seconds[second - 60 : second], until=at), desired), memory, at)
        needed.append((at, decision.need or 0))
        if decision.desired < desired:
            assert decision.desired >= max(1, *(need for when, need in needed if when > at - spec.stable_s))
        desired, memory = decision.desired, decision.memory


@fast
@given(loads, st.integers(1, 100), memories)
def test_the_same_goes_in_and_the_same_comes_out(load: list[float], desired: int, memory: Memory) -> None:
    once: AutoscaleDecision = decide(SPEC, facts(told(*load), desired), memory, NOW)
    again = decide(SPEC, facts(told(*load), once.desired), once.memory, NOW)
    assert again.desired == once.desired or again.rule == "rate"
    assert decide(SPEC, facts(told(*load), desired), memory, NOW) == once
