"""Leads or stands by, as the lease says, and does what begins and ends with a term. Two threads of the process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tidegate.errors import NotLeader, StoreUnavailable, TidegateError
from tidegate.loops.adoption import adopt
from tidegate.loops.reconcile import Reconciler
from tidegate.loops.standby import Standby
from tidegate.services.leadership import STEP_S, Term
from tidegate.wiring import Container

log = logging.getLogger(__name__)

IDLE_S = 0.5


class Leading:
    """`reconciler_of` makes the loop of one term; `ending` is set when the platform stops."""

    def __init__(
        self, container: Container, reconciler_of: Callable[[Term], Reconciler], ending: threading.Event
    ) -> None:
        self._container = container
        self._reconciler_of = reconciler_of
        self._ending = ending
        settings = container.settings
        self._standby = Standby(
            container.backend,
            container.snapshots,
            container.snapshot_changed,
            settings.ready_timeout_s,
            settings.drain_s,
        )
        self._begun: tuple[Term, Reconciler] | None = None

    def begin(self) -> None:
        """At the platform's start. Raises `StoreUnavailable`."""
        self._standby.begin()
        term = self._container.leadership.step()
        if term is not None:
            self._begun = term, self._take_over(term)

    def elect(self) -> None:
        """Renew or try to take the lease, until it is given back: also while the platform stops and still writes."""
        while not self._container.leadership.ended.wait(STEP_S):
            try:
                self._container.leadership.step()
            except TidegateError as error:
                log.debug("the lease could not be looked after: %s", error)
            except Exception:
                log.exception("the lease could not be looked after")

    def run(self) -> None:
        """Term after term, and what lies between them, until `ending`."""
        while not self._ending.is_set():
            try:
                self._run_once()
            except (StoreUnavailable, NotLeader) as error:
                log.warning("waiting: %s", error)
                self._ending.wait(IDLE_S)
            except Exception:
                log.exception("could not go on; trying again")
                self._ending.wait(IDLE_S)

    def _run_once(self) -> None:
        term = self._container.leadership.term
        if term is None:
            self._standby.step(self._ending)
            self._ending.wait(IDLE_S)
            return
        begun, self._begun = self._begun, None
        reconciler = begun[1] if begun and begun[0] is term else self._take_over(term)
        try:
            reconciler.run(lambda: term.over.is_set() or self._ending.is_set())
        finally:
            self._container.job_runner.pause()
            self._standby.begin()

    def _take_over(self, term: Term) -> Reconciler:
        """What runs on this host goes on, what a former leader left half-done is cleaned up, and one pass is made."""
        container = self._container
        container.snapshots.holding.clear()
        adopt(container.fenced, container.backend, container.leadership.me.host, container.clock)
        container.take_over()
        reconciler = self._reconciler_of(term)
        reconciler.step()
        return reconciler

    def end(self) -> None:
        """The platform stops: wake the loop."""
        self._container.spec_changed.set()
