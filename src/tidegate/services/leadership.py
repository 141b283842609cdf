"""Which control plane leads: keeps or takes the lease, and fences what a former leader would still write.

`step` is called by the control process again and again; loops and jobs write through a store that asks `fence` first.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from tidegate.errors import NotLeader, StoreUnavailable
from tidegate.store import leases as rows
from tidegate.store.database.engine import Store
from tidegate.store.leases import Candidate
from tidegate.wire import parts

log = logging.getLogger(__name__)

STEP_S = 1.0


@dataclass(frozen=True)
class Term:
    """One time of leading, from a taking of the lease to its loss."""

    token: int
    taken_over: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class Leadership:
    """This control plane's part in the election. Safe to share between threads."""

    def __init__(self, store: Store, me: Candidate) -> None:
        self.me = me
        self._store = store
        self._term: Term | None = None
        self._restarted = True  # nobody else has this data directory: what it held when it was killed is free
        self._leader: parts.LeaderView | None = None
        self.ended = threading.Event()

    @property
    def term(self) -> Term | None:
        """The term under way, while this control plane leads as far as it knows."""
        term = self._term
        return term if term is not None and not term.over.is_set() else None

    def leads(self) -> bool:
        """Whether loops of the leader alone may act: it leads, and has taken over what it found."""
        term = self.term
        return term is not None and term.taken_over.is_set()

    def step(self) -> Term | None:
        """Renew the lease, or take it where nobody holds it. Raises `StoreUnavailable`, and leads on then.

        Without its database a leader can write nothing, so it need not know whether it still is one.
        """
        term = self.term
        if term is None:
            term = self._try_to_lead()
        elif not self._renewed(term):
            self._lost(term)
            term = None
        self._look()
        return term

    def _renewed(self, term: Term) -> bool:
        with self._store.aside() as tx:
            return rows.renew(tx, self.me, term.token)

    def _try_to_lead(self) -> Term | None:
        if self.ended.is_set() or not self._is_free():
            return None
        with self._store.transaction() as tx:
            token = rows.take(tx, self.me, restarted=self._restarted)
        self._restarted = False
        if token is None:
            return None
        self._term = Term(token)
        log.info("this control plane leads, with token %d", token)
        return self._term

    def _is_free(self) -> bool:
        """A look that disturbs nobody; whether it really is free is seen when it is taken."""
        if self._restarted:
            return True
        with self._store.reading() as tx:
            lease = rows.current(tx)
            return lease is None or not lease.holder or lease.expires_at <= rows.database_time(tx)

    def _look(self) -> None:
        """Remember who leads, for those who ask."""
        with self._store.reading() as tx:
            lease, now = rows.current(tx), rows.database_time(tx)
        if lease is None or not lease.holder:
            self._leader = None
            return
        here = lease.holder == self.me.holder
        self._leader = parts.LeaderView(lease.host, lease.url, lease.token, here, lease.expires_at > now)

    def _lost(self, term: Term) -> None:
        if not term.over.is_set():
            log.warning("another control plane leads: this one, whose token was %d, stands by", term.token)
        term.over.set()

    def fence(self, tx: Session) -> None:
        """In a writing transaction, before all else: raises `NotLeader` where this control plane does not lead."""
        term = self.term
        if term is not None and rows.holds(tx, self.me, term.token):
            return
        if term is not None:
            self._lost(term)
        raise self._refusal("nothing is changed")

    def must_lead(self) -> Term:
        """The term under way. Raises `NotLeader`, saying who leads, for what only the leader can do."""
        term = self.term
        if term is None:
            raise self._refusal("ask the one that leads")
        return term

    def _refusal(self, then: str) -> NotLeader:
        leader = self._leader
        if leader is None or leader.here:
            return NotLeader(f"no control plane leads at the moment: {then}; try again", retry_after_s=2.0)
        return NotLeader(
            f"the control plane at {leader.url} ({leader.host}) leads, this one stands by: {then}",
            retry_after_s=2.0,
            leader=leader.url,
            host=leader.host,
            token=leader.token,
        )

    def leader_elsewhere(self) -> parts.LeaderView | None:
        """The control plane that leads, where that is another one and alive."""
        leader = None if self.term is not None else self._leader
        return leader if leader is not None and leader.alive and not leader.here else None

    def view(self) -> parts.LeaderView | None:
        """Who leads, as it was seen last."""
        return self._leader

    def end(self) -> None:
        """Lead no more, and let another do it at once. A database that is away learns of it when the lease runs out."""
        self.ended.set()
        term = self.term
        if term is None:
            return
        term.over.set()
        try:
            with self._store.aside() as tx:
                rows.give_back(tx, self.me, term.token)
        except StoreUnavailable as error:
            log.warning("the lease could not be given back: %s", error)
