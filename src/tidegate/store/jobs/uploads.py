"""Queries on uploads: rows beside the files in DATA/uploads."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from tidegate.store.tables import UploadRow


def get_upload(tx: Session, upload_id: str) -> UploadRow | None:
    """The upload with this id, expired or not."""
    return tx.get(UploadRow, upload_id)


def uploads(tx: Session) -> list[UploadRow]:
    """All uploads."""
    return list(tx.scalars(select(UploadRow)))


def expired(tx: Session, now: float) -> list[UploadRow]:
    """Uploads past their time."""
    return list(tx.scalars(select(UploadRow).where(UploadRow.expires_at < now)))
