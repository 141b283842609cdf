"""One container of a pod, from the pull of its image through each of its starts to its end: a state machine.

`step` is called often by the thread of its pod and never blocks.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.kubernetes.containers import (
    ConfigError,
    Image,
    Place,
    arguments,
    check_user,
    environment,
    send,
    start,
)
from support.kubernetes.probes import Prober
from support.kubernetes.store import Object, Store, stamp

MESSAGE_BYTES_MAX = 2048
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@dataclass(frozen=True)
class Surroundings:
    """What all containers of the cluster share. `speed` divides the periods of probes and preStop's sleep."""

    store: Store
    images: Mapping[str, Image]
    record: Callable[[Object, str, str], None]
    backoff_s: float
    backoff_s_max: float
    speed: float


@dataclass
class Running:
    """`state` and `last` are as a container's status has them."""

    spec: Object
    place: Place
    around: Surroundings
    init: bool = False
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: Object = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    process: subprocess.Popen[bytes] | None = None
    probers: dict[str, Prober] = field(default_factory=dict)
    killed_as: str = ""
    """Why it is said to have ended, where it was killed by the cluster."""
    _kill_at: float | None = None
    _retry_at: float = 0.0
    _pulls: int = 0
    _ends: int = 0
    _since: str = ""
    _unwell: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def done(self) -> bool:
        """An init container that has ended well."""
        return bool(self.state.get("terminated", {}).get("exitCode") == 0)

    @property
    def log(self) -> Any:
        return self.place.folder / f"{self.name}.{self.restarts}.log"

    @property
    def log_before(self) -> Any:
        return self.place.folder / f"{self.name}.{self.restarts - 1}.log"

    def step(self, now: float) -> None:
        """Start it when it is time, see whether it ended, ask its probes."""
        if self.process is not None:
            if self.process.poll() is None:
                self._watch(now)
            else:
                self._ended(now)
        elif not (self.init and self.done) and now >= self._retry_at:
            self._start()

    def status(self) -> Object:
        """As in a pod's status."""
        return {
            "name": self.name,
            "state": self.state,
            "lastState": self.last,
            "ready": self.done if self.init else self.ready,
            "restartCount": self.restarts,
            "image": self.spec["image"],
            "imageID": f"fake://{self.spec['image']}" if self.started or self.last else "",
            "started": self.started,
            **({"containerID": f"fake://{self.process.pid}"} if self.process is not None else {}),
        }

    def stop(self, number: int, reason: str = "") -> None:
        """Send it a signal; it is said to have ended as `reason`."""
        if self.process is not None:
            self.killed_as = reason
            send(self.process, number)

    # -- within -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        image = self._pulled()
        if image is None:
            return
        try:
            check_user(self.spec, self.place.pod, image)
            env = environment(self.spec, self.place, image, self.around.store)
            argv = arguments(self.spec, self.place, image, env)
        except ConfigError as error:
            self._wait("CreateContainerConfigError", str(error), self.around.backoff_s)
            self._record("Failed", f"Error: {error}")
            return
        (self.place.folder / f"{self.name}.message").write_text("")
        if self.last or "terminated" in self.state:
            self.restarts += 1
        try:
            self.process = start(argv, env, self.log)
        except OSError as error:
            self.log.write_text(f"exec: {argv[0]!r}: {error.strerror}\n")
            said = f'exec: "{argv[0]}": {error.strerror}: unknown'
            self._over({"exitCode": 128, "reason": "StartError", "message": said}, time.monotonic())
            return
        self.killed_as, self._kill_at, self._since = "", None, stamp()
        self.state, self.started = {"running": {"startedAt": self._since}}, "startupProbe" not in self.spec
        self.probers = {
            kind: Prober(self.spec[kind], kind, self.place.ip, self.spec.get("ports", []), self.around.speed)
            for kind in PROBES
            if kind in self.spec
        }
        self._record("Started", f"Started container {self.name}")

    def _pulled(self) -> Image | None:
        name = self.spec["image"]
        image = self.around.images.get(name)
        secrets = {one["name"] for one in self.place.pod["spec"].get("imagePullSecrets", ())}
        why = "not found"
        if image is not None and image.pull_secret and image.pull_secret not in secrets:
            image, why = None, "pull access denied: 401 Unauthorized"
        if image is not None:
            return image
        said = f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {name}: {why}'
        if self.spec["imagePullPolicy"] == "Never":
            said = f'Container image "{name}" is not present with pull policy of Never'
            self._wait("ErrImageNeverPull", said, self.around.backoff_s)
            self._record("ErrImageNeverPull", said)
            self._record("Failed", "Error: ErrImageNeverPull")
            return None
        self._pulls += 1
        if self._pulls % 2:
            self._wait("ErrImagePull", said, self.around.backoff_s / 2)
            self._record("Failed", f'Failed to pull image "{name}": {said}')
        else:
            self._wait(
                "ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {said}', self.around.backoff_s
            )
            self._record("BackOff", f'Back-off pulling image "{name}"')
        return None

    def _wait(self, reason: str, message: str, for_s: float) -> None:
        self.state = {"waiting": {"reason": reason, "message": message}}
        self._retry_at = time.monotonic() + for_s

    def _watch(self, now: float) -> None:
        if self._kill_at is not None and now >= self._kill_at:
            self.stop(signal.SIGKILL, self.killed_as)
            self._kill_at = None
        for prober in self.probers.values():
            if prober.last and prober.last not in self._unwell:  # counted once: a real one counts each
                self._unwell.add(prober.last)
                self._record("Unhealthy", f"{prober.word} probe failed: {prober.last}")
        startup = self.probers.get("startupProbe")
        if startup is not None and not self.started:
            startup.step(now)
            self.started = startup.passed is True
            if startup.passed is False:
                self._unhealthy(startup, now)
            return
        for kind in ("livenessProbe", "readinessProbe"):
            if kind in self.probers:
                self.probers[kind].step(now)
        readiness, liveness = self.probers.get("readinessProbe"), self.probers.get("livenessProbe")
        self.ready = self.started and (readiness is None or readiness.passed is True)
        if liveness is not None and liveness.passed is False:
            self._unhealthy(liveness, now)

    def _unhealthy(self, prober: Prober, now: float) -> None:
        """A probe failed for good: the container is ended, and started anew."""
        if self._kill_at is None:
            self._kill_at = now + self.place.pod["spec"]["terminationGracePeriodSeconds"]
            self._record("Killing", f"Container {self.name} failed {prober.word.lower()} probe, will be restarted")
            self.stop(signal.SIGTERM)

    def _ended(self, now: float) -> None:
        assert self.process is not None
        code = self.process.returncode
        send(self.process, signal.SIGKILL)  # what else is in the container ends with its first process
        exit_code = 128 - code if code < 0 else code
        reason = self.killed_as or ("Completed" if exit_code == 0 else "Error")
        message = self._message(exit_code)
        told = {"exitCode": exit_code, "reason": reason, "startedAt": self._since}
        self._over(told | ({"message": message} if message else {}), now)

    def _over(self, told: Object, now: float) -> None:
        self.process, self.ready, self.started = None, False, False
        self.state = {"terminated": {**told, "finishedAt": stamp()}}
        self._ends += 1
        pause = min(self.around.backoff_s * 2 ** (self._ends - 2), self.around.backoff_s_max) if self._ends > 1 else 0.0
        self._retry_at = now + pause
        if not (self.init and self.done):
            self.last = self.state
            if pause:
                pod = self.place.pod["metadata"]["name"]
                said = f"back-off {pause:g}s restarting failed container={self.name} pod={pod}"
                self.state = {"waiting": {"reason": "CrashLoopBackOff", "message": said}}
                self._record("BackOff", f"Back-off restarting failed container {self.name}")

    def _message(self, exit_code: int) -> str:
        """The termination message: the file's, or of a failure the end of the log where the pod says so."""
        file = self.place.folder / f"{self.name}.message"
        found = file.read_text()
        if not found and exit_code and self.spec["terminationMessagePolicy"] == "FallbackToLogsOnError":
            found = "\n".join(self.log.read_text(errors="replace").splitlines()[-80:])
        return found[-MESSAGE_BYTES_MAX:]

    def _record(self, reason: str, message: str) -> None:
        self.around.record(self.place.pod, reason, message)
