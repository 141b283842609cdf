"""A fleet of replicas behind a virtual clock: generated load, one queue, cold starts, and the autoscaler that runs in
production. For `benchmarks/autoscaling.py` and the autoscaler's tests; nothing here waits.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from tidegate.core.scaling.autoscale import AutoscaleDecision, Memory, ScalingFacts, decide
from tidegate.core.scaling.load import Point, Samples
from tidegate.core.scaling.policy import Scaling

Rate = Callable[[float], float]
"""Requests a second at a time."""

LOOK_S = 2.0
"""How often the autoscaler is asked."""
KEPT_POINTS = 300


@dataclass(frozen=True)
class World:
    """What is simulated: a replica starts within `cold_start_s` and computes one request at a time, in `service_s`."""

    seconds: int
    service_s: float = 0.1
    deadline_s: float = 1.0
    cold_start_s: float = 8.0
    seed: int = 7


@dataclass
class Outcome:
    """How it went. `desired` has every change, with its time."""

    requests: int = 0
    within_deadline: int = 0
    replica_s: float = 0.0
    desired: list[tuple[float, int]] = field(default_factory=list)
    decisions: list[AutoscaleDecision] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.within_deadline / self.requests if self.requests else 1.0

    @property
    def replica_hours(self) -> float:
        return self.replica_s / 3600

    def reversals(self) -> list[float]:
        """When a change went the other way than the one before."""
        changes = [(at, after - before) for (_, before), (at, after) in pairwise(self.desired)]
        return [at for (_, before), (at, change) in pairwise(changes) if before * change < 0]


def arrivals(rate: Rate, world: World, shape: float | None = None) -> list[float]:
    """Times of requests at this rate: a Poisson process, or with `shape` one whose gaps are gamma (below 1: bursts)."""
    source = random.Random(world.seed)
    found, at, work = [], 0.0, 0.0
    while at < world.seconds:
        work = source.expovariate(1.0) if shape is None else source.gammavariate(shape, 1 / shape)
        while work > 0 and at < world.seconds:  # a gap is spent at the rate of each tenth of a second that it crosses
            step_s = 0.1 - at % 0.1 or 0.1
            if step_s < 1e-9:
                step_s = 0.1
            spent = rate(at) * step_s
            if spent >= work:
                at += step_s * work / spent
                work = 0.0
            else:
                at, work = at + step_s, work - spent
        if at < world.seconds:
            found.append(at)
    return found


class Fleet:
    """Replicas and the one queue in front of them; `until` lets time pass."""

    def __init__(self, world: World, times: list[float], replicas: int) -> None:
        self._world, self._times, self._next = world, times, 0
        self._waiting: deque[float] = deque()
        self._running: list[tuple[float, float]] = []
        self._starting: list[float] = []
        self.ready = replicas
        self.now = 0.0
        self.in_progress_s = 0.0
        self.outcome = Outcome(requests=len(times))

    @property
    def replicas(self) -> int:
        return self.ready + len(self._starting)

    def scale(self, desired: int) -> None:
        """Start what is missing; end what starts first, then what runs, which finishes what it has."""
        while self.replicas < desired:
            heapq.heappush(self._starting, self.now + self._world.cold_start_s)
        while self.replicas > desired and self._starting:
            self._starting.remove(max(self._starting))
            heapq.heapify(self._starting)
        self.ready = min(self.ready, desired)

    def until(self, end: float) -> None:
        """Everything that happens before `end`, in order."""
        while (at := self._soonest()) < end:
            self._pass(at)
            self._happen(at)
        self._pass(end)

    def _soonest(self) -> float:
        arrival = self._times[self._next] if self._next < len(self._times) else math.inf
        ended = self._running[0][0] if self._running else math.inf
        started = self._starting[0] if self._starting else math.inf
        return min(arrival, ended, started)

    def _pass(self, at: float) -> None:
        seconds = at - self.now
        self.in_progress_s += seconds * (len(self._waiting) + len(self._running))
        self.outcome.replica_s += seconds * max(self.replicas, len(self._running))
        self.now = at

    def _happen(self, at: float) -> None:
        if self._starting and self._starting[0] <= at:
            heapq.heappop(self._starting)
            self.ready += 1
        elif self._running and self._running[0][0] <= at:
            _, came = heapq.heappop(self._running)
            self.outcome.within_deadline += at - came <= self._world.deadline_s
        else:
            self._waiting.append(at)
            self._next += 1
        self._dispatch()

    def _dispatch(self) -> None:
        while self._waiting and self._waiting[0] < self.now - self._world.deadline_s:
            self._waiting.popleft()  # as a gateway does with what nobody waits for any more
        while self._waiting and len(self._running) < self.ready:
            heapq.heappush(self._running, (self.now + self._world.service_s, self._waiting.popleft()))


def autoscaled(spec: Scaling, world: World, times: list[float]) -> Outcome:
    """Run the fleet with the autoscaler, asked every `LOOK_S`, on samples of each second."""
    fleet, memory, desired = Fleet(world, times, max(1, spec.min_replicas)), Memory(), max(1, spec.min_replicas)
    points: deque[Point] = deque(maxlen=KEPT_POINTS)
    fleet.outcome.desired.append((0.0, desired))
    for second in range(1, world.seconds + 1):
        before = fleet.in_progress_s
        fleet.until(float(second))
        points.append(Point(float(second), 1.0, fleet.in_progress_s - before))
        if second % LOOK_S == 0:
            series = Samples({"gateway-0": tuple(points)[-int(spec.stable_s) :]})
            facts = ScalingFacts(desired, fleet.ready, series, series, world.cold_start_s)
            decision = decide(spec, facts, memory, float(second))
            fleet.outcome.decisions.append(decision)
            if decision.desired != desired:
                fleet.outcome.desired.append((float(second), decision.desired))
            memory, desired = decision.memory, decision.desired
            fleet.scale(desired)
    return fleet.outcome


def static(replicas: int, world: World, times: list[float]) -> Outcome:
    """Run a fleet that never changes."""
    fleet = Fleet(world, times, replicas)
    fleet.until(float(world.seconds))
    return fleet.outcome


def static_as_good(share: float, world: World, times: list[float]) -> tuple[int, Outcome]:
    """The smallest static fleet that answers as large a share within the deadline, up to 200."""
    low, high = 1, 200
    while low < high:
        middle = (low + high) // 2
        if static(middle, world, times).share >= share:
            high = middle
        else:
            low = middle + 1
    return low, static(low, world, times)


def square(at: float) -> float:
    """Ten minutes of much, ten of little."""
    return 120.0 if at % 1200 >= 600 else 15.0


def spike(at: float) -> float:
    """Little, but for one minute of very much."""
    return 200.0 if 900 <= at < 960 else 15.0


def diurnal(at: float) -> float:
    """A day in two hours."""
    return 80.0 - 65.0 * math.cos(2 * math.pi * at / 7200)


def steady(at: float) -> float:  # noqa: ARG001 (the shape of a rate)
    """The same all the time; with gaps of high variance it still comes in bursts."""
    return 60.0


TRACES: dict[str, tuple[Rate, float | None]] = {
    "square": (square, None),
    "spike": (spike, None),
    "diurnal": (diurnal, None),
    "gamma": (steady, 0.1),
}
"""Rate and shape of the gaps: the last one's have ten times the variance of a Poisson process."""
