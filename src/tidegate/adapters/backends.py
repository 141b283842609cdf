"""The engines of a platform: how each is built, and all of them as one backend. Called by wiring.

A new engine is its adapter (a `core.ports.Backend`, which `tests/conformance/backend` takes as a subject, or where it
places replicas itself a `core.workloads.Workloads`, for `tests/conformance/workloads`), an entry of
`core.engines.capabilities` that says what it can do, and one of `BUILDERS` or `WORKLOADS`. What else names engines is
not derived from these:

- words: the help of `settings.backend` and `console/deploying.py` (`ENGINES`);
- its settings: `settings.py` (of clouds `cloud_settings.py`), an extra of `pyproject.toml` for its library;
- `doctor/`, where each engine has a check that `doctor/__main__.py` names (Docker's is in `servers.py`);
- `down.py`, which ends what a control plane that is gone left on Docker; the default limits of replicas
  (`wiring/defaults.py`) are those of Docker's settings;
- `wiring/deliveries.py`, where its replicas need images for one processor;
- manifests (`tidegate export --format`), if it shall have some: `core/manifests/export.py`, `cli/endpoints/apply.py`;
- its page in `docs/engines`, listed in `docs/engines.md` and `mkdocs.yml`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.adapters.cloudrun.workloads import build as cloudrun_workloads
from tidegate.adapters.docker.backend import MARK, DockerBackend, MakeImage
from tidegate.adapters.docker.engine import DockerEngine, address_of
from tidegate.adapters.ecs.workloads import EcsWorkloads
from tidegate.adapters.kubernetes.api import connect
from tidegate.adapters.kubernetes.workloads import ClusterParts, KubernetesWorkloads
from tidegate.adapters.local.backend import LocalBackend
from tidegate.core.engines.capabilities import CLOUDRUN, DOCKER, ECS, KUBERNETES, LOCAL
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.ports import Backend, Handle, ReplicaObservation, ReplicaSpec
from tidegate.core.workloads import Workloads, WorkloadSpec
from tidegate.errors import EngineUnavailable, InvalidArgument, TidegateError
from tidegate.settings import Settings
from tidegate.system.child_env import engine_env
from tidegate.wire.parts import EngineView
from tidegate.wire.replicas.replica_key import replica_key

log = logging.getLogger(__name__)


def _nothing_is_delivered(spec: WorkloadSpec) -> Delivery:
    raise InvalidArgument(f"{spec.model}:{spec.key.version} cannot be delivered anywhere from here", field="backend")


@dataclass(frozen=True)
class EngineParts:
    """What engines are built with. `env` is what replicas inherit, `make_image` sees to a version's image.

    Engines elsewhere show only what carries the id of this `platform`, and their replicas take the key that
    `wire.replicas.replica_key` makes of `node_key` and the workload's name. `deliver` says how a version gets there, or
    raises why it does not (yet).
    """

    settings: Settings
    files_dir: Path
    env: Mapping[str, str]
    make_image: MakeImage
    platform: str = ""
    node_key: str = ""
    deliver: Callable[[WorkloadSpec], Delivery] = _nothing_is_delivered

    def key_of(self, credential: str) -> str:
        """The key of replicas that are reached by this credential."""
        return replica_key(self.node_key, credential)


@dataclass(frozen=True)
class BuiltEngine:
    """`view` shows its server, where it has one; `used` says whether it ever ran anything of this platform."""

    backend: Backend
    view: Callable[[], EngineView | None] = lambda: None
    used: Callable[[], bool] = lambda: False


def _processes(parts: EngineParts) -> BuiltEngine:
    return BuiltEngine(LocalBackend(parts.settings.data_dir, parts.env, parts.files_dir / "environments"))


def _containers(parts: EngineParts) -> BuiltEngine:
    data_dir, network = parts.settings.data_dir, parts.settings.docker_network
    engine = DockerEngine(lambda: address_of(engine_env()))

    def view() -> EngineView:
        try:
            version = engine.call(lambda api: str(api.version()["Version"]))
        except TidegateError as error:
            return EngineView(engine.address, "unavailable", reason=error.message)
        return EngineView(engine.address, "ready", version)

    backend = DockerBackend(data_dir, engine, parts.make_image, parts.env, network)
    return BuiltEngine(backend, view, (data_dir / MARK).exists)


BUILDERS: Mapping[str, Callable[[EngineParts], BuiltEngine]] = {LOCAL: _processes, DOCKER: _containers}
"""Engines on which we place replicas, by the names of `core.engines.capabilities.ENGINES`."""


def _pods(parts: EngineParts) -> Workloads:
    api = connect(parts.settings.kubeconfig_path, parts.settings.namespace, os.environ)
    cluster = ClusterParts(api, parts.platform, parts.key_of, parts.deliver, parts.settings.drain_s)
    return KubernetesWorkloads(cluster)


def _tasks(parts: EngineParts) -> Workloads:
    return EcsWorkloads(parts.settings, parts.platform, parts.deliver, parts.key_of, env=parts.env)


def _revisions(parts: EngineParts) -> Workloads:
    return cloudrun_workloads(lambda: parts.settings, os.environ, parts.platform, parts.deliver, parts.key_of)


WORKLOADS: Mapping[str, Callable[[EngineParts], Workloads]] = {KUBERNETES: _pods, ECS: _tasks, CLOUDRUN: _revisions}
"""Engines that place replicas themselves, by the same names. Building one connects to nothing."""


@dataclass(frozen=True)
class Engines:
    """All engines of a platform, each with its backend."""

    by_name: Mapping[str, BuiltEngine]
    workloads: Mapping[str, Workloads] = field(default_factory=dict)

    @property
    def backend(self) -> Backends:
        """One `Backend` that passes each call to the engine of its replica."""
        return Backends(*(engine.backend for engine in self.by_name.values()), workloads=self.workloads)

    def view(self, default: str) -> EngineView | None:
        """The server of the engine that replicas run on by default, else of one that was ever used; None for none."""
        for name, engine in self.by_name.items():
            if (name == default or engine.used()) and (found := engine.view()) is not None:
                return found
        if default in self.workloads:
            why = self.workloads[default].unavailable_reason()
            return EngineView(default, "ready" if why is None else "unavailable", reason=why or "", backend=default)
        return None


def build_engines(parts: EngineParts) -> Engines:
    """Build every engine without connecting to it."""
    return Engines(
        {name: build(parts) for name, build in BUILDERS.items()},
        {name: build(parts) for name, build in WORKLOADS.items()},
    )


class Backends:
    """A `Backend` over others. One whose engine does not answer keeps no other from its work.

    Of engines that place replicas themselves it checks placements and reads logs; `loops.reconcile` does the
    rest.
    """

    name = "all"

    def __init__(self, *backends: Backend, workloads: Mapping[str, Workloads] | None = None) -> None:
        self._by_name = {backend.name: backend for backend in backends}
        self._workloads = workloads or {}

    def check(self, placement: Placement) -> None:
        found = self._workloads.get(placement.backend)
        (found or self._named(placement.backend)).check(placement)

    def unavailable_reason(self) -> str | None:
        return next((why for backend in self._by_name.values() if (why := backend.unavailable_reason())), None)

    def start(self, spec: ReplicaSpec) -> Handle:
        return self._named(spec.placement.backend).start(spec)

    def observe(self, handles: Sequence[Handle]) -> list[ReplicaObservation | None]:
        seen: dict[int, ReplicaObservation | None] = {}
        for name, backend in self._by_name.items():
            mine = [index for index, handle in enumerate(handles) if handle.backend == name]
            seen |= dict(zip(mine, backend.observe([handles[index] for index in mine]), strict=True))
        return [seen.get(index) for index in range(len(handles))]

    def cpu_s(self, handles: Sequence[Handle]) -> list[float | None]:
        used: dict[int, float | None] = {}
        for name, backend in self._by_name.items():
            mine = [index for index, handle in enumerate(handles) if handle.backend == name]
            used |= dict(zip(mine, backend.cpu_s([handles[index] for index in mine]), strict=True))
        return [used.get(index) for index in range(len(handles))]

    def stop(self, handle: Handle) -> None:
        self._named(handle.backend).stop(handle)

    def kill(self, handle: Handle) -> None:
        self._named(handle.backend).kill(handle)

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        found = self._workloads.get(handle.backend)
        return (found or self._named(handle.backend)).logs(handle, lines_max)

    def orphans(self, known: Sequence[Handle]) -> list[Handle]:
        """Of the engines that answer; `unavailable_reason` tells of one that does not."""
        return self._of_each(lambda one: one.orphans([handle for handle in known if handle.backend == one.name]))

    def on_this_host(self) -> list[Handle]:
        """This platform's replicas on this host, of every engine that answers; see the port."""
        return self._of_each(lambda one: one.on_this_host())

    def _of_each(self, ask: Callable[[Backend], list[Handle]]) -> list[Handle]:
        found: list[Handle] = []
        for name, backend in self._by_name.items():
            try:
                found += ask(backend)
            except EngineUnavailable as error:
                log.debug("what runs on backend %s is not known: %s", name, error)
        return found

    def _named(self, name: str) -> Backend:
        try:
            return self._by_name[name]
        except KeyError:
            raise InvalidArgument(
                f"there is no backend {name!r} here: there are {', '.join((*self._by_name, *self._workloads))}",
                field="backend",
            ) from None
