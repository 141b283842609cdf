"""Celery's part of a worker: takes one message at a time, while there is a thread free for its job, and acknowledges it
once the job is claimed. All that Celery calls is here; what a job is, `jobs.bench` knows.

Celery's loop runs in the main thread and alone touches the connection. Threads ask it for what they need (`Hub.soon`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery import Task, bootsteps
from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import Reject
from celery.platforms import EX_OK
from celery.worker import state as worker_state
from celery.worker.request import Request
from celery.worker.strategy import default as received

from tidegate.adapters.celery_queue import TASK
from tidegate.clock import monotonic
from tidegate.jobs.bench import Bench, Stopping

_log = logging.getLogger(__name__)

POLL_S = 0.05


class Hub:
    """The way into Celery's loop from other threads, which would else see a call up to a second later."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self.consumer: Any = None

    def soon(self, act: Callable[[], object]) -> None:
        """Run a function in Celery's loop, at its next turn."""
        consumer = self.consumer
        if consumer is not None:
            consumer.call_soon(act)
            self.wake()

    def wake(self) -> None:
        """Have Celery's loop take its next turn now."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b".")

    def join(self, hub: Any) -> None:
        """Let the hub wait for us too."""
        hub.add_reader(self._read, self._woken)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 1024)


class Slots:
    """How many jobs may run at a time. While all do, no message is taken, so that other workers have it."""

    def __init__(self, limit: int, hub: Hub) -> None:
        self._limit, self._hub = limit, hub
        self._lock = threading.Lock()
        self._taken = 0
        self._paused = False

    def take(self) -> None:
        with self._lock:
            self._taken += 1

    def free(self) -> None:
        with self._lock:
            self._taken -= 1
        self._hub.soon(self._resume)

    def refuses(self, message: Any, consumer: Any) -> bool:
        """In the loop: a message that comes while every slot is in use goes back, and none comes until one is free."""
        with self._lock:
            if self._taken < self._limit:
                return False
            self._paused = True
        consumer.task_consumer.cancel()
        message.requeue()
        return True

    def begin(self) -> None:
        """A new connection takes messages."""
        with self._lock:
            self._paused = False

    def idle(self) -> bool:
        with self._lock:
            return self._taken == 0

    def _resume(self) -> None:
        """Runs in Celery's loop."""
        with self._lock:
            if not self._paused or self._taken >= self._limit:
                return
            self._paused = False
        self._hub.consumer.task_consumer.consume()


@dataclass(frozen=True)
class WorkerParts:
    """What Celery's objects need of ours: they find it at the application, as `tidegate`."""

    bench: Bench
    hub: Hub
    slots: Slots
    stop_s: float
    at_once: threading.Event


class JobFailed(Exception):
    """A job ended as failed, which is foreseen: its row says why."""


class JobTask(Task):  # type: ignore[misc]
    """The one task: run a job, whose id the message holds."""

    name = TASK
    Request = f"{__name__}:JobRequest"
    Strategy = f"{__name__}:strategy"
    throws = (JobFailed,)

    def run(self, job_id: str) -> str:
        """In a thread. The message goes once the job is claimed, or needs no worker."""
        bench: Bench = self.app.tidegate.bench
        try:
            claimed = bench.claim(job_id)
            self.request.settle()
            outcome = bench.run(claimed) if claimed else None
        except Stopping:
            raise Reject("the worker stops", requeue=True) from None
        if outcome is None:
            return "nothing to do here"
        if outcome.error is not None:
            raise JobFailed(outcome.error.message)
        return "succeeded"


class JobRequest(Request):  # type: ignore[misc]
    """A message that came. Its job is not Celery's to revoke or to cancel: the row is the truth about it."""

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        self.request_dict["settle"] = self.acknowledge

    def acknowledge(self) -> None:
        """Celery has the loop do it; have the loop do it now."""
        super().acknowledge()
        self.app.tidegate.hub.wake()

    def revoked(self) -> bool:
        """Whether Celery is to drop the message: never, for jobs are cancelled by their rows."""
        return False

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Not when the connection is lost either: the broker sends a message again that was not acknowledged."""


def strategy(task: Task, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """What to do with a message: Celery's own way, while there is room."""
    receive = received(task, app, consumer, **options)

    def taken(message: Any, *rest: Any, **more: Any) -> Any:
        if not app.tidegate.slots.refuses(message, consumer):
            receive(message, *rest, **more)

    return taken


class JobThreads(BasePool):  # type: ignore[misc]
    """A thread for each job, which does not keep a process that stops from ending."""

    signal_safe = False
    task_join_will_block = False
    body_can_be_buffer = True

    def on_apply(self, target: Any, args: Any = None, kwargs: Any = None, **callbacks: Any) -> None:
        self.app.tidegate.slots.take()
        given = (target, args, kwargs, callbacks.get("callback"), callbacks.get("accept_callback"))
        threading.Thread(target=self._run, args=given, name="job", daemon=True).start()

    def _run(self, *given: Any) -> None:
        try:
            apply_target(*given)
        except Exception:
            _log.exception("a job's thread could not go on; the job runs again")
        finally:
            self.app.tidegate.slots.free()

    def on_stop(self) -> None:
        """Let jobs go on for a while."""
        parts: WorkerParts = self.app.tidegate
        deadline = monotonic() + parts.stop_s
        while not parts.slots.idle() and monotonic() < deadline and not parts.at_once.wait(POLL_S):
            pass


class Joining(bootsteps.StartStopStep):  # type: ignore[misc]
    """Makes each new connection known to us, with one message at a time whatever the number of threads."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        consumer.initial_prefetch_count = 1
        super().__init__(consumer, **options)

    def start(self, consumer: Any) -> None:
        consumer.app.tidegate.hub.consumer = consumer
        consumer.app.tidegate.slots.begin()

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """Called by Celery, also after it lost and found its broker."""
        consumer.app.tidegate.hub.join(hub)


def make_worker(app: Any, parts: WorkerParts, name: str, jobs: int) -> Any:
    """A Celery worker that is not started: `start` returns when it was stopped, `exitcode` then says how."""
    app.set_current()
    app.set_default()  # of the threads, too
    app.tidegate = parts
    app.register_task(JobTask())
    app.steps["consumer"].add(Joining)
    return app.WorkController(
        hostname=name, pool=JobThreads, concurrency=jobs, task_events=True, without_gossip=True, without_mingle=True
    )


def stop_soon(parts: WorkerParts) -> None:
    """From any thread: Celery's loop ends at its next turn, which is now."""
    worker_state.should_stop = EX_OK
    parts.hub.wake()
