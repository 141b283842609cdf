"""Queries on the leader's lease: taken, renewed and given back by the database's clock. Called by services/leadership.

The token grows with each taking. A writer whose token is no longer the row's has been replaced, whatever its own clock
says; as writing transactions take turns, one that saw its token in the row commits before anybody can be elected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete, func, literal_column, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from tidegate.core.engines.capabilities import OF_A_HOST
from tidegate.store.tables import LeaseRow, ReplicaRow

LEADER = "leader"
LEASE_S = 6.0
"""How long a leader that is silent leads on: with the others' polling, another leads within ten seconds."""


@dataclass(frozen=True)
class Candidate:
    """A control plane: `holder` is this very process, `host` its machine and data directory, `url` its API."""

    holder: str
    host: str
    url: str


def current(tx: Session) -> LeaseRow | None:
    """The lease as it is, held or not; None before the first."""
    return tx.get(LeaseRow, LEADER, populate_existing=True)


def database_time(tx: Session) -> float:
    """Seconds since the epoch by the database's clock."""
    return float(tx.scalar(select(_now(tx))) or 0.0)


def _now(tx: Session) -> ColumnElement[float]:
    if tx.get_bind().dialect.name == "postgresql":
        return literal_column("extract(epoch FROM clock_timestamp())::float8")
    return literal_column("(julianday('now') - 2440587.5) * 86400.0")


def ensure(tx: Session) -> LeaseRow:
    """The lease's row, made where there is none."""
    row = current(tx)
    if row is None:
        row = LeaseRow(name=LEADER, token=0, holder="", host="", url="", files_dir="", files_id="", platform="")
        row.acquired_at = row.renewed_at = row.expires_at = 0.0
        tx.add(row)
        tx.flush()
    return row


def take(tx: Session, me: Candidate, *, restarted: bool) -> int | None:
    """Lead from now on: the new token; None while another leads. In a writing transaction.

    `restarted` says that no other process has `me.host`'s data directory: what it held before is then free. Rows of
    replicas that belong to other hosts go; those are ended by their own control plane.
    """
    ensure(tx)
    row = tx.get_one(LeaseRow, LEADER, populate_existing=True, with_for_update=True)
    now = database_time(tx)
    own = restarted and row.host == me.host
    if row.holder and row.expires_at > now and not own:
        return None
    if row.token == 0:  # written by a release without leases, which had one platform
        tx.execute(update(ReplicaRow).where(ReplicaRow.host == "").values(host=me.host))
    tx.execute(delete(ReplicaRow).where(ReplicaRow.backend.in_(OF_A_HOST), ReplicaRow.host != me.host))
    row.token += 1
    row.holder, row.host, row.url = me.holder, me.host, me.url
    row.acquired_at = row.renewed_at = now
    row.expires_at = now + LEASE_S
    return row.token


def renew(tx: Session, me: Candidate, token: int) -> bool:
    """Lead on for another `LEASE_S`; False when another took over. One that merely ran out is still ours."""
    values = {"renewed_at": _now(tx), "expires_at": _now(tx) + LEASE_S}
    return _changed(tx, me, token, values)


def give_back(tx: Session, me: Candidate, token: int) -> bool:
    """Give the lease back, so that another may lead at once."""
    return _changed(tx, me, token, {"holder": "", "expires_at": 0.0})


def _changed(tx: Session, me: Candidate, token: int, values: Mapping[str, object]) -> bool:
    found = tx.scalar(update(LeaseRow).where(_mine(me, token)).values(values).returning(LeaseRow.token))
    return found is not None


def holds(tx: Session, me: Candidate, token: int) -> bool:
    """Whether `me` leads with this token still, for certain until the transaction ends if it is a writing one."""
    return bool(tx.scalar(select(func.count()).select_from(LeaseRow).where(_mine(me, token))))


def _mine(me: Candidate, token: int) -> ColumnElement[bool]:
    return (LeaseRow.name == LEADER) & (LeaseRow.holder == me.holder) & (LeaseRow.token == token)
