"""The reconcile loop: observe once, plan once, write once, act. Run by the control process (`control.leading`).

It is the only writer of status, replicas and routing snapshots. It never decides: `core.reconcile.plan` does. Replica
rows are committed before their processes start, so that none is ever lost.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ParamSpec
from uuid import uuid4

from tidegate.clock import Clock, monotonic, now
from tidegate.core.engines.placement import Placement
from tidegate.core.reconcile.fleet import Fleet, GatewayFacts, Plan, ReconcileLimits, Replica, World
from tidegate.core.reconcile.plan import converged, plan
from tidegate.errors import NotLeader
from tidegate.loops.clock_leaps import ClockLeaps
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.reconcile.publish import KeyHashes, Published, SnapshotPlace, publish, published, routed_versions
from tidegate.loops.reconcile.replica_engine import ReplicaEngine
from tidegate.loops.reconcile.workload_engines import WorkloadEngines
from tidegate.loops.runner import TROUBLE
from tidegate.store.database.engine import Store
from tidegate.store.fleet import fleet as rows
from tidegate.store.fleet.fleet import LoadedFleet
from tidegate.store.fleet.fleets import Fleets

P = ParamSpec("P")
log = logging.getLogger(__name__)

CALM_S, CHANGING_S, WAKING_S = 1.0, 0.2, 0.05
WAKING_LOOKS_S = 5.0
"""A replica that loads for longer is looked for as others are: beside that time the looks between matter little."""


@dataclass(frozen=True)
class ReconcileDependencies:
    """The dependencies of `Reconciler`.

    `placement` is where replicas run of endpoints that do not say.
    `snapshot_written` is called after each new snapshot; `gateways` tells what those that may be routing said last, and
    for how long any could have said something. `ticks` is a clock that nobody sets.
    """

    store: Store
    engine: ReplicaEngine
    placement: Placement
    snapshot_written: Callable[[], None]
    gateways: Callable[[], tuple[tuple[GatewayFacts, ...], float]]
    metrics: LoopMetrics
    limits: ReconcileLimits = field(default_factory=ReconcileLimits)
    starts_max: int = 2
    key_hashes: KeyHashes = field(default_factory=KeyHashes)
    host: str = ""  # of local replicas, and of the sockets in the snapshot
    clock: Clock = now
    ticks: Clock = monotonic
    workloads: WorkloadEngines = field(default_factory=WorkloadEngines)  # on engines that place replicas themselves


@dataclass(frozen=True)
class _Step:
    """One endpoint in one pass: as it was loaded and observed, and what was planned for it."""

    loaded: LoadedFleet
    made: Plan

    @property
    def after(self) -> LoadedFleet:
        unchanged = self.made.fleet == self.loaded.fleet
        return self.loaded if unchanged else replace(self.loaded, fleet=self.made.fleet)

    @property
    def at_rest(self) -> bool:
        """Whether the same would be planned again, which is nothing, as long as the same is loaded and observed."""
        made = self.made
        nothing = not (made.starts or made.gone or made.actions or made.removed or made.events)
        return nothing and made.fleet == self.loaded.fleet and converged(made.fleet)


class Reconciler:
    """Brings what runs to what is wanted, one pass at a time."""

    def __init__(self, dependencies: ReconcileDependencies) -> None:
        self._dependencies = dependencies
        self._failures: dict[str, int] = {}  # endpoints whose pass failed are left alone for a while ...
        self._retry_at: dict[str, float] = {}  # ... while the others go on, until then by `ticks`
        self._leaps = ClockLeaps(dependencies.clock, dependencies.ticks)
        self._room = 0  # for replicas that had to wait before they could start
        self._fleets = Fleets(dependencies.placement, dependencies.host)
        self._at_rest: dict[str, LoadedFleet] = {}  # endpoints that the last pass found nothing to do for, as they were
        self._newest = Published(-1, "")  # snapshot, as far as it is known here
        self._published: tuple[list[LoadedFleet], int] | None = None  # what it was made of

    def step(self) -> float:
        """One pass; how long until the next. Without the store nothing is changed, and what runs goes on running."""
        try:
            return self._pass()
        except NotLeader:
            raise
        except Exception:
            self._dependencies.metrics.failed_passes.labels("all").inc()
            raise

    def _pass(self) -> float:
        """How long until the next look: soon while something is on its way, sooner while a request waits for it."""
        self._follow_the_clock()
        with self._dependencies.store.reading() as tx:
            loaded = self._fleets.read(tx)
            if rows.snapshot_revision(tx) != self._newest.revision:
                self._newest, self._published = published(*rows.load_snapshot(tx)), None
        self._dependencies.engine.revert_stale(loaded)
        observed = self._dependencies.workloads.observe(self._dependencies.engine.observe(loaded))
        moving = [one for one in observed if self._at_rest.get(one.fleet.endpoint.name) is not one]
        planned = self._plan_all(moving)
        saved = {name: step for name, step in planned.items() if self._isolated(name, self._save, step)}
        self._publish(observed, saved)
        self._room = self._dependencies.starts_max - sum(_started_and_loading(step.loaded) for step in saved.values())
        for name, step in saved.items():
            if self._isolated(name, self._act, step):
                self._failures.pop(name, None)
        self._ask_workloads(observed, moving, saved)
        still = {one.fleet.endpoint.name for one in moving} - {name for name, step in saved.items() if step.at_rest}
        self._at_rest = {name: one for one in observed if (name := one.fleet.endpoint.name) not in still}
        if any(_is_waking(step.made.fleet, self._dependencies.clock()) for step in saved.values()):
            return WAKING_S
        changing = len(saved) < len(moving) or any(_is_changing(step.made) for step in saved.values())
        return CHANGING_S if changing else CALM_S

    def _follow_the_clock(self) -> None:
        """Where the time was set, what waits goes on waiting for as long as it still had to."""
        leap_s = self._leaps.pending_s()
        if not leap_s:
            return
        with self._dependencies.store.transaction() as tx:
            rows.shift_waits(tx, leap_s)
        self._leaps.settled()
        way = "forward" if leap_s > 0 else "back"
        log.warning("the time was set %s by %.0f s: waits of replicas go on as they were", way, abs(leap_s))

    def _plan_all(self, observed: list[LoadedFleet]) -> dict[str, _Step]:
        """A plan for every endpoint but those in trouble; endpoints that load least get room to start first."""
        ordered = sorted(observed, key=lambda one: _loading(one.fleet))
        slots = self._dependencies.starts_max - sum(_loading(one.fleet) for one in ordered)
        gateways, listening_s = self._dependencies.gateways()
        steps: dict[str, _Step] = {}
        for one in ordered:
            name = one.fleet.endpoint.name
            jitter = random.random()  # noqa: S311 (no secret)
            world = World(self._dependencies.clock(), jitter, slots, gateways, listening_s)
            if self._dependencies.ticks() < self._retry_at.get(name, -math.inf):
                continue
            if self._isolated(name, self._plan_one, one, world, steps):
                slots -= len(steps[name].made.starts)
        return steps

    def _plan_one(self, one: LoadedFleet, world: World, steps: dict[str, _Step]) -> None:
        made = plan(one.fleet, world, self._dependencies.limits)
        forms = one.fleet.endpoint.forms
        born = tuple(
            Replica(
                _new_id(),
                version,
                "starting",
                world.now,
                form=forms.get(version),
                placement=one.fleet.endpoint.placement,
            )
            for version in made.starts
        )
        made = replace(made, fleet=replace(made.fleet, replicas=(*made.fleet.replicas, *born)))
        steps[one.fleet.endpoint.name] = _Step(one, made)

    def _save(self, step: _Step) -> None:
        """Write one endpoint's plan when it changes anything; a newly drained replica leaves with the next snapshot."""
        for event in step.made.events:
            log.info("%s", event)
        born = self._dependencies.workloads.born(step.loaded)
        if step.made.fleet == step.loaded.fleet and not (step.made.gone or step.made.removed or born):
            return
        replicas = tuple(_stamped(replica, self._newest) for replica in step.made.fleet.replicas)
        made = replace(step.made, fleet=replace(step.made.fleet, replicas=replicas))
        with self._dependencies.store.transaction() as tx:
            rows.save_plan(tx, made, self._dependencies.clock(), self._dependencies.host)
            for replica, handle in born.items():
                rows.save_handle(tx, replica.id, handle, replica.created_at)
        failed = {r.id for r in step.loaded.fleet.replicas if r.live} & set(step.made.gone)
        self._dependencies.metrics.failed_replicas.labels(step.made.fleet.endpoint.name).inc(len(failed))

    def _publish(self, observed: list[LoadedFleet], saved: dict[str, _Step]) -> None:
        """Route by what is written: an endpoint whose pass failed keeps its place in the snapshot."""
        dependencies, before = self._dependencies, self._newest
        fleets = [saved[one.fleet.endpoint.name].after if one.fleet.endpoint.name in saved else one for one in observed]
        made_of = fleets, self._fleets.generation
        if made_of == self._published:
            return
        with dependencies.store.reading() as tx:
            facts = self._fleets.facts(tx, routed_versions(fleets))
        place = SnapshotPlace(dependencies.store, dependencies.host, dependencies.key_hashes, dependencies.clock)
        self._newest = publish(place, fleets, facts, before)
        self._published = made_of
        if self._newest is not before:
            dependencies.snapshot_written()

    def _act(self, step: _Step) -> None:
        self._dependencies.engine.act(step.made.actions, step.loaded.handles)
        self._dependencies.engine.forget(step.made.gone)
        if not step.made.removed:
            self._room = self._dependencies.engine.start_missing(step.after, self._room)

    def _ask_workloads(self, observed: list[LoadedFleet], moving: list[LoadedFleet], saved: dict[str, _Step]) -> None:
        """Engines that place replicas themselves are asked for all that is planned, whether or not it changed."""
        failed = {one.fleet.endpoint.name for one in moving} - saved.keys()
        for one in observed:
            name = one.fleet.endpoint.name
            fleet = saved[name].made.fleet if name in saved else one.fleet
            if name not in failed and not self._isolated(name, self._dependencies.workloads.ask, fleet):
                failed.add(name)
        self._dependencies.workloads.delete_others(frozenset(failed))

    def _isolated(self, name: str, do: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Do it; a failure concerns this endpoint only, and puts it off for a while."""
        try:
            do(*args, **kwargs)
        except NotLeader:
            raise
        except Exception:
            self._failures[name] = self._failures.get(name, 0) + 1
            delay_s = TROUBLE.delay_s(self._failures[name], 0.0)
            self._retry_at[name] = self._dependencies.ticks() + delay_s
            self._dependencies.metrics.failed_passes.labels(name).inc()
            log.exception("%s: pass failed, the other endpoints go on; trying again in %.1f s", name, delay_s)
            return False
        return True


def _new_id() -> str:
    return f"r-{uuid4().hex[:12]}"


def _loading(fleet: Fleet) -> int:
    """How many take up room to load: those that cannot start yet do not."""
    return sum(replica.state == "starting" and not replica.waits for replica in fleet.replicas)


def _started_and_loading(one: LoadedFleet) -> int:
    return sum(replica.state == "starting" and replica.id in one.handles for replica in one.fleet.replicas)


def _stamped(replica: Replica, newest: Published) -> Replica:
    fresh = replica.state == "draining" and replica.drain_revision is None
    return replace(replica, drain_revision=newest.without(replica.id)) if fresh else replica


def _is_waking(fleet: Fleet, present: float) -> bool:
    replicas = fleet.replicas
    since = present - WAKING_LOOKS_S
    loads = any(r.state == "starting" and not r.waits and since < r.created_at for r in replicas)
    slept = fleet.endpoint.may_sleep or any(variant.waking for variant in fleet.variants)
    return slept and loads and not any(r.state == "ready" for r in replicas)


def _is_changing(made: Plan) -> bool:
    """Whether to look again soon: what waits for an image or an engine is in no hurry."""
    replicas = made.fleet.replicas
    moving = any(r.state in ("starting", "draining", "stopping") and not r.waits for r in replicas)
    moving = moving or any(r.state == "ready" and r.seen is not None and not r.seen.ready for r in replicas)
    on_its_way = made.fleet.endpoint.status in ("deploying", "deleting") and not any(r.waits for r in replicas)
    return moving or on_its_way or bool(made.starts or made.gone)
