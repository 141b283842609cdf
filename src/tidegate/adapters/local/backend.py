"""Backend `local`: each replica a process of its own on a Unix socket. Called by loops/reconcile and the logs route.

Replicas outlive the control plane; the next one finds them again by pid and creation time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import msgspec

from tidegate.adapters.local.processes import (
    ProcessRef,
    bound_log,
    cpu_seconds,
    drop_oldest,
    is_alive,
    option,
    processes_of,
    read_tail,
    send,
    spawn,
)
from tidegate.adapters.local.unix_probe import Asked, get_statuses
from tidegate.adapters.sandbox.confinement import SandboxNeeds, confined
from tidegate.core.engines.placement import Placement
from tidegate.core.images.replica_env import thread_env
from tidegate.core.ports import Handle, ReplicaObservation, ReplicaSpec
from tidegate.environments import Environments
from tidegate.errors import EnvironmentFailed, ModelCrashed, OutOfResources, TidegateError
from tidegate.system.exhaustion import exhausted
from tidegate.system.run_dir import make_run_dir, run_dir
from tidegate.wire.replicas.manifest import Manifest, read_manifest

log = logging.getLogger(__name__)

MODULE = "tidegate.server"
READY_PATH = "/v2/health/ready"
HEALTH_TIMEOUT_S = 1.0
BEGINS_WITHIN_MS = 5000
LOGS_KEPT = 200
_SOCKETS, _SOCKET = "local", "s"
"""Below the folder of sockets: a folder for each replica, which may write there alone. Short, for paths are bounded."""


class LocalBackend:
    """Runs replicas as child processes in their own sessions."""

    name = "local"

    def __init__(self, data_dir: Path, env: Mapping[str, str], environments_dir: Path | None = None) -> None:
        self._data_dir = data_dir
        self._environments_dir = environments_dir or data_dir / "environments"
        self._environments = Environments(self._environments_dir)
        self._log_dir = data_dir / "logs" / "replicas"
        # Many replicas share the cores: one thread each, unless the platform's own environment says otherwise.
        self._env = {**thread_env(1, env), **env, "PYTHONUNBUFFERED": "1"}
        self._children: dict[str, subprocess.Popen[bytes]] = {}  # by replica id; those found again are not children

    def check(self, placement: Placement) -> None:
        """Processes can always be started, as far as anybody knows before."""

    def unavailable_reason(self) -> str | None:
        return None

    def start(self, spec: ReplicaSpec) -> Handle:
        """Raises `OutOfResources`, `DiskFull` for a fault of the machine; else `ModelCrashed`."""
        try:
            return self._start(spec)
        except (OSError, RuntimeError, TidegateError) as error:
            if (here := exhausted(error, spawning=True)) is not None:
                raise here from error
            if isinstance(error, OSError):
                raise ModelCrashed(f"replica {spec.id} could not be started: {error}") from error
            raise

    def _start(self, spec: ReplicaSpec) -> Handle:
        folder = make_run_dir(self._data_dir) / _SOCKETS / spec.id
        socket_path = folder / _SOCKET
        argv = [self._python(spec.manifest), "-m", MODULE, "--manifest", str(spec.manifest), "--uds", str(socket_path)]
        argv += ["--data-dir", str(self._data_dir), "--id", spec.id, "--lease-token", str(spec.token)]
        drop_oldest(self._log_dir.glob("*.log"), LOGS_KEPT)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        child, ref = self._spawn(spec, argv, folder)
        running = {replica: known for replica, known in self._children.items() if known.returncode is None}
        self._children = running | {spec.id: child}
        return self._handle(spec.id, ref, socket_path, spec.token)

    def _spawn(
        self, spec: ReplicaSpec, argv: Sequence[str], folder: Path
    ) -> tuple[subprocess.Popen[bytes], ProcessRef]:
        """Returns once the replica itself has begun: whoever looks for it by its arguments finds it from then on."""
        waits, begun = os.pipe()
        try:
            try:
                launched, env = confined(argv, self._env, self._needs(spec, folder), begun)
                started = spawn(launched, self._log_file(spec.id), env, (begun,) if launched != argv else ())
            finally:
                os.close(begun)
            poller = select.poll()
            poller.register(waits)
            poller.poll(BEGINS_WITHIN_MS)
            return started
        finally:
            os.close(waits)

    def _needs(self, spec: ReplicaSpec, folder: Path) -> SandboxNeeds:
        """Its manifest, the package or the faster form, its own environment; and a folder of its own for its socket."""
        manifest = _readable(spec.manifest)
        if manifest is None:
            return SandboxNeeds(spec.id, (spec.manifest,), (folder,))
        package = manifest.package_path(spec.manifest)
        named = Path(os.path.normpath(spec.manifest.parent / manifest.package_dir))  # the replica's way, past no link
        found = [one for one in (package, named) if one.exists()]
        forms = [form for one in found for form in one.parent.glob(f"{one.name}.*")]
        # The folder of all packages rather than its own: one that is mended meanwhile takes the other's place.
        shared = tuple(dict.fromkeys(one.parent for one in (package, named) if one.parent.is_dir()))
        if manifest.environment:
            shared = (*shared, self._environments_dir)
        return SandboxNeeds(spec.id, (spec.manifest,), (folder,), shared, (*found, *forms))

    def _python(self, manifest_file: Path) -> str:
        """Of the version's own environment, where it has one. Raises `ModelCrashed` when that is gone."""
        manifest = _readable(manifest_file)
        key = None if manifest is None else manifest.environment
        try:
            return str(self._environments.of_version(key))
        except EnvironmentFailed as error:
            raise ModelCrashed(error.message) from error

    def observe(self, handles: Sequence[Handle]) -> list[ReplicaObservation | None]:
        """Those that run are asked all at once whether they are ready."""
        found = [self._looked_at(handle) for handle in handles]
        running = [place for place, one in enumerate(found) if one is not None and one.alive]
        sockets = [_socket(handles[place]) for place in running]
        for place, answer in zip(running, get_statuses(sockets, READY_PATH, HEALTH_TIMEOUT_S), strict=True):
            found[place] = self._answered(handles[place], answer)
        return found

    def cpu_s(self, handles: Sequence[Handle]) -> list[float | None]:
        return cpu_seconds([_ref(handle) for handle in handles])

    def stop(self, handle: Handle) -> None:
        send(_ref(handle), signal.SIGTERM)

    def kill(self, handle: Handle) -> None:
        send(_ref(handle), signal.SIGKILL)

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        return read_tail(self._log_file(str(handle.data.get("replica", ""))), lines_max)

    def orphans(self, known: Sequence[Handle]) -> list[Handle]:
        pids = {handle.data.get("pid") for handle in known}
        return [
            self._handle(
                option(found.argv, "--id") or "",
                found.ref,
                Path(option(found.argv, "--uds") or ""),
                int(option(found.argv, "--lease-token") or 0),
            )
            for found in processes_of(self._data_dir)
            if found.module == MODULE and option(found.argv, "--uds") and found.ref.pid not in pids
        ]

    def on_this_host(self) -> list[Handle]:
        return self.orphans([])

    def _looked_at(self, handle: Handle) -> ReplicaObservation | None:
        """Whether its process runs. None: this process had nothing left to look with, which says nothing of it."""
        try:
            return self._process_of(handle)
        except (OSError, OutOfResources) as error:
            if (here := exhausted(error)) is None:
                raise
            _log_unseen(handle, here)
            return None

    def _process_of(self, handle: Handle) -> ReplicaObservation:
        ref, socket_path = _ref(handle), _socket(handle)
        child = self._children.get(str(handle.data["replica"]))
        # Of a child the kernel tells the exit code, but only once the last of its threads is gone.
        if is_alive(ref) if child is None else child.poll() is None:
            bound_log(self._log_file(str(handle.data["replica"])))
            return ReplicaObservation(True, False, f"unix:{socket_path}")
        self._remove_socket(socket_path)
        exit_code = child.returncode if child else None
        return ReplicaObservation(False, False, f"unix:{socket_path}", exit_code, tuple(self.logs(handle, 20)))

    def _answered(self, handle: Handle, answer: Asked) -> ReplicaObservation | None:
        if isinstance(answer, TidegateError):
            _log_unseen(handle, answer)
            return None
        return ReplicaObservation(True, answer == HTTPStatus.OK, f"unix:{_socket(handle)}")

    def _remove_socket(self, socket_path: Path) -> None:
        """With the folder it had for itself, of this platform alone: a model may start what claims to be a replica and
        to have its socket wherever it likes.
        """
        folder, sockets = socket_path.parent, run_dir(self._data_dir)
        if folder.name != ".." and _is_same(folder.parent, sockets / _SOCKETS):
            shutil.rmtree(folder, ignore_errors=True)
        elif _is_same(folder, sockets):  # as releases before had it
            with contextlib.suppress(OSError):
                socket_path.unlink()

    def _log_file(self, replica_id: str) -> Path:
        return self._log_dir / f"{replica_id}.log"

    def _handle(self, replica_id: str, ref: ProcessRef, socket_path: Path, token: int) -> Handle:
        return Handle(
            self.name,
            {
                "replica": replica_id,
                "pid": ref.pid,
                "created_at": ref.created_at,
                "socket": str(socket_path),
                "token": token,
            },
        )


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _readable(manifest_file: Path) -> Manifest | None:
    """None where it cannot be read: the replica reads it too, and says in its own words what is wrong with it."""
    try:
        return read_manifest(manifest_file)
    except (OSError, msgspec.DecodeError) as error:
        if exhausted(error) is not None:
            raise
        return None


def _log_unseen(handle: Handle, why: TidegateError) -> None:
    log.debug("replica %s could not be looked at: %s", handle.data["replica"], why)


def _socket(handle: Handle) -> Path:
    return Path(str(handle.data["socket"]))


def _ref(handle: Handle) -> ProcessRef:
    return ProcessRef(int(handle.data["pid"]), float(handle.data["created_at"]))
