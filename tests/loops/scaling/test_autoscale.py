"""The autoscaler's loop on a real store, with the reconcile loop beside it, and time and load in the test's hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import update

from lib.fleets import ReadyEngine, reconciler
from support.control import ME, add_version, container_at
from tidegate.core.engines.placement import PROCESSES
from tidegate.core.ports import Handle
from tidegate.loops.scaling import autoscale
from tidegate.loops.scaling.autoscale import LOOK_S, AutoscaleDependencies, Autoscaler
from tidegate.services.gateways.load import Load
from tidegate.store.endpoints import automation
from tidegate.store.endpoints.endpoints import replicas_of
from tidegate.store.tables import EndpointRow, ReplicaRow
from tidegate.wire.endpoints.scaling import ScaleDecision
from tidegate.wire.gateways.load import DURATION_BUCKETS_S, LoadReport, VersionLoad
from tidegate.wire.rest import DeployRequest, ScaleRequest, TrafficRequest, VariantView

BY_LOAD = ScaleRequest(min=1, max=20, target="concurrency=1", stable_s=20.0, panic_s=4.0, down_s=40.0)
"""With short windows: each look is a few transactions."""


class Bench:
    """A platform of two endpoints, `churn` and `other`, whose replicas are ready at once."""

    def __init__(self, folder: Path) -> None:
        self.container = container_at(folder / "data")
        for model in ("churn", "other"):
            for number in ("1", "2"):
                add_version(self.container, model, number)
            self.container.endpoints.deploy(model, DeployRequest(model, "1"), ME)
        self.now = 1000.0
        self.cpu: dict[str, float] = {}
        self.wanted: frozenset[str] = frozenset()
        self.reconcile = reconciler(self.container, ReadyEngine())
        self.restart()
        self.settle()

    def restart(self) -> None:
        """As a new control plane, which knows nothing but what is stored."""
        container = self.container
        self.load = Load(lambda: self.now, lambda: {"g-0"}, 1_000_000)
        self.autoscaler = Autoscaler(
            AutoscaleDependencies(
                store=container.fenced,
                load=self.load,
                cpu_of=self._cpu_of,
                wanted=lambda: self.wanted,
                decisions=container.scales.decisions,
                changed=lambda: None,
                placement=PROCESSES,
                host=container.leadership.me.host,
                clock=lambda: self.now,
                ticks=lambda: self.now,
            )
        )

    def _cpu_of(self, handles: Sequence[Handle]) -> list[float | None]:
        return [self.cpu.get(str(handle.data["replica"]), 0.0) for handle in handles]

    def scale(self, request: ScaleRequest = BY_LOAD, name: str = "churn") -> None:
        self.container.endpoints.scale(name, request, ME)

    def shift(self, name: str = "churn", **traffic: float) -> None:
        self.container.endpoints.set_traffic(
            name, TrafficRequest({version[1:]: percent for version, percent in traffic.items()}), ME
        )

    def settle(self, steps: int = 4) -> None:
        """Steps of the reconcile loop alone."""
        for _ in range(steps):
            self.reconcile.step()

    def run(self, seconds: float, **in_progress: float) -> None:
        """So many requests in progress of these versions (`v1=3`), told each second."""
        for _ in range(int(seconds / LOOK_S)):
            for _ in range(int(LOOK_S)):
                self.now += 1
                self.load.record(LoadReport("g-0", 1.0, [busy(name[1:], load) for name, load in in_progress.items()]))
            self.look()
            self.settle(1)

    def look(self) -> None:
        assert self.autoscaler.step() == LOOK_S

    def versions(self, name: str = "churn") -> dict[str, VariantView]:
        return {one.version: one for one in self.container.endpoints.get(name).variants}

    def desired(self, version: str = "1", name: str = "churn") -> int:
        return self.versions(name)[version].replicas.desired

    def routed(self) -> dict[str, float]:
        return self.container.endpoints.get("churn").traffic

    def told(self, version: str = "1") -> ScaleDecision:
        return {one.version: one for one in self.container.scales.get("churn").versions}[version]


def busy(version: str, load: float) -> VersionLoad:
    return VersionLoad("churn", version, load, int(10 * load), 0, [0] * (len(DURATION_BUCKETS_S) + 1))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.container.close()


def test_replicas_follow_the_load_up_and_after_the_window_down(bench: Bench) -> None:
    bench.scale()
    bench.run(10, v1=0.5)
    assert (bench.desired(), bench.told().rule) == (1, "stable")
    assert bench.container.endpoints.history("churn")[0].action == "scale", "the number that it has is no change"
    bench.run(30, v1=5)
    assert (bench.desired(), bench.versions()["1"].replicas.ready) == (5, 5)
    told = bench.told()
    assert (told.desired, told.ready, told.samples and told.samples.need) == (5, 5, 5)
    bench.run(36, v1=0)
    assert (bench.desired(), bench.told().rule) == (5, "hold")
    assert "within 40 s" in bench.told().reason
    next_at = bench.told().next_at
    assert next_at is not None
    assert bench.now < next_at <= bench.now + 40
    bench.run(90, v1=0)
    assert bench.desired() == 1
    newest, *_ = bench.container.endpoints.history("churn")
    assert (newest.action, newest.actor, newest.automated, newest.revision) == ("autoscale", "autoscaler", True, 2)
    assert "version 1: " in newest.note
    assert bench.container.endpoints.get("churn").revision == 2, "people's own is left alone"


def test_no_data_is_no_decision(bench: Bench) -> None:
    bench.container.endpoints.scale("churn", ScaleRequest(4), ME)
    bench.scale()
    for _ in range(60):
        bench.now += 2
        bench.look()
    assert (bench.desired(), bench.told().rule) == (4, "unknown")


def test_a_restart_shrinks_nothing_before_a_whole_window_was_seen(bench: Bench) -> None:
    bench.scale()
    bench.run(40, v1=6)
    bench.run(30, v1=0)
    bench.restart()
    bench.run(40, v1=0)
    assert (bench.desired(), bench.told().rule) == (6, "hold")
    bench.run(50, v1=0)
    assert bench.desired() == 1


def test_a_version_gets_what_its_share_needs_before_it_gets_the_traffic(bench: Bench) -> None:
    bench.scale()
    bench.run(40, v1=8)
    bench.shift(v2=100)
    bench.settle(10)
    assert bench.routed() == {"1": 100}, "nobody has said yet how many it needs"
    bench.look()
    assert (bench.desired("2"), bench.told("2").rule) == (8, "switch")
    for _ in range(30):
        bench.settle(1)
        if bench.routed() == {"2": 100}:
            break
        assert bench.versions()["2"].replicas.ready < 8
    assert bench.routed() == {"2": 100}
    bench.run(2, v2=8)
    assert bench.desired("1") == 1, "for a way back"
    assert bench.told("1").rule == "previous"
    bench.run(36, v2=1)
    assert bench.desired("2") == 8, "what the old one needed holds for the new one"
    bench.run(60, v2=1)
    assert bench.desired("2") == 1


def test_a_switch_waits_for_what_the_load_takes_and_the_others_follow(bench: Bench) -> None:
    bench.scale()
    bench.run(40, v1=8)
    bench.run(30, v1=1)
    assert bench.desired("1") == 8, "held for what it needed before"
    bench.shift(v2=100)
    bench.look()
    assert (bench.desired("2"), bench.told("2").rule) == (8, "switch")
    for _ in range(30):
        if bench.routed() == {"2": 100}:
            break
        bench.settle(1)
    assert bench.routed() == {"2": 100}
    assert bench.versions()["2"].replicas.ready < 8
    bench.run(24, v2=1)
    assert bench.versions()["2"].replicas.ready == 8


def test_a_little_traffic_takes_few_and_a_way_back_is_made_ready_first(bench: Bench) -> None:
    bench.scale()
    bench.run(40, v1=10)
    bench.shift(v1=90, v2=10)
    bench.run(20, v1=10)
    assert bench.routed() == {"1": 90, "2": 10}
    assert (bench.desired("1"), bench.desired("2")) == (10, 1)
    bench.shift(v2=100)
    bench.run(24, v1=9, v2=1)
    assert bench.routed() == {"2": 100}
    assert (bench.desired("1"), bench.desired("2")) == (1, 11), "both fleets together: a switch shrinks none"
    bench.shift(v1=100)
    bench.settle(10)
    assert bench.routed() == {"2": 100}
    bench.run(20, v2=10)
    assert bench.routed() == {"1": 100}
    assert bench.desired("1") == 11


def test_a_fixed_number_ends_it_and_bounds_hold_at_once(bench: Bench) -> None:
    bench.scale()
    bench.run(40, v1=9)
    bench.scale(ScaleRequest(max=6))
    bench.look()
    assert (bench.desired(), bench.told().rule) == (6, "max")
    bench.scale(ScaleRequest(min=6, max=30))
    bench.run(20, v1=0)
    assert bench.desired() == 6
    bench.scale(ScaleRequest(3))
    bench.run(20, v1=9)
    assert (bench.desired(), bench.told().rule, bench.told().reason) == (3, "fixed", "people asked for 3")
    bench.scale()
    assert bench.desired() == 3, "it goes on from there"


def test_processors_are_followed_too_and_what_loading_took_is_no_load(bench: Bench) -> None:
    bench.scale(ScaleRequest(min=1, max=5, target="cpu=50"))
    with bench.container.store.reading() as tx:
        ready = [one.id for one in replicas_of(tx, "churn")]
    for second in range(0, 40, 2):
        bench.now += 2
        bench.load.record(LoadReport("g-0", 2.0, []))
        bench.cpu = dict.fromkeys(ready, 0.95 * second)  # those that are started now only load
        bench.look()
        bench.settle(2)
    samples = bench.told().samples
    assert samples is not None
    assert samples.panic == pytest.approx(95.0)
    assert (bench.desired(), samples.need) == (2, 2)


def test_one_that_cannot_be_scaled_leaves_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.scale()
    bench.scale(ScaleRequest(min=3), name="other")
    real = automation.set_replicas

    def broken(tx: object, seen: automation.EndpointSeen, *more: object) -> bool:
        if seen.endpoint == "churn":
            raise RuntimeError("a bug")
        return real(tx, seen, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(autoscale, "set_replicas", broken)
    bench.look()
    assert bench.desired("1", "other") == 3
    told = bench.told()
    assert (told.desired, told.rule, told.reason) == (1, "unknown", "the last look failed: a bug")
    monkeypatch.undo()
    bench.run(4, v1=0.5)
    assert bench.told().rule == "stable"


def test_one_that_cannot_be_read_leaves_the_others(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.scale()
    bench.scale(ScaleRequest(min=3), name="other")
    with bench.container.store.transaction() as tx:
        tx.execute(
            update(EndpointRow).where(EndpointRow.name == "churn").values(scaling={"metric": "of a newer release"})
        )
    bench.look()
    bench.look()
    assert bench.desired("1", "other") == 3
    assert [one.message for one in caplog.records if one.name == autoscale.__name__ and one.levelname == "ERROR"] == [
        "churn: not scaled, its replicas stay as they are"
    ], "it is said once"


def test_how_long_a_start_took_is_not_known_where_the_clock_was_set_meanwhile(bench: Bench) -> None:
    bench.scale()
    with bench.container.store.transaction() as tx:
        tx.execute(update(ReplicaRow).values(created_at=ReplicaRow.ready_at - 86_400.0))
    bench.run(4, v1=0.5)
    samples = bench.told().samples
    assert samples is not None
    assert samples.cold_start_s is None


def test_one_that_is_being_deleted_is_left_alone(bench: Bench) -> None:
    bench.scale()
    bench.container.endpoints.delete("churn", ME)
    bench.run(10, v1=9)
    assert bench.container.scales.decisions.of("churn") == {}


SLEEPY = ScaleRequest(min=0, max=4, target="concurrency=1", idle_s=20.0)


def test_an_endpoint_without_requests_sleeps_and_one_that_is_wanted_wakes(bench: Bench) -> None:
    bench.scale(SLEEPY)
    bench.run(60, v1=0.5)
    assert bench.desired() == 1, "it is busy"
    bench.run(16)
    assert bench.desired() == 1, "and was so lately"
    bench.run(8)
    assert bench.desired() == 0
    bench.settle()
    assert bench.container.endpoints.get("churn").status == "asleep"
    bench.run(30)
    assert (bench.desired(), bench.told().rule) == (0, "asleep")
    bench.wanted = frozenset({"churn"})
    bench.look()
    assert (bench.desired(), bench.told().rule) == (1, "wake")
    bench.settle()
    assert bench.container.endpoints.get("churn").status == "ready"


def test_an_update_to_a_minimum_of_0_puts_no_busy_endpoint_to_sleep(bench: Bench) -> None:
    bench.scale(ScaleRequest(min=1, max=4, target="concurrency=1"))
    bench.run(40)
    bench.restart()  # nothing is remembered of the load before
    bench.scale(SLEEPY)
    bench.run(18)
    assert bench.desired() == 1, "nothing is known of the time before"
    bench.run(60, v1=0.2)
    assert bench.desired() == 1


def test_versions_sleep_together_and_a_new_one_is_proven_before_it_may(bench: Bench) -> None:
    bench.scale(SLEEPY)
    bench.shift(v1=90, v2=10)
    bench.run(40, v1=0.5)
    assert bench.routed() == {"1": 90, "2": 10}
    assert (bench.desired("1"), bench.desired("2")) == (1, 1), "one that is asked for keeps the other awake"
    bench.run(60)
    assert (bench.desired("1"), bench.desired("2")) == (0, 0)
    bench.shift(v2=100)
    bench.run(4)
    assert bench.routed() == {"2": 100}
    assert bench.desired("2") == 1
    bench.run(60)
    assert bench.desired("2") == 0
