"""The reconciler against a simulated engine: whatever happens in between, it keeps its promises and converges."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.core.ports import ReplicaObservation
from tidegate.core.reconcile.fleet import EndpointFacts, Fleet, Plan, ReconcileLimits, Replica, World
from tidegate.core.reconcile.plan import converged, plan

VERSIONS = ("1", "2", "3")
LIMITS = ReconcileLimits(
    ready_timeout_s=20, keep_previous_s=30, drain_s=3, stop_grace_s=4, health_timeout_s=10, crash_window_s=60
)
STEP_S = 0.5
STARTS_MAX = 2

weights = st.sampled_from(
    [{"1": 100}, {"2": 100}, {"3": 100}, {"1": 90, "2": 10}, {"2": 50, "3": 50}, {"1": 100, "2": 0}]
)
behaviours = st.sampled_from(["good", "bad", "hangs"])
events = st.one_of(
    st.tuples(st.just("traffic"), weights),
    st.tuples(st.just("replicas"), st.integers(1, 3)),
    st.tuples(st.just("counts"), st.dictionaries(st.sampled_from(VERSIONS), st.integers(1, 3))),
    st.tuples(st.just("behaviour"), st.tuples(st.sampled_from(VERSIONS), behaviours)),
    st.tuples(st.just("crash"), st.integers(0, 5)),
    st.tuples(st.just("silence"), st.integers(0, 5)),
    st.tuples(st.just("form"), st.tuples(st.sampled_from(VERSIONS), st.sampled_from(["", "trees"]))),
    st.tuples(st.just("unknown"), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 40)),
)


@dataclass
class Process:
    version: str
    started_at: float
    alive: bool = True
    silent: bool = False


@dataclass
class Simulation:
    """An engine and a store in memory, and one endpoint in them."""

    fleet: Fleet = field(default_factory=lambda: Fleet(EndpointFacts("e", "m", {"1": 100}, 1, 1)))
    processes: dict[str, Process] = field(default_factory=dict)
    behaviour: dict[str, str] = field(default_factory=lambda: dict.fromkeys(VERSIONS, "good"))
    now: float = 0.0
    engine_answers: bool = True
    removed: bool = False
    born: int = 0
    rests: bool = False

    def seen(self, replica: Replica) -> ReplicaObservation | None:
        process = self.processes.get(replica.id)
        if not self.engine_answers or process is None:
            return None
        age_s, behaviour = self.now - process.started_at, self.behaviour[process.version]
        if replica.state == "starting" and behaviour == "bad" and age_s >= 1:
            process.alive = False
        ready = (
            process.alive
            and not process.silent
            and age_s >= 1
            and (behaviour == "good" or replica.ready_at is not None)
        )
        return ReplicaObservation(process.alive, ready, f"unix:{replica.id}", None if process.alive else 1)

    def step(self) -> Plan:
        self.now += STEP_S
        before = replace(self.fleet, replicas=tuple(replace(r, seen=self.seen(r)) for r in self.fleet.replicas))
        loading = sum(r.state == "starting" for r in before.replicas)
        made = plan(before, World(self.now, 0.3, STARTS_MAX - loading), LIMITS)
        self.check(before, made)
        for version in made.starts:
            self.born += 1
            name = f"r{self.born}"
            self.processes[name] = Process(version, self.now)
            replicas = (*made.fleet.replicas, self.newborn(name, version))
            made = replace(made, fleet=replace(made.fleet, replicas=replicas))
        for action in made.actions:
            self.processes[action.replica].alive = False
        self.fleet, self.removed = made.fleet, made.removed
        return made

    def newborn(self, name: str, version: str) -> Replica:
        return Replica(name, version, "starting", self.now, form=self.fleet.endpoint.forms.get(version, ""))

    def check(self, before: Fleet, made: Plan) -> None:
        """What must hold after every single pass."""
        old, new = before.endpoint, made.fleet.endpoint
        ready = {r.version for r in made.fleet.replicas if r.state == "ready"}
        if new.routed and not new.deleted:
            assert abs(sum(new.routed.values()) - 100) < 1e-9
        if new.routed != old.routed and not new.deleted:
            assert set(new.routed) <= ready, "traffic went to a version without a ready replica"
        active = new.target | new.routed
        for version in VERSIONS:
            fresh = [r for r in made.fleet.replicas if r.form == new.forms.get(version, r.form)]
            live = sum(r.live and r.version == version for r in fresh) + made.starts.count(version)
            were = sum(r.live and r.version == version for r in before.replicas)
            assert live <= max(new.wanted(version) if version in active else were, 0) or not made.starts.count(version)
        loading = sum(r.state == "starting" for r in made.fleet.replicas)
        assert len(made.starts) + loading <= max(STARTS_MAX, loading)
        wanted = {r.id for r in before.replicas if r.state == "ready" and r.version in active}
        for version in set(old.routed) & set(new.routed):
            if old.wanted(version) != new.wanted(version):
                continue
            were = sum(r.state == "ready" and r.version == version for r in before.replicas)
            are = sum(r.state == "ready" and r.version == version for r in made.fleet.replicas)
            lost = sum(r.seen is not None and not r.seen.ready and r.version == version for r in before.replicas)
            assert are >= min(were, new.wanted(version)) - lost, (
                "a ready replica was taken out before another was there"
            )
        self.rests = converged(before) and made == Plan(before)
        if self.rests:  # such a fleet is not looked at again until it changes
            later = World(self.now + 1e6, 0.9, 10)
            assert plan(before, later, LIMITS) == made, "time alone gave it something to do"
        stopped = {a.replica for a in made.actions if a.kind == "stop"}
        assert not stopped & wanted or new.deleted, "a ready replica was stopped without draining"

    def change(self, **spec: object) -> None:
        """As a person does it: what was given up is tried again."""
        generation = self.fleet.endpoint.generation + 1
        spec = {"generation": generation, "retries": dict.fromkeys(VERSIONS, generation), **spec}
        self.fleet = replace(self.fleet, endpoint=replace(self.fleet.endpoint, **spec))  # type: ignore[arg-type]

    def apply(self, event: tuple[str, object]) -> None:
        match event:
            case ("traffic" | "replicas" | "counts" as name, value):
                self.change(**{name: value})
            case ("behaviour", (str() as version, str() as behaviour)):
                self.behaviour[version] = behaviour
            case ("crash" | "silence" as harm, int() as index):
                for process in list(self.processes.values())[index : index + 1]:
                    setattr(process, *{"crash": ("alive", False), "silence": ("silent", True)}[harm])
            case ("form", (str() as version, str() as form)):
                forms = {**self.fleet.endpoint.forms, version: form}
                self.fleet = replace(self.fleet, endpoint=replace(self.fleet.endpoint, forms=forms))
            case ("unknown", bool() as unknown):
                self.engine_answers = not unknown
            case ("wait", int() as steps):
                for _ in range(steps):
                    self.step()
        self.step()

    def calm(self, seconds: float) -> None:
        for _ in range(int(seconds / STEP_S)):
            self.step()


@settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=25))
def test_it_converges_whatever_happened(history: list[tuple[str, object]]) -> None:
    simulation = Simulation()
    for event in history:
        simulation.apply(event)
    simulation.engine_answers = True
    simulation.behaviour = dict.fromkeys(VERSIONS, "good")
    simulation.change()
    simulation.calm(200)
    endpoint = simulation.fleet.endpoint
    assert endpoint.status == "ready", endpoint.reason
    assert endpoint.routed == endpoint.target
    assert endpoint.observed_generation == endpoint.generation
    running = [r.version for r in simulation.fleet.replicas]
    assert sorted(running) == sorted(v for v in endpoint.target for _ in range(endpoint.wanted(v)))
    assert all(r.form == endpoint.forms.get(r.version, r.form) for r in simulation.fleet.replicas)
    assert {v.version for v in simulation.fleet.variants} == set(endpoint.target)
    assert simulation.rests
    alive = [name for name, process in simulation.processes.items() if process.alive]
    assert sorted(alive) == sorted(r.id for r in simulation.fleet.replicas), "a process runs that no row knows"


@settings(max_examples=25, deadline=None)
@given(st.lists(events, max_size=15))
def test_a_deleted_endpoint_always_goes(history: list[tuple[str, object]]) -> None:
    simulation = Simulation()
    for event in history:
        simulation.apply(event)
    simulation.engine_answers = True
    simulation.change(deleted=True)
    simulation.calm(20)
    assert simulation.removed
    assert not any(process.alive for process in simulation.processes.values())


@settings(max_examples=25, deadline=None)
@given(st.lists(events, max_size=15), st.sampled_from(["bad", "hangs"]))
def test_a_version_that_never_becomes_ready_never_takes_traffic(history: list[tuple[str, object]], how: str) -> None:
    simulation = Simulation()
    simulation.behaviour["3"] = how
    for event in history:
        if event[0] != "behaviour":
            simulation.apply(event)
            assert "3" not in simulation.fleet.endpoint.routed
    simulation.engine_answers = True
    simulation.behaviour["3"] = how
    simulation.change(traffic={"3": 100})
    simulation.calm(300)
    assert "3" not in simulation.fleet.endpoint.routed
    assert simulation.fleet.endpoint.status in ("degraded", "failed")
    assert "given up" in simulation.fleet.endpoint.reason
    starts = simulation.born
    simulation.calm(100)
    still_serving = [v for v in simulation.fleet.endpoint.routed if v != "3"]
    assert simulation.born == starts or still_serving
