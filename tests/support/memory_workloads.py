"""An engine in memory that places replicas itself, for tests of the loops around it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Handle, ReplicaObservation
from tidegate.core.workloads import Instance, WorkloadKey, WorkloadSpec, WorkloadState
from tidegate.errors import EngineUnavailable, ImagePending, InvalidArgument, NotLeader


@dataclass
class MemoryWorkloads:
    """Instances are ready at once, unless the test says otherwise. It keeps `desired` of each workload running."""

    name: str = "kubernetes"
    looks_every_s: float = 0.0
    looks: int = 0
    hangs: threading.Event | None = None  # while it is not set, nothing is answered
    specs: dict[WorkloadKey, WorkloadSpec] = field(default_factory=dict)
    instances: dict[WorkloadKey, list[Instance]] = field(default_factory=dict)
    calls: list[tuple[str, str, int]] = field(default_factory=list)  # what, which version, how many
    unready: set[str] = field(default_factory=set)  # versions that never answer
    unavailable: str = ""
    pending: str = ""  # why nothing can be asked for yet
    refuses: str = ""  # what it says of every workload
    problem: str = ""
    waits: str = ""
    lingering: bool = False  # what ends goes on for a while, terminating
    made: int = 0

    def check(self, placement: Placement) -> None:
        pass

    def unavailable_reason(self) -> str | None:
        return self.unavailable or None

    def apply(self, spec: WorkloadSpec) -> None:
        self._answer()
        if self.pending:
            raise ImagePending(self.pending)
        if self.refuses:
            raise InvalidArgument(self.refuses)
        self._fence(spec.key, spec.token)
        self.calls.append(("apply", spec.key.version, spec.count))
        self.specs[spec.key] = spec
        for one in self.instances.get(spec.key, []):
            if one.id in spec.ending:
                self.end(one.id)

    def observe(self) -> Sequence[WorkloadState]:
        self.looks += 1
        self._answer()
        for key, spec in self.specs.items():
            self._heal(key, spec)
        return [
            WorkloadState(key, spec.token, spec.count, tuple(self.instances.get(key, ())), self.problem)
            for key, spec in self.specs.items()
        ]

    def delete(self, key: WorkloadKey, token: int) -> None:
        self._answer()
        if key not in self.specs:
            return
        self._fence(key, token)
        self.calls.append(("delete", key.version, 0))
        del self.specs[key]
        self.instances.pop(key, None)

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        return [f"log of {handle.data['replica']}"][:lines_max]

    # -- what tests do to it -----------------------------------------------------------------------------------------

    def end(self, instance: str, *, exit_code: int | None = None, tail: tuple[str, ...] = ()) -> None:
        """It goes: told to, or with an exit code by itself, and is then shown dead."""
        for mine in self.instances.values():
            for one in [one for one in mine if one.id == instance]:
                mine.remove(one)
                if exit_code is not None:
                    dead = ReplicaObservation(False, False, one.seen.address, exit_code, tail)
                    mine.append(replace(one, seen=dead))
                elif self.lingering:
                    mine.append(replace(one, terminating=True))

    def forget_ended(self) -> None:
        """Neither what is dead nor what terminates is shown any more."""
        for key, mine in self.instances.items():
            self.instances[key] = [one for one in mine if one.seen.alive and not one.terminating]

    def running(self, version: str) -> list[str]:
        """Ids of instances that are not on their way out."""
        found = [one for key, mine in self.instances.items() if key.version == version for one in mine]
        return [one.id for one in found if one.seen.alive and not one.terminating]

    def _heal(self, key: WorkloadKey, spec: WorkloadSpec) -> None:
        mine = self.instances.setdefault(key, [])
        live = [one for one in mine if one.seen.alive and not one.terminating]
        if self.problem:
            return
        for _ in range(spec.count - len(live)):
            self.made += 1
            id_ = f"{key.endpoint}-v{key.version}-{self.made}"
            handle = Handle(self.name, {"replica": id_})
            mine.append(Instance(id_, handle, self._seen(key), waits=self.waits))
        for one in live[spec.count :]:
            self.end(one.id)
        if not self.waits:
            self.instances[key] = [
                replace(one, waits="", seen=self._seen(key)) if one.seen.alive else one for one in self.instances[key]
            ]

    def _seen(self, key: WorkloadKey) -> ReplicaObservation:
        ready = key.version not in self.unready and not self.waits
        return ReplicaObservation(True, ready, "tcp:10.0.0.1:8000?credential=x" if ready else None)

    def _answer(self) -> None:
        if self.hangs is not None:
            self.hangs.wait(30)
        if self.unavailable:
            raise EngineUnavailable(self.unavailable)

    def _fence(self, key: WorkloadKey, token: int) -> None:
        known = self.specs.get(key)
        if known is not None and known.token > token:
            raise NotLeader(f"a younger lease ({known.token}) has written it")
