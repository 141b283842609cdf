"""Keeps the compactor running beside the gateways: starts it, starts it again when it dies, ends it with the platform.

Run by the control process, whether it leads or not: every host's journal has a compactor of its own. One that an
earlier control plane started is ended first, whatever it is doing just now: a compactor that is killed loses nothing.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from tidegate.adapters.local.processes import ProcessRef, bound_log, is_alive, processes_of, send, spawn
from tidegate.clock import Clock, monotonic
from tidegate.core.backoff import Backoff
from tidegate.loops.metrics import LoopMetrics
from tidegate.system.exhaustion import exhausted

log = logging.getLogger(__name__)

MODULE = "tidegate.compactor"
LOOK_S, END_S = 1.0, 10.0
STEADY_S = 60.0
BACKOFF = Backoff(first_s=0.5, longest_s=60.0)


class CompactorSupervisor:
    """Of one data directory; with `wanted` False somebody else starts it (a container of its own)."""

    def __init__(
        self,
        data_dir: Path,
        env: Mapping[str, str],
        metrics: LoopMetrics,
        *,
        wanted: bool = True,
        clock: Clock = monotonic,
    ) -> None:
        self._data_dir, self._env, self._metrics, self._wanted, self._clock = data_dir, env, metrics, wanted, clock
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = self._retry_at = 0.0
        self._failures = 0
        self._began = False

    def step(self) -> float:
        """One look; how long until the next."""
        if not self._wanted:
            return STEADY_S
        if not self._began:
            self._end(self._running())
            self._began = True
        now = self._clock()
        if self._child is not None and self._child.poll() is None:
            bound_log(self._log_file())
            if now - self._started_at >= STEADY_S:
                self._failures = 0
            return LOOK_S
        if self._child is not None:
            self._note_end(self._child.returncode, now)
        if now >= self._retry_at:
            self._start(now)
        return LOOK_S

    def stop(self, at_once: threading.Event | None = None) -> None:
        """End it within a bound; what it was doing is done again by the next one."""
        if self._wanted:
            self._end(self._running(), at_once)
            if self._child is not None:
                self._child.poll()

    def _start(self, now: float) -> None:
        argv = [sys.executable, "-m", MODULE, "--data-dir", str(self._data_dir)]
        try:
            self._child, ref = spawn(argv, self._log_file(), self._env)
        except OSError as error:
            self._failures += exhausted(error, spawning=True) is None
            self._retry_at = now + BACKOFF.delay_s(max(self._failures, 1), 0.0)
            log.error("the compactor could not be started: %s", error)
            return
        self._started_at = now
        log.info("started the compactor as process %d", ref.pid)

    def _note_end(self, code: int, now: float) -> None:
        self._child = None
        self._failures += 1
        self._retry_at = now + BACKOFF.delay_s(self._failures, 0.0)
        self._metrics.compactor_restarts.inc()
        log.error("the compactor ended (exit code %s); its log is %s", code, self._log_file())

    def _running(self) -> list[ProcessRef]:
        return [found.ref for found in processes_of(self._data_dir) if found.module == MODULE]

    def _end(self, refs: list[ProcessRef], at_once: threading.Event | None = None) -> None:
        for ref in refs:
            send(ref, signal.SIGTERM)
        deadline, waiting = monotonic() + END_S, at_once or threading.Event()
        while any(map(is_alive, refs)) and monotonic() < deadline and not waiting.wait(0.05):
            pass
        for ref in refs:
            send(ref, signal.SIGKILL)

    def _log_file(self) -> Path:
        return self._data_dir / "logs" / "compactor.log"
