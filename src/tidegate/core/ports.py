"""The ports: what the control plane asks of the outside world. Adapters implement them; services and loops call them.

Each has one conformance suite (tests/conformance) that runs on every implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tidegate.core.engines.placement import Placement


@dataclass(frozen=True)
class RegistryVersion:
    """A model version as the registry (MLflow) knows it."""

    name: str
    version: str
    run_id: str | None
    tags: dict[str, str]
    aliases: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class NewRegistryVersion:
    """A version to create in the registry; `package_dir` is the MLflow model directory with its files."""

    name: str
    digest: str
    package_dir: Path
    run_id: str | None = None
    label: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""


class Registry(Protocol):
    """The registry of models and versions. Every method raises `RegistryUnavailable` when it does not answer.

    Methods that read or write packages raise `ArtifactsUnavailable` when the store that keeps them does not.
    """

    @property
    def where(self) -> str:
        """What it is and where, for people: without passwords."""

    def check(self) -> None:
        """Ask registry and artifact store a small question each, and raise what their answers mean."""

    def create_version(self, new: NewRegistryVersion) -> RegistryVersion:
        """Create the version, or return the one this name already has with this digest (tag `tidegate.digest`)."""

    def get_version(self, name: str, version: str) -> RegistryVersion:
        """Raises `UnknownVersion`."""

    def versions(self, name: str) -> list[RegistryVersion]:
        """All versions of a model, newest first; empty for an unknown model."""

    def version_of_alias(self, name: str, alias: str) -> RegistryVersion:
        """Raises `UnknownVersion`, naming the aliases there are."""

    def set_alias(self, name: str, alias: str, version: str) -> None: ...

    def delete_alias(self, name: str, alias: str) -> None:
        """Of a model that is there; deleting an alias that is gone is no error."""

    def check_run(self, run_id: str) -> None:
        """Raises `InvalidArgument` when there is no such run."""

    def set_tags(self, name: str, version: str, tags: dict[str, str]) -> None: ...

    def fetch(self, uri: str, into: Path) -> RegistryVersion | None:
        """Download `models:/name/3`, `models:/name@alias` or `runs:/id/path` into the (empty) folder.

        Returns the registry version for a `models:` URI, None for a `runs:` one. Raises `InvalidArgument` for any other
        scheme, `UnknownVersion` when nothing is there.
        """

    def delete_version(self, name: str, version: str) -> None:
        """Deleting what is gone is no error."""

    def delete_model(self, name: str) -> None:
        """Deleting what is gone is no error."""


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica to run."""

    id: str
    endpoint: str
    model: str
    version: str
    manifest: Path
    token: int = 0  # of the lease under which it is started; the engine keeps it with the replica
    placement: Placement = Placement()


@dataclass(frozen=True)
class Handle:
    """What an engine needs to find a replica again after a restart: opaque to all but its backend, JSON-able.

    Two keys are common to all: `data["replica"]` is the id the replica was started under, `data["token"]` the token of
    the lease that its starter held then, also in a handle that `orphans` found.
    """

    backend: str
    data: dict[str, str | int | float]


@dataclass(frozen=True)
class ReplicaObservation:
    """What an engine says of one replica now. `exit_code` is None while it runs or where it cannot be known.

    `address` is how gateways reach it, as `str` of a `core.routing.targets.Address`.
    """

    alive: bool
    ready: bool
    address: str | None = None
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()


class Backend(Protocol):
    """An engine that runs replicas. All calls are idempotent; none waits for a replica to become ready."""

    name: str

    def check(self, placement: Placement) -> None:
        """Raises `TidegateError`, saying what to do, when nothing could be started there now."""

    def unavailable_reason(self) -> str | None:
        """Why the engine does not answer, in words; None: it does, or nothing of this platform is on it."""

    def start(self, spec: ReplicaSpec) -> Handle:
        """Start it; raises `TidegateError` when that is impossible (no disk, no interpreter).

        Raises `EngineUnavailable`, `ImagePending` or `DiskFull` when it is only not possible yet. A start whose answer
        was lost may be asked for again.
        """

    def observe(self, handles: Sequence[Handle]) -> Sequence[ReplicaObservation | None]:
        """One observation per handle, in order, within a bounded time; of a dead one with the last lines of its log.

        None: the engine did not say. What a dead replica left behind (a socket) is removed.
        """

    def cpu_s(self, handles: Sequence[Handle]) -> Sequence[float | None]:
        """Seconds of CPU that each has used since it was started, with all that it started; None where unknown."""

    def stop(self, handle: Handle) -> None:
        """Ask it to finish what it has and end; returns at once. Stopping what is gone is no error.

        Raises `EngineUnavailable`, as `kill` does.
        """

    def kill(self, handle: Handle) -> None:
        """End it now. Killing what is gone is no error."""

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        """The last lines of its log, oldest first."""

    def orphans(self, known: Sequence[Handle]) -> list[Handle]:
        """Replicas of this platform that run on this engine without a handle in `known` (a crash between start and
        commit): the leader's to end. On an engine that hosts share, with nothing `known`, the platform's whole fleet.

        Raises `EngineUnavailable`: what runs is then unknown.
        """

    def on_this_host(self) -> list[Handle]:
        """Replicas of this platform that run on this host and serve nobody else's gateways, with and without a row.

        They end with this host's part of the platform, whoever leads. None on an engine that hosts share: what runs
        there is the leader's, and that may be another host's control plane by now. Raises as `orphans` does.
        """


class ArtifactStore(Protocol):
    """Model packages under their digest."""

    def path(self, digest: str) -> Path:
        """Where the package of this digest lies (or would lie)."""

    def put(self, digest: str, package_dir: Path) -> Path:
        """Move a finished package in, atomically; keeps one that is there and whole. Raises `DiskFull`."""

    def fault(self, digest: str) -> str | None:
        """What is wrong with the package of this digest, in words; None: it is there, every byte as it was put."""

    def put_form(self, digest: str, form: str, form_dir: Path) -> str:
        """Move an accelerated form in beside the package; returns the name of its folder there. Raises `DiskFull`."""

    def form_fault(self, folder: str) -> str | None:
        """As `fault`, of the folder that `put_form` returned."""

    def delete(self, digest: str) -> None:
        """Remove the package and its accelerated forms."""


@dataclass(frozen=True)
class QueueState:
    """The queue of jobs as its broker has it: messages nobody took yet, and workers that wait for one."""

    messages: int
    idle_workers: int


class JobQueue(Protocol):
    """Tells workers that a job waits. The row is the truth: a message may be lost or doubled.

    For one thread. Every method raises `PartUnavailable`, which says what to do; the next call tries anew.
    """

    @property
    def where(self) -> str:
        """The broker in words, without its password."""

    def look(self) -> QueueState:
        """Connect where need be, see to it that the queues are there, and look at the jobs'."""

    def notify(self, job_id: str) -> None:
        """Returns once the broker has confirmed a message for this job."""

    def dead_letter(self, letter: dict[str, object]) -> None:
        """Returns once the dead-letter queue has a message of an abandoned job (its id is `letter["job"]`)."""

    def close(self) -> None:
        """Disconnect; the next call connects again."""
