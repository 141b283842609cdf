"""The port to engines that place replicas themselves: Kubernetes, AWS ECS, Google Cloud Run.

The other port, `core.ports.Backend`, places replicas one by one, and restarts them by itself. Here we say "so many of
this version", and the engine starts them, heals them and goes on doing so while the control plane is away. A workload
is made of one version in one form on one placement, and is never rolled: what changes any of these is another workload,
to which traffic moves once it answers, before the old one drains and is deleted.

Pure values and a protocol; `tests/conformance/workloads` runs on each implementation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Handle, ReplicaObservation

SUFFIX_CHARS = 8


@dataclass(frozen=True)
class WorkloadKey:
    """What makes a workload another one: all its replicas are alike in it. `form` is "" for the original model."""

    endpoint: str
    version: str
    placement: Placement
    form: str = ""

    @property
    def suffix(self) -> str:
        """Eight hexadecimal digits of what a name has no room for: placement and form.

        Another release makes the same of the same workload: what a placement does not say is left out, so fields that
        it has one day change no name of today.
        """
        said = {name: value for name, value in vars(self.placement).items() if value is not None}
        identity = json.dumps([said, self.form], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()[:SUFFIX_CHARS]


@dataclass(frozen=True)
class EngineScaling:
    """Bounds within which the engine counts the replicas itself, so that each has `target` of `metric`."""

    min: int
    max: int
    metric: str
    target: float


@dataclass(frozen=True)
class WorkloadSpec:
    """How a workload shall be.

    `count` replicas shall run; with `scaling` the engine decides, and `count` is where it begins. `ending` are ids of
    instances that no gateway uses any more, or that failed: those go first where there are too many, and the others
    among them are deleted, so that the engine starts new ones in their place. `manifest` is the version's on this host.
    `token` is that of the lease under which this is asked for. `cold_start_s` is how long a replica took to become
    ready, where that was measured before the workload is made: another figure later changes nothing of it. `routed` has
    the endpoint's weights by version (percent), for engines whose own address divides traffic.
    """

    key: WorkloadKey
    model: str
    manifest: Path
    count: int
    token: int
    ending: tuple[str, ...] = ()
    scaling: EngineScaling | None = None
    cold_start_s: float | None = None
    routed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Instance:
    """One replica that the engine runs, or a pool of them behind one address.

    `id` is its own and never used again, so a container that was started anew in the same place is another instance.
    `handle.data["replica"]` is the id, for `logs`. One that ended is shown at least once with `seen.alive` false, its
    exit code and its last lines, where the engine knows of it. `terminating`: the engine ends it, whoever asked.
    `waits` says in a sentence what the engine waits for before it can start it, where that is no fault of the version
    (no node has room, a quota): it is not held against the version. An image that cannot be pulled is held against it,
    and said in `seen.log_tail`.
    """

    id: str
    handle: Handle
    seen: ReplicaObservation
    terminating: bool = False
    waits: str = ""


@dataclass(frozen=True)
class WorkloadState:
    """What the engine says of a workload: how many it was asked for, under which token, and what there is of it.

    `problem` says in a sentence, with what to do, why the engine makes no instances (a quota, a policy that refuses
    them); empty where nothing keeps it.
    """

    key: WorkloadKey
    token: int
    desired: int
    instances: tuple[Instance, ...] = ()
    problem: str = ""


class Workloads(Protocol):
    """An engine that places replicas itself. All calls are idempotent, bounded in time, and wait for no replica.

    What cannot be reached raises `EngineUnavailable`: what runs is then unknown, and never nothing. An observation each
    `looks_every_s` is enough: 0 where it costs no requests.
    """

    name: str
    looks_every_s: float

    def check(self, placement: Placement) -> None:
        """Raises `TidegateError`, saying what to do, when nothing could be started there now: credentials, rights, a
        namespace or cluster that is not there.
        """

    def unavailable_reason(self) -> str | None:
        """Why the engine does not answer, in words; None: it does, or nothing of this platform is on it."""

    def apply(self, spec: WorkloadSpec) -> None:
        """Make the workload, or bring what it is asked for in line with `spec`; what is as it should be is not touched.

        Raises `NotLeader` where a younger lease than `spec.token` has written it, `ImagePending` or `EngineUnavailable`
        when it is only not possible yet, and any other `TidegateError` when it will not be: the sentence says what to
        do.
        """

    def observe(self) -> Sequence[WorkloadState]:
        """Every workload of this platform on this engine. Raises `EngineUnavailable`."""

    def delete(self, key: WorkloadKey, token: int) -> None:
        """Delete the workload with all that was made for it. Deleting what is gone is no error. Raises as `apply`."""

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        """The last lines of an instance's log, oldest first; of one that is gone what is still known, or nothing."""
