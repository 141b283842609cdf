"""How many replicas of a version there should be: one decision, from what was asked for, what was seen, and the time.

Called by the loop that applies it, and by simulations. It keeps nothing: what it has to know of earlier decisions goes
in and comes out as a `Memory`. Delays are seconds on the clock, however often it is asked.

| desired is | load                          | decision                                            | rule      |
| ---------- | ----------------------------- | --------------------------------------------------- | --------- |
| 0          | a request waits               | what it needs, at least 1                           | `wake`    |
| 0          | none, or unknown              | 0                                                   | `asleep`  |
| any        | unknown                       | as it is                                            | `unknown` |
| any        | known in part, needs <= desired | as it is: what is unknown may need the rest       | `unknown` |
| any        | needs more                    | what it needs (in part known: at least)             | `stable`  |
| any        | panic                         | the panic window's need, never less than is desired | `panic`   |
| any        | needs less, known too shortly | as it is                                            | `hold`    |
| any        | needs less                    | the most that was needed within the window, or more | `down`    |
|            |                               | where that many would be in a panic at once         |           |
| any        | no request for `idle_s`, min 0 | 0                                                  | `idle`    |

Then the limits: no faster than the rates (`rate`), and between the bounds (`min`, `max`), which also hold where nothing
is known, for they are what somebody asked for.

The window before shrinking is the longest of `down_s`, the stable window and a cold start, and load must have been
known all through it: so no restart, no gap, no jump of the clock and no empty memory ever makes a fleet smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from tidegate.core.scaling.load import Point, Samples, mean
from tidegate.core.scaling.policy import Scaling

Rule = Literal["switch", "wake", "asleep", "unknown", "stable", "panic", "hold", "down", "idle", "rate", "min", "max"]
Mark = tuple[float, int]
"""A number of replicas, and since when, or when."""

_ROUNDING = 1e-9
_NEED_MAX = 1_000_000
"""Whatever a sample says: far above any limit, and no sum or quotient that overflowed is turned into a number."""
_UNITS = {"concurrency": "requests in progress", "rps": "requests a second", "cpu": "% of CPU"}


@dataclass(frozen=True)
class ScalingFacts:
    """What is so now. `load` is the metric of the target, `requests` those in progress, which tell whether it is idle.

    `cold_start_s` is how long a replica of this version took to become ready, as measured; None while none has. With
    `waiting` a gateway has just reported that a request waits for a replica.
    """

    desired: int
    ready: int
    load: Samples
    requests: Samples
    cold_start_s: float | None = None
    waiting: bool = False


@dataclass(frozen=True)
class Memory:
    """What one decision leaves to the next; an empty one is that of a control plane which has just started.

    Load has been known without a gap since `known_since`, the last time at `known_at`. `needs` are the highest recent
    needs, falling; `in_force` what was desired recently, oldest first.
    """

    known_since: float | None = None
    known_at: float | None = None
    busy_at: float | None = None
    panic_at: float | None = None
    needs: tuple[Mark, ...] = ()
    in_force: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class AutoscaleDecision:
    """`next_at` is when the answer may change although the load does not; None where only load changes it.

    `stable` and `panic` are the load over these windows, None where it is not known; `need` is what it asks for.
    """

    desired: int
    rule: Rule
    reason: str
    memory: Memory
    next_at: float | None = None
    stable: float | None = None
    panic: float | None = None
    need: int | None = None


@dataclass(frozen=True)
class _Load:
    """The load as far as it is known; `whole` says whether every source tells it.

    `need` is the number of replicas that it takes, `recent` the number that the panic window alone does.
    """

    stable: float
    panic: float
    whole: bool
    need: int = 0
    recent: int = 0


@dataclass(frozen=True)
class _Proposal:
    """A decision on its way: what the rules want, before the limits."""

    want: int
    rule: Rule
    reason: str
    next_at: float | None = None


def decide(spec: Scaling, facts: ScalingFacts, memory: Memory, now: float) -> AutoscaleDecision:
    """How many replicas there should be from `now` on, and why. Asking more often never changes it sooner."""
    sound = _sound(facts.load)
    facts = replace(facts, load=sound, requests=sound if facts.requests is facts.load else _sound(facts.requests))
    load = _known(spec, facts, now)
    memory = _remembered(spec, facts, memory, now)
    if load is not None and load.whole:
        memory = _seen(spec, memory, now)
    if _panics(spec, facts, load):
        memory = replace(memory, panic_at=now)
    if load is not None:
        load = replace(load, need=_need(spec, load, memory), recent=replicas_for(spec, load.panic))
        memory = replace(memory, needs=_with_need(memory.needs, (now, load.need), _window_s(spec, facts)))
    step = _bounded(spec, _wanted(spec, facts, memory, now, load))
    step = _bounded(spec, _paced(spec, facts, memory, step))  # what is out of bounds gets back whatever the rates
    memory = replace(memory, in_force=_with_mark(memory.in_force, (now, step.want)))
    decision = AutoscaleDecision(step.want, step.rule, step.reason, memory, step.next_at)
    return decision if load is None else replace(decision, stable=load.stable, panic=load.panic, need=load.need)


# -- what is known -----------------------------------------------------------------------------------------------------


def _known(spec: Scaling, facts: ScalingFacts, now: float) -> _Load | None:
    """None unless the sources that report have covered most of the panic window: less is noise, or old."""
    reporting = _reporting(facts.load)
    panic, stable = mean(reporting, now - spec.panic_s, now), mean(reporting, now - spec.stable_s, now)
    if panic is None or stable is None or panic.covered_s < spec.panic_s / 2:
        return None
    return _Load(stable.value, panic.value, whole=not facts.load.silent)


def _sound(series: Samples) -> Samples:
    """Without samples that cannot be (NaN, infinity, less than nothing): as if their source had not reported them."""
    if all(_can_be(point) for points in series.points.values() for point in points):
        return series
    points = {name: tuple(filter(_can_be, points)) for name, points in series.points.items()}
    return replace(series, points=points)


def _can_be(point: Point) -> bool:
    return 0 <= point.amount_s < math.inf and 0 < point.span_s < math.inf and math.isfinite(point.at)


def _reporting(series: Samples) -> Samples:
    """Without the sources that are silent."""
    return Samples({name: points for name, points in series.points.items() if name not in series.silent})


def _remembered(spec: Scaling, facts: ScalingFacts, memory: Memory, now: float) -> Memory:
    """Without what is too old to matter. What lies ahead of a clock that went back counts from now on."""
    in_force = _with_mark(_not_after(memory.in_force, now), (now, facts.desired))
    older = [mark for mark in in_force if mark[0] <= now - _rate_s(spec, facts)]
    panic_at = None if memory.panic_at is None else min(memory.panic_at, now)
    if panic_at is not None and now - panic_at >= _panic_s(spec, facts):
        panic_at = None
    busy_at = _busy_at(spec, facts, memory, now)
    in_force = in_force[max(0, len(older) - 1) :]
    return replace(memory, in_force=in_force, panic_at=panic_at, busy_at=busy_at, needs=_not_after(memory.needs, now))


def _busy_at(spec: Scaling, facts: ScalingFacts, memory: Memory, now: float) -> float | None:
    """When a request was last in progress. While that is not known of all gateways: now, for there may be one."""
    recent = mean(_reporting(facts.requests), now - spec.panic_s, now)
    if facts.waiting or facts.requests.silent or recent is None or recent.covered_s < spec.panic_s / 2:
        return now
    ends = [point.at for point in _busy_points(facts.requests, now - spec.stable_s, now)]
    before = [] if memory.busy_at is None else [min(memory.busy_at, now)]
    return max([*ends, *before], default=None)


def _busy_points(series: Samples, since: float, until: float) -> list[Point]:
    return [
        point
        for points in series.points.values()
        for point in points
        if since < point.at <= until and point.amount_s > 0
    ]


def _seen(spec: Scaling, memory: Memory, now: float) -> Memory:
    """Load is known: still, or again since now."""
    at = memory.known_at
    unbroken = at is not None and 0 <= now - at <= spec.panic_s
    return replace(memory, known_at=now, known_since=memory.known_since if unbroken else now)


# -- what it needs -----------------------------------------------------------------------------------------------------


def _panics(spec: Scaling, facts: ScalingFacts, load: _Load | None) -> bool:
    """Whether the panic window alone needs `panic_threshold` times the replicas that are ready, or more.

    Then the fleet does not shrink, and grows by the panic window, until `_panic_s` after this was last so.
    """
    return load is not None and replicas_for(spec, load.panic) >= spec.panic_threshold * max(1, facts.ready)


def _need(spec: Scaling, load: _Load, memory: Memory) -> int:
    steady = replicas_for(spec, load.stable)
    return steady if memory.panic_at is None else max(steady, replicas_for(spec, load.panic))


def replicas_for(spec: Scaling, load: float) -> int:
    """A load just above a whole number of targets, as sums of floats are, is none more."""
    needed = load / spec.target - _ROUNDING
    return math.ceil(needed) if needed < _NEED_MAX else _NEED_MAX


def _window_s(spec: Scaling, facts: ScalingFacts) -> float:
    """How far back the most that was needed counts: also a peak that replicas are only now becoming ready for."""
    return max(spec.down_s, spec.stable_s, facts.cold_start_s or 0.0)


def _rate_s(spec: Scaling, facts: ScalingFacts) -> float:
    """The time of a step: as long as it takes to see what came of the one before, or more would be started for it."""
    return max(spec.rate_s, (facts.cold_start_s or 0.0) + spec.panic_s)


def _panic_s(spec: Scaling, facts: ScalingFacts) -> float:
    """How long a panic lasts after its last reason: until what was started for it has been ready for a while."""
    return spec.stable_s + (facts.cold_start_s or 0.0)


# -- the rules ---------------------------------------------------------------------------------------------------------


def _wanted(spec: Scaling, facts: ScalingFacts, memory: Memory, now: float, load: _Load | None) -> _Proposal:
    """The rows of the table, from the top."""
    desired = facts.desired
    if desired == 0 and spec.min_replicas == 0:
        return _from_zero(spec, facts, memory, now, load)
    if _sleeps(spec, memory, now):
        return _Proposal(0, "idle", f"no request for {spec.idle_s:g} s")
    if load is None:
        return _Proposal(desired, "unknown", f"the load is not known{_who(facts)}: {_count(desired)} kept")
    return _followed(spec, facts, memory, now, load)


def _followed(spec: Scaling, facts: ScalingFacts, memory: Memory, now: float, load: _Load) -> _Proposal:
    """The rows of a load that is known, at least in part."""
    desired = facts.desired
    # The longer window still holds the queue of a time with too few replicas when those started for it have made short
    # work of it: what is needed no more by now is not started.
    more = min(load.need, load.recent)
    measured = f"{load.panic:.3g} {_UNITS[spec.metric]} of late, {load.stable:.3g} over {spec.stable_s:g} s"
    if memory.panic_at is not None:
        until = memory.panic_at + _panic_s(spec, facts)
        return _Proposal(max(desired, more), "panic", f"a rush: {measured} need {load.need}", until)
    if more > desired or (load.need >= desired and load.whole):
        return _Proposal(max(desired, more), "stable", f"{measured} need {load.need}")
    if load.whole:
        return _calm(spec, load, desired, _down(spec, facts, memory, now, f"{measured} need {load.need}"))
    why = f"the load is known in part{_who(facts)}: {measured} need at least {load.need}"
    return _Proposal(desired, "unknown", why)


def _from_zero(spec: Scaling, facts: ScalingFacts, memory: Memory, now: float, load: _Load | None) -> _Proposal:
    slept_at = memory.in_force[-1][0]
    since = now - spec.panic_s
    if slept_at < now:  # not known only since now: what was asked before it slept has been answered
        since = max(slept_at, since)
    if facts.waiting or _busy_points(facts.requests, since, now):
        return _Proposal(max(1, 0 if load is None else load.need), "wake", "a request waits")
    return _Proposal(0, "asleep", "no request waits")


def _sleeps(spec: Scaling, memory: Memory, now: float) -> bool:
    if spec.min_replicas > 0 or spec.idle_s is None or memory.known_since is None or memory.known_at != now:
        return False
    return now - max(memory.known_since, memory.busy_at or memory.known_since) >= spec.idle_s


def _down(spec: Scaling, facts: ScalingFacts, memory: Memory, now: float, measured: str) -> _Proposal:
    window_s = _window_s(spec, facts)
    since = now if memory.known_since is None else memory.known_since
    if now - since < window_s:
        why = f"{measured}, known for {now - since:.0f} s of the {window_s:g} s before shrinking"
        return _Proposal(facts.desired, "hold", why, since + window_s)
    at, most = memory.needs[0]
    if most >= facts.desired:
        return _Proposal(facts.desired, "hold", f"{measured}, but {most} within {window_s:g} s", at + window_s)
    return _Proposal(most, "down", f"{measured}, the most within {window_s:g} s is {most}", at + window_s)


def _calm(spec: Scaling, load: _Load, desired: int, step: _Proposal) -> _Proposal:
    """A fleet is not made so small that what it has to do just now would be a rush for the rest of it."""
    least = min(desired, math.floor(load.recent / spec.panic_threshold) + 1)
    if step.want >= least or load.recent < spec.panic_threshold:  # which the last one has not to be alone with
        return step
    return replace(step, want=least, reason=f"{step.reason}; fewer than {least} would be in a rush")


def _paced(spec: Scaling, facts: ScalingFacts, memory: Memory, step: _Proposal) -> _Proposal:
    """No faster than the rates allow, from what was in force during `rate_s`; sleeping and waking have no rate."""
    desired, marks = facts.desired, memory.in_force
    if step.want == desired or step.rule in ("idle", "wake"):
        return step
    low, high = min(mark[1] for mark in marks), max(mark[1] for mark in marks)
    if step.want > desired:
        most = max(math.ceil(max(1, low) * spec.up_factor), low + spec.up_step, desired)
        paced = min(step.want, most)
    else:
        paced = max(step.want, min(desired, math.ceil(high / spec.down_factor)))
    if paced == step.want:
        return step
    until = (marks[1][0] if len(marks) > 1 else marks[0][0]) + _rate_s(spec, facts)
    return _Proposal(paced, "rate", f"{step.reason}; {paced} for now: no faster in {_rate_s(spec, facts):g} s", until)


def _bounded(spec: Scaling, step: _Proposal) -> _Proposal:
    low = 0 if step.rule in ("idle", "asleep") else max(1, spec.min_replicas)
    if step.want > spec.max_replicas:
        return replace(
            step, want=spec.max_replicas, rule="max", reason=f"{step.reason}; the maximum is {spec.max_replicas}"
        )
    if step.want < low:
        return replace(step, want=low, rule="min", reason=f"{step.reason}; the minimum is {low}")
    return step


# -- marks -------------------------------------------------------------------------------------------------------------


def _with_need(needs: tuple[Mark, ...], new: Mark, window_s: float) -> tuple[Mark, ...]:
    """The maxima of the window: what is not above a newer need will never be the highest."""
    recent = [mark for mark in needs if mark[0] > new[0] - window_s and mark[1] > new[1]]
    return (*recent, new)


def _with_mark(marks: tuple[Mark, ...], new: Mark) -> tuple[Mark, ...]:
    return marks if marks and marks[-1][1] == new[1] else (*marks, new)


def _not_after(marks: tuple[Mark, ...], now: float) -> tuple[Mark, ...]:
    return tuple((min(at, now), count) for at, count in marks)


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"


def _who(facts: ScalingFacts) -> str:
    names = sorted(facts.load.silent)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" ({', '.join(names[:3])}{more} silent)" if names else ""
