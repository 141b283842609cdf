"""Keeps the gateway processes running: starts, adopts, replaces and ends them. Run by the control process in a thread.

A gateway outlives the control plane. It is found again by DATA/gateways/<id>.json, and kept when it was started with
the same arguments, settings and release; else it is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tidegate.adapters.processes import ProcessRef, bound_log, is_alive, processes_of, send, spawn
from tidegate.adapters.unix_probe import speaks
from tidegate.clock import Clock, monotonic
from tidegate.core.backoff import Backoff
from tidegate.loops.metrics import LoopMetrics
from tidegate.settings import run_dir
from tidegate.version import __version__
from tidegate.wire.rest import GatewayView

log = logging.getLogger(__name__)

MODULE = "tidegate.gateway"
POLL_S = 0.25
HEALTH_EVERY_S, HEALTH_TIMEOUT_S, SILENT_MAX_S = 1.0, 1.0, 30.0
STEADY_S = 60.0
"""A gateway that ran so long has its failures forgiven."""
BACKOFF = Backoff(first_s=0.5, longest_s=30.0)


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
        argv += ["--control-url", self.control_url]
        return [*argv, "--reuse-port"] if self.count > 1 else argv

    def fingerprint(self, gateway_id: str) -> str:
        """Differs when a running gateway would not be the one that is wanted."""
        own = {name: value for name, value in self.env.items() if name.startswith("TIDEGATE_") or name == "REDIS_URL"}
        told = json.dumps([__version__, self.argv(gateway_id), sorted(own.items())])
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass
class Gateway:
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

    def alive(self) -> bool:
        """Whether its process runs; of a child that ended, the exit code is read by this."""
        if self.child is not None:
            return self.child.poll() is None
        return self.ref is not None and is_alive(self.ref)


class GatewaySupervisor:
    """Keeps `count` gateways running; with a count of 0, somebody else does."""

    def __init__(self, settings: GatewaySettings, metrics: LoopMetrics, clock: Clock = monotonic) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._folder = settings.data_dir / "gateways"
        self._gateways = [Gateway(f"gateway-{index}") for index in range(settings.count)]

    def adopt(self) -> list[str]:
        """Take over gateways that are as wanted and end the others, before the first `step`. Returns their ids."""
        adopted = []
        for gateway in self._gateways:
            ref, fingerprint = self._recorded(gateway.id)
            if ref and is_alive(ref) and fingerprint == self._settings.fingerprint(gateway.id):
                gateway.ref, gateway.started_at, gateway.answered_at = ref, self._clock(), self._clock()
                adopted.append(gateway.id)
        self._end_strangers()
        return adopted

    def run(self, stop: threading.Event) -> None:
        """Look after them until `stop` is set."""
        while not stop.is_set():
            try:
                self.step()
            except Exception:
                log.exception("looking after the gateways failed; they run on")
            stop.wait(POLL_S)

    def step(self) -> None:
        """One look at each gateway."""
        for gateway in self._gateways:
            now = self._clock()
            if not gateway.alive():
                self._restart(gateway, now)
            elif now - gateway.looked_at >= (HEALTH_EVERY_S if gateway.answers else POLL_S):
                self._look(gateway, now)

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

    def live_ids(self) -> list[str]:
        """Gateways that may be routing now."""
        return [gateway.id for gateway in self._gateways if gateway.alive()]

    def stop_all(self, timeout_s: float, at_once: threading.Event) -> None:
        """End every gateway of this platform: they finish what they have, within `timeout_s`."""
        self._end(self._running(), timeout_s, at_once)
        for gateway in self._gateways:
            gateway.alive()
            self._record_file(gateway.id).unlink(missing_ok=True)

    def _look(self, gateway: Gateway, now: float) -> None:
        gateway.looked_at = now
        bound_log(self._log_file(gateway.id))
        was = gateway.answers
        socket_path = run_dir(self._settings.data_dir) / f"{gateway.id}.sock"
        gateway.answers = speaks(socket_path, HEALTH_TIMEOUT_S)
        if gateway.answers:
            gateway.answered_at = now
            if now - gateway.started_at >= STEADY_S:
                gateway.failures = 0
        if gateway.answers and not was:
            log.info("%s answers on http://%s:%d", gateway.id, self._settings.host, self._settings.port)
        elif gateway.ref and now - max(gateway.answered_at, gateway.started_at) >= SILENT_MAX_S:
            log.error("%s has not answered for %.0f s and is ended", gateway.id, SILENT_MAX_S)
            send(gateway.ref, signal.SIGKILL)

    def _restart(self, gateway: Gateway, now: float) -> None:
        if gateway.ref is not None:
            self._note_end(gateway, now)
        if now < gateway.retry_at:
            return
        argv = self._settings.argv(gateway.id)
        try:
            gateway.child, gateway.ref = spawn(argv, self._log_file(gateway.id), self._settings.env)
        except OSError as error:
            gateway.failures += 1
            gateway.retry_at = now + BACKOFF.delay_s(gateway.failures, 0.0)
            log.error("%s could not be started: %s", gateway.id, error)
            return
        gateway.started_at = gateway.answered_at = now
        self._record(gateway)
        log.info("started %s as process %d", gateway.id, gateway.ref.pid)

    def _note_end(self, gateway: Gateway, now: float) -> None:
        code = gateway.child.returncode if gateway.child else None
        gateway.failures += 1
        gateway.retry_at = now + BACKOFF.delay_s(gateway.failures, 0.0)
        gateway.ref, gateway.child, gateway.answers = None, None, False
        self._metrics.gateway_restarts.labels(gateway.id).inc()
        log.error("%s ended (exit code %s); its log is %s", gateway.id, code, self._log_file(gateway.id))

    def _end_strangers(self) -> None:
        """Gateways of this data directory that are not adopted: other ports, fewer of them, another release."""
        pids = {gateway.ref.pid for gateway in self._gateways if gateway.ref}
        found = [ref for ref in self._running() if ref.pid not in pids]
        if found:
            log.info("replacing %d gateway(s) that were started in another way", len(found))
            self._end(found, timeout_s=10.0, at_once=threading.Event())

    def _running(self) -> list[ProcessRef]:
        """This data directory's gateways. Without any of its own, a control plane leaves those that others started."""
        found = [found.ref for found in processes_of(self._settings.data_dir) if found.module == MODULE]
        if self._settings.count > 0:
            return found
        recorded = [self._recorded(file.stem)[0] for file in self._folder.glob("gateway-*.json")]
        started = {ref.pid for ref in recorded if ref is not None and is_alive(ref)}
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

    def _record(self, gateway: Gateway) -> None:
        if gateway.ref is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        record = {
            "pid": gateway.ref.pid,
            "created_at": gateway.ref.created_at,
            "argv": self._settings.argv(gateway.id),
            "fingerprint": self._settings.fingerprint(gateway.id),
        }
        file = self._record_file(gateway.id)
        fresh = file.with_suffix(".json.new")
        fresh.write_text(json.dumps(record))
        os.replace(fresh, file)  # noqa: PTH105 (Path.replace is the same, this one says that it is atomic)

    def _recorded(self, gateway_id: str) -> tuple[ProcessRef | None, str]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(self._record_file(gateway_id).read_text())
            return ProcessRef(int(record["pid"]), float(record["created_at"])), str(record["fingerprint"])
        return None, ""

    def _record_file(self, gateway_id: str) -> Path:
        return self._folder / f"{gateway_id}.json"

    def _log_file(self, gateway_id: str) -> Path:
        return self._settings.data_dir / "logs" / f"{gateway_id}.log"


def _status(gateway: Gateway) -> Literal["starting", "ready", "down"]:
    if gateway.answers and gateway.alive():
        return "ready"
    return "starting" if gateway.alive() and not gateway.failures else "down"
