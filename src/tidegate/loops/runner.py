"""The runner of loops: a step again and again, in a thread for each, put off after a failure, ended within a bound.

Used by the composition roots (control, wiring, worker). A test needs no thread: `Repeated.turn` makes one step.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tidegate.clock import Clock, monotonic, now
from tidegate.core.backoff import Backoff
from tidegate.errors import NotLeader, TidegateError
from tidegate.loops.metrics import LoopMetrics

log = logging.getLogger(__name__)

STANDBY_S = 0.5
"""How often a loop that is the leader's alone looks whether this control plane leads."""
KINDS_KEPT_MAX = 100
WAIT_S_MAX = 3600.0
"""Longest wait for the next step, whatever a step says."""
TROUBLE = Backoff(first_s=0.5, longest_s=10.0)


def _nothing() -> None:
    """What a loop calls that needs no call at its end."""


@dataclass(frozen=True)
class Loop:
    """What is repeated. `step` returns the seconds until the next one; setting `wake` has it made at once.

    A step of a `leader_only` loop is made only while this control plane leads. `on_wake` is called before a step that
    somebody asked for, `close` in the loop's thread after the last one.
    """

    name: str
    step: Callable[[], float]
    wake: threading.Event = field(default_factory=threading.Event)
    leader_only: bool = False
    backoff: Backoff = TROUBLE
    on_wake: Callable[[], None] = _nothing
    close: Callable[[], None] = _nothing


class Repeated:
    """A loop and how its steps went. For one thread at a time."""

    def __init__(self, loop: Loop, metrics: LoopMetrics, leads: Callable[[], bool], clock: Clock = now) -> None:
        self.loop = loop
        self._metrics, self._leads, self._clock = metrics, leads, clock
        self._failures = 0
        self._logged: set[tuple[str, ...]] = set()

    @property
    def deaf_s(self) -> float:
        """How long not even `wake` brings the next step forward: a loop that fails is not woken into failing faster."""
        return self.loop.backoff.first_s if self._failures else 0.0

    def turn(self) -> float:
        """Make one step, where it may be made; the seconds until the next. Raises nothing that the step raised."""
        try:
            if self.loop.wake.is_set():
                self.loop.wake.clear()  # before the step: what arrives during it brings another
                self.loop.on_wake()
            if self.loop.leader_only and not self._leads():
                return STANDBY_S
            wait_s = min(self.loop.step(), WAIT_S_MAX)
        except NotLeader as error:  # its lease was taken over, and the fence refused what it would still write
            log.debug("%s: %s", self.loop.name, error)
            return STANDBY_S
        except (Exception, SystemExit) as error:  # a library's exit ends no loop
            return self._failed(error)
        self._succeeded()
        return wait_s

    def _succeeded(self) -> None:
        if self._failures:
            log.info("%s: goes on after %d failures", self.loop.name, self._failures)
            self._failures = 0
            self._logged.clear()
        self._metrics.loop_succeeded_at.labels(self.loop.name).set(self._clock())

    def _failed(self, error: BaseException) -> float:
        self._failures += 1
        self._metrics.loop_failures.labels(self.loop.name).inc()
        wait_s = self.loop.backoff.delay_s(self._failures, 0.0)
        kind = _kind(error)
        if kind not in self._logged and len(self._logged) < KINDS_KEPT_MAX:
            self._logged.add(kind)
            # What is foreseen says all in its message.
            level, trace = (logging.WARNING, None) if isinstance(error, TidegateError) else (logging.ERROR, error)
            log.log(level, "%s: trying again in %.1f s: %s", self.loop.name, wait_s, error, exc_info=trace)
        return wait_s


def _kind(error: BaseException) -> tuple[str, ...]:
    """What makes two failures the same for a reader of the log: the message of a foreseen one, the place of others."""
    name = type(error).__name__
    if isinstance(error, TidegateError):
        return name, error.message
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (name,) if trace is None else (name, trace.tb_frame.f_code.co_filename, str(trace.tb_lineno))


class Runner:
    """Runs some loops from `start` to `stop`."""

    def __init__(self, loops: Iterable[Loop], metrics: LoopMetrics, leads: Callable[[], bool] = lambda: True) -> None:
        self._repeated = [Repeated(loop, metrics, leads) for loop in loops]
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, each loop with a step at once."""
        for one in self._repeated:
            thread = threading.Thread(target=self._run, args=(one,), name=one.loop.name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        """Begin no further step. Returns at once."""
        self._ending.set()
        for one in self._repeated:
            one.loop.wake.set()

    def stop(self, timeout_s: float) -> None:
        """End, and wait for the steps under way, all together no longer than `timeout_s`."""
        self.end()
        deadline = monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
            if thread.is_alive():
                log.warning("%s: its step is still under way and is cut off with the process", thread.name)

    def _run(self, one: Repeated) -> None:
        while not self._ending.is_set():
            wait_s = one.turn()
            if not self._ending.wait(min(wait_s, one.deaf_s)):
                one.loop.wake.wait(max(0.0, wait_s - one.deaf_s))
        one.loop.close()
