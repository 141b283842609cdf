"""Backend `docker`: each replica a container of its version's image. Called by loops/reconcile and the logs route.

A replica listens on a Unix socket in a folder that it shares with this machine, so it needs no port, no key and no
network, and serves on while the engine is away. Containers are found again by their labels.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL
from time import sleep
from typing import Any

import msgspec

from tidegate.adapters.docker.container import DATA_DIR, REPLICA, SOCKET, TOKEN, ContainerSpec, container_of
from tidegate.adapters.docker.engine import DockerEngine, api_error
from tidegate.adapters.local.processes import drop_oldest, read_tail
from tidegate.adapters.local.unix_probe import get_status
from tidegate.clock import monotonic
from tidegate.core.engines.placement import Placement
from tidegate.core.images.contents import labels_of
from tidegate.core.ports import Handle, ReplicaObservation, ReplicaSpec
from tidegate.errors import DiskFull, EngineUnavailable, ModelCrashed, OutOfResources, TidegateError
from tidegate.system.commands import is_full
from tidegate.system.exhaustion import exhausted
from tidegate.system.run_dir import make_run_dir
from tidegate.wire.replicas.manifest import Manifest, read_manifest

log = logging.getLogger(__name__)

READY_PATH = "/v2/health/ready"
HEALTH_TIMEOUT_S, HEALTH_THREADS = 1.0, 16
LOGS_KEPT, LOG_LINES_KEPT, ENDS_KEPT = 200, 2000, 200
TAIL_LINES = 20
MARK = "containers"
"""A file in the data directory, there once containers were started from it: it holds the engine's address."""
RUNS = frozenset({"running", "paused", "restarting"})
NOT_FOUND, CONFLICT = 404, 409
POLL_S = 0.1

MakeImage = Callable[[ReplicaSpec], None]
"""Called while the version has no image: raises `ImagePending`, or what keeps it from being built."""


class DockerBackend:
    """Runs replicas as containers on an engine of this machine."""

    name = "docker"

    def __init__(
        self, data_dir: Path, engine: DockerEngine, make_image: MakeImage, env: Mapping[str, str], network: str
    ) -> None:
        self._data_dir = data_dir
        self._engine = engine
        self._make_image = make_image
        self._env, self._network = env, network
        self._log_dir = data_dir / "logs" / "replicas"
        self._mark = data_dir / MARK
        self._ends: OrderedDict[str, tuple[int | None, tuple[str, ...]]] = OrderedDict()  # of containers removed here
        self._pool = ThreadPoolExecutor(HEALTH_THREADS, thread_name_prefix="docker-health")

    # -- the port --------------------------------------------------------------------------------------------------

    def check(self, placement: Placement) -> None:  # noqa: ARG002 (the port's shape)
        self._engine.call(lambda api: api.version())

    def unavailable_reason(self) -> str | None:
        if not self._mark.exists():
            return None
        try:
            self._engine.call(lambda api: api.ping())
        except TidegateError as error:
            return error.message
        return None

    def start(self, spec: ReplicaSpec) -> Handle:
        manifest = _manifest(spec.manifest)
        image = self._image(spec, manifest)
        folder = self._shared_folder(spec.id)
        self._mark.write_text(self._engine.address)
        asked = container_of(spec, image, manifest.device, self._env, self._network)
        return self._handle(spec.id, self._run(asked, folder), spec.token)

    def observe(self, handles: Sequence[Handle]) -> list[ReplicaObservation | None]:
        if not handles:
            return []
        try:
            states = {found["Id"]: str(found["State"]) for found in self._containers()}
        except TidegateError:
            return list(self._pool.map(self._observe_blindly, handles))
        return list(self._pool.map(lambda handle: self._observe_one(handle, states), handles))

    def cpu_s(self, handles: Sequence[Handle]) -> list[float | None]:
        """Not measured: `core.scaling.policy.check_measured` refuses targets of CPU on containers."""
        return [None] * len(handles)

    def stop(self, handle: Handle) -> None:
        self._signal(handle, "SIGTERM")

    def kill(self, handle: Handle) -> None:
        if not self._signal(handle, "SIGKILL"):
            self._remove(_id(handle))

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        try:
            return self._read_log(_id(handle), lines_max)
        except (TidegateError, api_error()):
            return read_tail(self._log_file(handle), lines_max)

    def orphans(self, known: Sequence[Handle]) -> list[Handle]:
        """Those that do not run are removed: nobody waits for them."""
        if not self._mark.exists():
            return []
        ids = {_id(handle) for handle in known}
        strangers = [found for found in self._containers() if found["Id"] not in ids]
        for found in strangers:
            if found["State"] not in RUNS:
                self._remove(found["Id"])
        return [self._found(item["Id"], item["Labels"]) for item in strangers if item["State"] in RUNS]

    def on_this_host(self) -> list[Handle]:
        """All that carry this data directory's label: their sockets are in it."""
        return self.orphans([])

    # -- starting --------------------------------------------------------------------------------------------------

    def _image(self, spec: ReplicaSpec, manifest: Manifest) -> str:
        image = self._engine.call(lambda api: _newest(api, manifest))
        if image is None:
            self._make_image(spec)
            image = self._engine.call(lambda api: _newest(api, manifest))  # its job ended this very moment
        if image is None:
            raise ModelCrashed(
                f"an image of {spec.model}:{spec.version} was built, and the engine at {self._engine.address} does not "
                "have it: does 'docker build' use another engine, or did something remove it?"
            )
        return image

    def _shared_folder(self, replica: str) -> Path:
        """Where the replica puts its socket. The folder around it is this user's alone, so that everybody may write.

        A replica is another user than the platform (10001, or whoever the engine makes of that).
        """
        folder = make_run_dir(self._data_dir) / replica
        try:
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        except OSError as error:
            if (here := exhausted(error)) is not None:
                raise here from error
            raise ModelCrashed(f"the folder {folder} for the replica's socket: {error}") from error
        return folder

    def _run(self, asked: ContainerSpec, folder: Path) -> str:
        """The id of the container, which runs. One that does not come up is removed."""
        labels = {DATA_DIR: self._own_label(), **asked.labels}
        try:
            return self._engine.call(lambda api: _run(api, asked, labels, folder))
        except EngineUnavailable:
            raise  # it may be there or not: the next try finds it by its name
        except api_error() as error:
            self._discard(asked.name)
            shutil.rmtree(folder, ignore_errors=True)
            raise _refused(error) from error

    def _discard(self, name: str) -> None:
        with contextlib.suppress(TidegateError):
            self._remove(name)

    # -- observing -------------------------------------------------------------------------------------------------

    def _observe_one(self, handle: Handle, states: Mapping[str, str]) -> ReplicaObservation | None:
        state = states.get(_id(handle))
        if state in RUNS:
            return ReplicaObservation(True, self._answers(handle), self._address(handle))
        try:
            exit_code, tail = self._ended(handle, state)
        except TidegateError:
            return self._observe_blindly(handle)
        return ReplicaObservation(False, False, self._address(handle), exit_code, tail)

    def _observe_blindly(self, handle: Handle) -> ReplicaObservation | None:
        """While the engine is away: what answers on its socket is there, of the rest nothing is known."""
        try:
            return ReplicaObservation(True, True, self._address(handle)) if self._answers(handle) else None
        except OutOfResources:  # this process cannot even ask
            return None

    def _answers(self, handle: Handle) -> bool:
        return get_status(_socket(handle), READY_PATH, HEALTH_TIMEOUT_S) == 200

    def _address(self, handle: Handle) -> str:
        return f"unix:{_socket(handle)}"

    def _ended(self, handle: Handle, state: str | None) -> tuple[int | None, tuple[str, ...]]:
        """Exit code and last log lines of a container that ended. Removes it, and keeps its log as a file."""
        replica = str(handle.data["replica"])
        if state is not None:
            self._keep_end(handle, replica)
            self._remove(_id(handle))
        # Below this platform's own folder, whatever the handle says: another one's replica may serve on in that.
        shutil.rmtree(make_run_dir(self._data_dir) / replica, ignore_errors=True)
        return self._ends.get(replica) or (None, tuple(read_tail(self._log_file(handle), TAIL_LINES)))

    def _keep_end(self, handle: Handle, replica: str) -> None:
        try:
            found = self._engine.call(lambda api: api.inspect_container(_id(handle)))
            lines = self._read_log(_id(handle), LOG_LINES_KEPT)
        except api_error() as error:
            log.debug("container of %s is gone: %s", replica, error)
            return
        lines += _why_ended(found)
        self._write_log(handle, lines)
        self._ends[replica] = _exit_code(found), tuple(lines[-TAIL_LINES:])
        while len(self._ends) > ENDS_KEPT:
            self._ends.popitem(last=False)

    def _read_log(self, container: str, lines_max: int) -> list[str]:
        output: bytes = self._engine.call(lambda api: api.logs(container, tail=lines_max))
        return output.decode(errors="replace").splitlines()[-lines_max:]

    def _write_log(self, handle: Handle, lines: list[str]) -> None:
        try:
            self._log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            drop_oldest(self._log_dir.glob("*.log"), LOGS_KEPT)
            self._log_file(handle).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        except OSError as error:  # a full disk: its last words are in memory
            log.warning("the log of %s could not be kept: %s", handle.data["replica"], error)

    def _log_file(self, handle: Handle) -> Path:
        return self._log_dir / f"{handle.data.get('replica', '')}.log"

    # -- finding and ending ----------------------------------------------------------------------------------------

    def _containers(self) -> list[dict[str, Any]]:
        """All of this platform, whatever became of them."""
        wanted = {"label": [f"{DATA_DIR}={self._own_label()}"]}
        found: list[dict[str, Any]] = self._engine.call(lambda api: api.containers(all=True, filters=wanted))
        return found

    def _own_label(self) -> str:
        return os.path.realpath(self._data_dir)

    def _found(self, container: str, labels: Mapping[str, str]) -> Handle:
        return self._handle(labels.get(REPLICA, ""), container, int(labels.get(TOKEN, 0)))

    def _handle(self, replica: str, container: str, token: int) -> Handle:
        socket = make_run_dir(self._data_dir) / replica / SOCKET
        return Handle(self.name, {"replica": replica, "container": container, "socket": str(socket), "token": token})

    def _signal(self, handle: Handle, signum: str) -> bool:
        """Send a signal to a container; False where it does not run."""
        try:
            self._engine.call(lambda api: api.kill(_id(handle), signal=signum))
        except api_error() as error:
            log.debug("%s to %s: %s", signum, handle.data["replica"], error)
            return False
        return True

    def _remove(self, container: str) -> None:
        """With whatever still runs in it; removing what is gone is no error."""
        try:
            self._engine.call(lambda api: api.remove_container(container, force=True, v=True))
        except api_error() as error:
            if getattr(error, "status_code", 0) not in (NOT_FOUND, CONFLICT):  # conflict: it is being removed
                log.warning("container %s could not be removed: %s", container[:12], error)


def end_containers(data_dir: Path, address: str, grace_s: float) -> int:
    """End what runs of a platform without a control plane; how many there were. Raises `EngineUnavailable`."""
    backend = DockerBackend(data_dir, DockerEngine(lambda: address), lambda _spec: None, {}, "none")
    running = backend.on_this_host()
    for handle in running:
        backend.stop(handle)
    left, deadline = running, monotonic() + grace_s
    while left and monotonic() < deadline:
        sleep(POLL_S)
        left = [one for one, seen in zip(left, backend.observe(left), strict=True) if seen is None or seen.alive]
    for handle in left:
        backend.kill(handle)
    backend.observe(left)
    for folder in make_run_dir(data_dir).iterdir():
        if folder.is_dir():  # of a replica whose start the engine did not live to see
            shutil.rmtree(folder, ignore_errors=True)
    return len(running)


def _id(handle: Handle) -> str:
    return str(handle.data["container"])


def _socket(handle: Handle) -> Path:
    return Path(str(handle.data["socket"]))


def _manifest(file: Path) -> Manifest:
    try:
        return read_manifest(file)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelCrashed(f"the manifest {file} cannot be read: {error}") from error


def _newest(api: Any, manifest: Manifest) -> str | None:
    """The image that was built last of exactly this: model, version, bytes, form and release."""
    wanted = {"label": [f"{key}={value}" for key, value in labels_of(manifest).items()]}
    found = sorted(api.images(filters=wanted), key=lambda image: int(image["Created"]))
    return str(found[-1]["Id"]) if found else None


def _run(api: Any, asked: ContainerSpec, labels: dict[str, str], folder: Path) -> str:
    """Create and start. A container of that name is an earlier try's, whose answer was lost."""
    try:
        made = api.create_container(**asked.options(api, folder), labels=labels)["Id"]
    except api_error() as error:
        if getattr(error, "status_code", 0) != CONFLICT:
            raise
        made = _of_earlier_try(api, asked.name, labels)
    api.start(made)  # starting what runs is no error
    return str(made)


def _of_earlier_try(api: Any, name: str, labels: Mapping[str, str]) -> str:
    found = api.inspect_container(name)
    theirs = found["Config"]["Labels"] or {}
    if (theirs.get(DATA_DIR), theirs.get(REPLICA)) != (labels[DATA_DIR], labels[REPLICA]):
        raise ModelCrashed(f"another container is called {name}: remove it with 'docker rm -f {name}'")
    return str(found["Id"])


def _refused(error: Any) -> TidegateError:
    """What the engine says of a container that it does not start."""
    message = str(error.explanation or error)
    if is_full(message):
        return DiskFull(
            "the disk of the container engine is full, and no container was started: free some space there (for "
            f"example with 'docker system prune'); it is tried again by itself ({message[:200]})"
        )
    return ModelCrashed(f"the container engine does not start the replica: {message[:500]}")


def _exit_code(found: Mapping[str, Any]) -> int | None:
    """As of a process: negative for a signal."""
    code = int(found["State"]["ExitCode"])
    return 128 - code if 128 < code < 128 + 65 else code


def _why_ended(found: Mapping[str, Any]) -> list[str]:
    """Why a container ended, as far as only the engine knows: its memory limit, or an error at its start."""
    state, limit = found["State"], int(found["HostConfig"].get("Memory") or 0)
    lines = []
    if state.get("OOMKilled"):
        lines.append(f"it was ended for want of memory: its limit is {limit >> 20} MiB (deploy with more --memory)")
    elif limit and _exit_code(found) == -SIGKILL:  # engines do not notice each time
        lines.append(f"it was killed, maybe for want of memory: its limit is {limit >> 20} MiB (--memory)")
    if state.get("Error"):
        lines.append(str(state["Error"]))
    return lines
