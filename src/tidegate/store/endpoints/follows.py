"""Queries on endpoints that follow an alias: what is followed is written by services, how it goes by loops/follow."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from tidegate.store.tables import EndpointRow, FollowRow


def get_follow(tx: Session, endpoint: str) -> FollowRow | None:
    """What the endpoint follows, if anything."""
    return tx.get(FollowRow, endpoint)


def following(tx: Session) -> list[tuple[FollowRow, EndpointRow]]:
    """Every endpoint that follows an alias and is not being deleted, by name."""
    query = select(FollowRow, EndpointRow).join(EndpointRow, EndpointRow.name == FollowRow.endpoint)
    found = tx.execute(query.where(EndpointRow.deleted_at.is_(None)).order_by(FollowRow.endpoint)).all()
    return [(follow, endpoint) for follow, endpoint in found]


def gate_uploads(tx: Session) -> set[str]:
    """Uploads that versions to come are scored on."""
    named = (row.options.get("gate", {}).get("validation_upload") for row in tx.scalars(select(FollowRow)))
    return {upload for upload in named if upload}
