"""Rows of many endpoints that run, and an engine that says so. Used by `store_at_scale.py` and by tests of queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import insert

from tidegate.core.engines.placement import PROCESSES, Placement
from tidegate.core.ports import Handle, ReplicaObservation, ReplicaSpec
from tidegate.core.reconcile.fleet import ReconcileLimits
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.reconcile.reconcile import ReconcileDependencies, Reconciler
from tidegate.loops.reconcile.replica_engine import ReplicaEngine
from tidegate.store.database.engine import Store
from tidegate.store.tables import EndpointRow, HistoryRow, ModelRow, ReplicaRow, VariantRow, VersionRow
from tidegate.wiring import Container

COLUMNS = 20
AT = 1000.0


class ReadyEngine:
    """Whatever is started, or was filled in, is ready at once and stays so."""

    name = "local"

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self._ready: dict[str, ReplicaObservation] = {}  # what it says costs nothing: the loop is what is measured

    def check(self, _placement: Placement) -> None:
        """Anything can be started."""

    def unavailable_reason(self) -> str | None:
        """It always answers."""
        return None

    def start(self, spec: ReplicaSpec) -> Handle:
        """Ready from now on."""
        return Handle("local", {"replica": spec.id, "token": spec.token})

    def observe(self, handles: Sequence[Handle]) -> list[ReplicaObservation | None]:
        """As `start` and `stop` left them."""
        names = [str(handle.data["replica"]) for handle in handles]
        return [_GONE if name in self.ended else self._seen(name) for name in names]

    def cpu_s(self, handles: Sequence[Handle]) -> list[float | None]:
        """Not measured."""
        return [None for _ in handles]

    def _seen(self, name: str) -> ReplicaObservation:
        if name not in self._ready:
            self._ready[name] = ReplicaObservation(alive=True, ready=True, address=f"unix:/{name}.sock")
        return self._ready[name]

    def stop(self, handle: Handle) -> None:
        """Gone at once."""
        self.ended.add(str(handle.data["replica"]))

    kill = stop

    def logs(self, _handle: Handle, _lines_max: int) -> list[str]:
        """None."""
        return []

    def orphans(self, _known: Sequence[Handle]) -> list[Handle]:
        """None."""
        return []

    def on_this_host(self) -> list[Handle]:
        """None that could be ended."""
        return []


_GONE = ReplicaObservation(alive=False, ready=False)


def reconciler(container: Container, engine: ReadyEngine) -> Reconciler:
    """The loop over this engine, for the term that has begun."""
    store, path, clock = container.fenced, container.manifests.path, container.clock
    return Reconciler(
        ReconcileDependencies(
            store=store,
            engine=ReplicaEngine(engine, store, path, clock, token=1),
            placement=PROCESSES,
            snapshot_written=lambda: None,
            gateways=lambda: ((), 0.0),
            metrics=LoopMetrics(CollectorRegistry()),
            limits=ReconcileLimits(),
            host=container.leadership.me.host,
            clock=clock,
        )
    )


def fill(store: Store, host: str, endpoints: int, versions: int, running: int) -> None:
    """Endpoints that are as they were asked to be: `running` of the `versions` of each have traffic and a replica.

    The replicas are on `host`.
    """
    with store.transaction() as tx:
        for table, rows in (
            (ModelRow, _models(endpoints)),
            (VersionRow, _versions(endpoints, versions)),
            (EndpointRow, _endpoints(endpoints, running)),
            (HistoryRow, _history(endpoints, running)),
            (VariantRow, _variants(endpoints, running)),
            (ReplicaRow, _replicas(endpoints, running, host)),
        ):
            tx.execute(insert(table), list(rows))


def name_of(number: int) -> str:
    """Of an endpoint and its model."""
    return f"model-{number:05d}"


def _uid(number: int) -> str:
    return f"{number + 1:032x}"


def _traffic(running: int) -> dict[str, float]:
    return {str(number): 100.0 / running for number in range(1, running + 1)}


def _models(count: int) -> Iterator[dict[str, Any]]:
    return ({"name": name_of(number), "created_at": AT} for number in range(count))


def _versions(count: int, versions: int) -> Iterator[dict[str, Any]]:
    columns = [{"name": f"column_{index}", "datatype": "FP64", "shape": [-1]} for index in range(COLUMNS)]
    outputs = [{"name": "prediction", "datatype": "INT64", "shape": [-1]}]
    tried = [{"form": "onnx", "kept": True, "reason": "as exact as the original", "speedup": 7.5}] * 3
    for number in range(count):
        for version in range(1, versions + 1):
            yield {
                "model": name_of(number),
                "version": str(version),
                "label": f"v{version}",
                "digest": f"{number * 1000 + version:064x}",
                "framework": "sklearn",
                "signature": {"kind": "columns", "inputs": columns, "outputs": outputs},
                "example": {column["name"]: 0.5 for column in columns},
                "batchable": True,
                "pickle_granted": False,
                "validation": {"metric": "accuracy", "score": 0.93, "min_score": 0.8, "rows": 500, "load_s": 0.4},
                "acceleration": {"kept": "onnx", "reason": "faster", "tried": tried},
                "tags": {"team": "retention"},
                "description": "",
                "size_bytes": 20_000,
                "created_at": AT,
            }


def _endpoints(count: int, running: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {
            "name": name_of(number),
            "model": name_of(number),
            "uid": _uid(number),
            "salt": f"{number:032x}",
            "created_at": AT,
            "traffic": _traffic(running),
            "replicas": 1,
            "revision": 1,
            "traffic_revision": 1,
            "replicas_revision": 1,
            "generation": 1,
            "retries": {},
            "status": "ready",
            "reason": "",
            "routed": _traffic(running),
            "observed_generation": 1,
        }


def _history(count: int, running: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {
            "endpoint": name_of(number),
            "endpoint_uid": _uid(number),
            "revision": 1,
            "generation": 1,
            "automated": False,
            "at": AT,
            "action": "traffic",
            "actor": "token",
            "traffic": _traffic(running),
            "replicas": 1,
        }


def _variants(count: int, running: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        for version in range(1, running + 1):
            yield {"endpoint": name_of(number), "version": str(version), "status": "ready", "crashes": []}


def _replicas(count: int, running: int, host: str) -> Iterator[dict[str, Any]]:
    for number in range(count):
        for version in range(1, running + 1):
            name = f"r-{number:05d}-{version:02d}"
            yield {
                "id": name,
                "endpoint": name_of(number),
                "model": name_of(number),
                "version": str(version),
                "state": "ready",
                "backend": "local",
                "host": host,
                "handle": {"replica": name, "token": 1, "pid": 1000 + number, "started": 12345.0},
                "address": f"unix:/{name}.sock",
                "created_at": AT,
                "ready_at": AT,
                "form": "onnx",
            }
