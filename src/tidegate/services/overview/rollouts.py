"""Canaries and guards that a person should look at, for the status: what waits, and what took a version back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tidegate.services.canaries.changes import BY_PEOPLE
from tidegate.store.tables import EndpointRow, HistoryRow
from tidegate.store.tables.canaries import CanaryRow
from tidegate.wire.parts import RolloutView

ROLLOUTS_MAX = 50
ENDED_WITHIN_S = 24 * 3600.0
TRAFFIC = ("deploy", "traffic", "promote", "rollback", "follow", "canary", "experiment")
"""Changes after which what became of an earlier version is over, the next canary or experiment among them."""


def of_note(tx: Session, now: float) -> list[RolloutView]:
    """The newest first, at most `ROLLOUTS_MAX`."""
    taken_back = CanaryRow.state.in_(("aborted", "failed")) & (CanaryRow.ended_at >= now - ENDED_WITHIN_S)
    by_itself = CanaryRow.reason.not_like(f"{BY_PEOPLE} %")
    since = select(HistoryRow.id).where(
        HistoryRow.endpoint_uid == CanaryRow.endpoint_uid,
        HistoryRow.at > CanaryRow.ended_at,
        HistoryRow.action.in_(TRAFFIC),
    )
    query = (
        select(CanaryRow)
        .join(EndpointRow, EndpointRow.uid == CanaryRow.endpoint_uid)
        .where(
            EndpointRow.deleted_at.is_(None), (CanaryRow.state == "paused") | (taken_back & by_itself & ~since.exists())
        )
        .order_by(CanaryRow.id.desc())
        .limit(ROLLOUTS_MAX)
    )
    return [_view(row) for row in tx.scalars(query)]


def _view(row: CanaryRow) -> RolloutView:
    at = row.step_set_at if row.ended_at is None else row.ended_at
    texts: Any = row  # its texts are of the view's own words
    return RolloutView(row.endpoint, texts.kind, row.version, texts.state, row.reason, at)
