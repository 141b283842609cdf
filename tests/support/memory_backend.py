"""A backend in memory, for tests of the loops around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Handle, ReplicaObservation, ReplicaSpec
from tidegate.errors import EngineUnavailable, ModelCrashed


@dataclass
class MemoryBackend:
    """An engine whose replicas are ready at once, and do what the test says. Hosts may share it."""

    name: str = "memory"
    running: dict[str, str] = field(default_factory=dict)  # id -> model
    done: list[tuple[str, str]] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)  # id -> the lease's when it was started
    refuses: str | None = None
    breaks_on: str | None = None
    ready: bool = True
    unavailable: str | None = None  # why the engine does not answer
    shared: bool = False
    steady: set[str] = field(default_factory=set)  # replicas that are ready whatever `ready` says

    def check(self, placement: Placement) -> None:
        pass

    def unavailable_reason(self) -> str | None:
        return self.unavailable

    def _answer(self) -> None:
        if self.unavailable:
            raise EngineUnavailable(self.unavailable)

    def start(self, spec: ReplicaSpec) -> Handle:
        self._answer()
        if spec.model == self.refuses:
            raise ModelCrashed("no process could be started")
        if spec.model == self.breaks_on:
            raise RuntimeError("a bug")
        self.running[spec.id] = spec.model
        self.tokens[spec.id] = spec.token
        self.done.append(("start", spec.id))
        return Handle(self.name, {"replica": spec.id, "token": spec.token})

    def cpu_s(self, handles: Sequence[Handle]) -> list[float | None]:
        return [None for _ in handles]

    def observe(self, handles: Sequence[Handle]) -> list[ReplicaObservation | None]:
        if self.unavailable:
            return [None for _ in handles]
        names = [str(handle.data["replica"]) for handle in handles]
        up = {name: name in self.running and (self.ready or name in self.steady) for name in names}
        return [ReplicaObservation(name in self.running, up[name], f"unix:/{name}.sock") for name in names]

    def stop(self, handle: Handle) -> None:
        self._answer()
        self.done.append(("stop", str(handle.data["replica"])))
        self.running.pop(str(handle.data["replica"]), None)

    def kill(self, handle: Handle) -> None:
        self._answer()
        self.done.append(("kill", str(handle.data["replica"])))
        self.running.pop(str(handle.data["replica"]), None)

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        return []

    def orphans(self, known: Sequence[Handle]) -> list[Handle]:
        names = {handle.data["replica"] for handle in known}
        return [
            Handle(self.name, {"replica": name, "token": self.tokens.get(name, 0)})
            for name in self.running
            if name not in names
        ]

    def on_this_host(self) -> list[Handle]:
        return [] if self.shared else self.orphans([])
