"""Leads or stands by, as the lease says, and does what begins and ends with a term. Two loops of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tidegate.control.limits import limits_of
from tidegate.core.backoff import Backoff
from tidegate.core.reconcile.fleet import GatewayFacts
from tidegate.loops.reconcile.adoption import adopt
from tidegate.loops.reconcile.reconcile import Reconciler
from tidegate.loops.reconcile.standby import Standby
from tidegate.services.leadership import STEP_S, Term
from tidegate.wiring import Container

IDLE_S = 0.5
LEASE_TROUBLE = Backoff(first_s=STEP_S, longest_s=STEP_S)
"""A lease that is not renewed runs out soon: the next attempt is never put off."""


class Leading:
    """`reconciler_of` makes the loop of one term; `ending` is set when the platform stops; `gateways_heard` tells what
    those that may be routing said last.
    """

    def __init__(
        self,
        container: Container,
        reconciler_of: Callable[[Term], Reconciler],
        ending: threading.Event,
        gateways_heard: Callable[[], tuple[GatewayFacts, ...]] = tuple,
    ) -> None:
        self._container = container
        self._reconciler_of = reconciler_of
        self._ending = ending
        limits = limits_of(container.settings)
        self._standby = Standby(
            container.backend,
            container.snapshots,
            container.snapshot_changed,
            gateways_heard,
            limits.ready_timeout_s,
            limits,
        )
        self._begun: tuple[Term, Reconciler] | None = None

    def begin(self) -> None:
        """At the platform's start: as leader take over what runs and make one pass. Raises `StoreUnavailable`."""
        self._standby.begin()
        term = self._container.leadership.step()
        if term is not None:
            self._take_over(term).step()

    def elect(self) -> float:
        """A step of the lease's loop: renew or try to take it, also while the platform stops and still writes."""
        leadership = self._container.leadership
        if not leadership.ended.is_set():
            before = leadership.term
            if leadership.step() is not before:
                self._container.spec_changed.set()
        return STEP_S

    def step(self) -> float:
        """A step of the reconcile loop, which stands by between terms."""
        term = self._container.leadership.term
        if self._begun is not None and self._begun[0] is not term:
            self.step_down()
        if term is None:
            self._standby.step(self._ending)
            return IDLE_S
        reconciler = self._begun[1] if self._begun is not None else self._take_over(term)
        return reconciler.step()

    def step_down(self) -> None:
        """The term is over, or the platform stops: no more jobs are taken, and what runs here is of a former term."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun[0].taken_over.clear()
            self._standby.begin()

    def _take_over(self, term: Term) -> Reconciler:
        """What runs on this host goes on, and what a former leader left half-done is cleaned up."""
        container = self._container
        container.snapshots.holding.clear()
        adopt(container.fenced, container.backend, container.leadership.me.host, container.clock)
        container.take_over(term)
        self._begun = term, self._reconciler_of(term)
        return self._begun[1]
