"""Keeps the gateway processes running: starts, adopts, replaces and ends them. Run by the control process.

A gateway outlives the control plane. It is found again by DATA/gateways/<id>.json, and kept when it was started with
the same arguments, settings and program. Else it is replaced: all gateways of a platform share its ports, so the new
one (with an id of its own) answers before the old one is told to finish, and no connection is refused in between.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tidegate.adapters.local.processes import ProcessRef, bound_log, is_alive, processes_of, send, spawn
from tidegate.adapters.local.unix_probe import speaks
from tidegate.build_id import build_id
from tidegate.clock import Clock, monotonic
from tidegate.core.backoff import Backoff
from tidegate.errors import OutOfResources
from tidegate.loops.metrics import LoopMetrics
from tidegate.system.atomic import write_whole
from tidegate.system.exhaustion import exhausted
from tidegate.system.run_dir import run_dir
from tidegate.version import __version__
from tidegate.wire.rest import GatewayView

log = logging.getLogger(__name__)

MODULE = "tidegate.gateway"
SHARED = "--reuse-port"
POLL_S, RETIRE_S = 0.25, 10.0
HEALTH_EVERY_S, HEALTH_TIMEOUT_S, SILENT_MAX_S = 1.0, 1.0, 30.0
"""A gateway is asked each `HEALTH_EVERY_S`; one that does not answer for `SILENT_MAX_S` is killed and started again."""
STEADY_S = 60.0
"""A gateway that ran so long has its failures forgiven."""
BACKOFF = Backoff(first_s=0.5, longest_s=30.0)
TROUBLE = Backoff(first_s=POLL_S, longest_s=5.0)


@dataclass(frozen=True)
class GatewaySettings:
    """What every gateway of this platform is started with."""

    data_dir: Path
    host: str
    port: int
    grpc_port: int
    control_url: str
    count: int
    env: Mapping[str, str]

    def argv(self, gateway_id: str) -> list[str]:
        """The command line of one gateway."""
        argv = [sys.executable, "-m", MODULE, "--data-dir", str(self.data_dir), "--id", gateway_id]
        argv += ["--host", self.host, "--port", str(self.port), "--grpc-port", str(self.grpc_port)]
        return [*argv, "--control-url", self.control_url, SHARED]

    def shares_ports(self, argv: Sequence[str]) -> bool:
        """Whether a gateway that was started so lets another one listen beside it, on the ports of these settings."""
        wanted = self.argv("")
        at = wanted.index("--host")
        return SHARED in argv and wanted[at : at + 6] == list(argv[at : at + 6])

    def fingerprint(self, gateway_id: str) -> str:
        """Differs when a running gateway would not be the one that is wanted."""
        own = {name: value for name, value in self.env.items() if name.startswith("TIDEGATE_") or name == "REDIS_URL"}
        started_with = json.dumps([__version__, build_id(), self.argv(gateway_id), sorted(own.items())])
        return hashlib.sha256(started_with.encode()).hexdigest()


@dataclass
class GatewayProcess:
    """One gateway process as its supervisor sees it."""

    id: str
    ref: ProcessRef | None = None
    child: subprocess.Popen[bytes] | None = None
    answers: bool = False
    started_at: float = 0.0
    answered_at: float = 0.0
    looked_at: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    unseen: bool = False

    def alive(self) -> bool:
        """Whether its process runs; of a child that ended, the exit code is read by this."""
        if self.child is not None:
            return self.child.poll() is None
        return self.ref is not None and is_alive(self.ref)


@dataclass(frozen=True)
class Recorded:
    """A gateway that some control plane started, as it wrote down: which process, and how."""

    id: str
    ref: ProcessRef
    fingerprint: str
    argv: list[str] = field(default_factory=list)


class GatewaySupervisor:
    """Keeps `count` gateways running; with a count of 0, somebody else does."""

    def __init__(self, settings: GatewaySettings, metrics: LoopMetrics, clock: Clock = monotonic) -> None:
        self.on_retired: Callable[[str], None] = lambda _gateway_id: None
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._folder = settings.data_dir / "gateways"
        self._gateways = [GatewayProcess(f"gateway-{index}") for index in range(settings.count)]
        self._leaving: list[Recorded] = []
        self._told_to_leave_at: float | None = None

    def adopt(self) -> list[str]:
        """Take over gateways that are as wanted, before the first `step`. Returns the ids of all that serve meanwhile:
        these, and those of another release or with other settings, which end once their successors answer.
        """
        recorded = [one for one in self._all_recorded() if is_alive(one.ref)]
        fit = [one for one in recorded if one.fingerprint == self._settings.fingerprint(one.id)]
        kept = fit[: self._settings.count]
        leaving = [one for one in recorded if one not in kept and self._settings.shares_ports(one.argv)]
        serving = [one.id for one in (*kept, *leaving)]
        self._end_strangers({one.ref.pid for one in (*kept, *leaving)})
        unused = (name for name in map("gateway-{}".format, itertools.count()) if name not in serving)
        present = self._clock()
        self._gateways = [GatewayProcess(one.id, one.ref, started_at=present, answered_at=present) for one in kept]
        self._gateways += [GatewayProcess(next(unused)) for _ in range(self._settings.count - len(kept))]
        self._leaving = leaving
        return serving

    def step(self) -> float:
        """One look at each gateway; how long until the next."""
        for gateway in self._gateways:
            now = self._clock()
            try:
                if not gateway.alive():
                    self._restart(gateway, now)
                elif now - gateway.looked_at >= (HEALTH_EVERY_S if gateway.answers else POLL_S):
                    self._look(gateway, now)
            except (OSError, OutOfResources) as error:
                self._could_not_look(gateway, now, error)
        if self._leaving and self.ready():
            self._retire(self._clock())
        return POLL_S

    def views(self, url: str, applied: Mapping[str, int]) -> list[GatewayView]:
        """Each gateway as status shows it; `applied` has the routing snapshot that each took last."""
        return [
            GatewayView(
                id=gateway.id,
                url=url,
                pid=gateway.ref.pid if gateway.ref and gateway.alive() else None,
                revision=applied.get(gateway.id) if gateway.answers else None,
                status=_status(gateway),
            )
            for gateway in self._gateways
        ]

    def ready(self) -> bool:
        """Whether all of them answer."""
        return all(_status(gateway) == "ready" for gateway in self._gateways)

    def any_ready(self) -> bool:
        """Whether at least one answers."""
        return any(_status(gateway) == "ready" for gateway in self._gateways)

    def running_since(self) -> dict[str, float | None]:
        """When the process of each gateway was started (adopted, for one that ran before); None where none runs."""
        return {gateway.id: gateway.started_at if gateway.alive() else None for gateway in self._gateways}

    def stop_all(self, timeout_s: float, at_once: threading.Event) -> None:
        """End every gateway of this platform: they finish what they have, within `timeout_s`."""
        self._end(self._running(), timeout_s, at_once)
        for gateway in self._gateways:
            gateway.alive()
        for recorded in self._all_recorded():
            self._record_file(recorded.id).unlink(missing_ok=True)

    def _look(self, gateway: GatewayProcess, now: float) -> None:
        gateway.looked_at = now
        bound_log(self._log_file(gateway.id))
        was = gateway.answers
        socket_path = run_dir(self._settings.data_dir) / f"{gateway.id}.sock"
        gateway.answers = speaks(socket_path, HEALTH_TIMEOUT_S)
        gateway.unseen = False
        if gateway.answers:
            gateway.answered_at = now
            if now - gateway.started_at >= STEADY_S:
                gateway.failures = 0
        if gateway.answers and not was:
            log.info("%s answers on http://%s:%d", gateway.id, self._settings.host, self._settings.port)
        elif gateway.ref and now - max(gateway.answered_at, gateway.started_at) >= SILENT_MAX_S:
            log.error("%s has not answered for %.0f s and is ended", gateway.id, SILENT_MAX_S)
            send(gateway.ref, signal.SIGKILL)

    def _could_not_look(self, gateway: GatewayProcess, now: float, error: Exception) -> None:
        """This process had nothing left to look with, which says nothing of the gateway: it is left alone."""
        here = exhausted(error)
        if here is None:
            raise error
        if not gateway.unseen:
            log.error("%s cannot be looked at and is left alone: %s", gateway.id, here)
        gateway.unseen, gateway.looked_at, gateway.answered_at = True, now, now

    def _restart(self, gateway: GatewayProcess, now: float) -> None:
        if gateway.ref is not None:
            self._note_end(gateway, now)
        if now < gateway.retry_at:
            return
        argv = self._settings.argv(gateway.id)
        try:
            gateway.child, gateway.ref = spawn(argv, self._log_file(gateway.id), self._settings.env)
        except OSError as error:
            gateway.failures += exhausted(error, spawning=True) is None
            gateway.retry_at = now + BACKOFF.delay_s(max(gateway.failures, 1), 0.0)
            log.error("%s could not be started: %s", gateway.id, error)
            return
        gateway.started_at = gateway.answered_at = now
        self._record(gateway)
        log.info("started %s as process %d", gateway.id, gateway.ref.pid)

    def _note_end(self, gateway: GatewayProcess, now: float) -> None:
        code = gateway.child.returncode if gateway.child else None
        gateway.failures += 1
        gateway.retry_at = now + BACKOFF.delay_s(gateway.failures, 0.0)
        gateway.ref, gateway.child, gateway.answers = None, None, False
        self._metrics.gateway_restarts.labels(gateway.id).inc()
        log.error("%s ended (exit code %s); its log is %s", gateway.id, code, self._log_file(gateway.id))

    def _retire(self, now: float) -> None:
        """Their successors answer: let the gateways that are to be replaced finish what they have. Never waits."""
        if self._told_to_leave_at is None:
            log.info("%d gateway(s) started in another way have successors, and end", len(self._leaving))
            self._told_to_leave_at = now
            for one in self._leaving:
                send(one.ref, signal.SIGTERM)
        elif now - self._told_to_leave_at >= RETIRE_S:
            for one in self._leaving:
                send(one.ref, signal.SIGKILL)
        for one in self._leaving:
            if not is_alive(one.ref):
                self._record_file(one.id).unlink(missing_ok=True)
                self.on_retired(one.id)
        self._leaving = [one for one in self._leaving if is_alive(one.ref)]

    def _end_strangers(self, serving: set[int]) -> None:
        """Gateways of this data directory beside which no other can listen, or that listen elsewhere."""
        found = [ref for ref in self._running() if ref.pid not in serving]
        if found:
            log.info("replacing %d gateway(s) that were started in another way", len(found))
            self._end(found, timeout_s=10.0, at_once=threading.Event())

    def _running(self) -> list[ProcessRef]:
        """This data directory's gateways. Without any of its own, a control plane leaves those that others started."""
        found = [found.ref for found in processes_of(self._settings.data_dir) if found.module == MODULE]
        if self._settings.count > 0:
            return found
        started = {one.ref.pid for one in self._all_recorded() if is_alive(one.ref)}
        return [ref for ref in found if ref.pid in started]

    def _end(self, refs: list[ProcessRef], timeout_s: float, at_once: threading.Event) -> None:
        for ref in refs:
            send(ref, signal.SIGTERM)
        deadline = monotonic() + timeout_s
        while self._any_alive(refs) and monotonic() < deadline and not at_once.wait(0.05):
            pass
        for ref in refs:
            send(ref, signal.SIGKILL)

    def _any_alive(self, refs: list[ProcessRef]) -> bool:
        return any(is_alive(ref) for ref in refs)

    def _record(self, gateway: GatewayProcess) -> None:
        if gateway.ref is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        record = {
            "pid": gateway.ref.pid,
            "created_at": gateway.ref.created_at,
            "argv": self._settings.argv(gateway.id),
            "fingerprint": self._settings.fingerprint(gateway.id),
        }
        write_whole(self._record_file(gateway.id), json.dumps(record).encode())

    def _all_recorded(self) -> list[Recorded]:
        """What any control plane of this platform wrote down of gateways, dead or alive."""
        files = (file for file in sorted(self._folder.glob("gateway-*.json")) if "." not in file.stem)
        read = map(_recorded, files)
        return [one for one in read if one is not None]

    def _record_file(self, gateway_id: str) -> Path:
        return self._folder / f"{gateway_id}.json"

    def _log_file(self, gateway_id: str) -> Path:
        return self._settings.data_dir / "logs" / f"{gateway_id}.log"


def _status(gateway: GatewayProcess) -> Literal["starting", "ready", "down"]:
    if gateway.answers and gateway.alive():
        return "ready"
    return "starting" if gateway.alive() and not gateway.failures else "down"


def _recorded(file: Path) -> Recorded | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        body = json.loads(file.read_text())
        ref = ProcessRef(int(body["pid"]), float(body["created_at"]))
        return Recorded(file.stem, ref, str(body["fingerprint"]), [str(part) for part in body["argv"]])
    return None
