"""Queries on images that were pushed to a registry."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tidegate.store.tables.images import PushedImageRow
from tidegate.wire import rest


def note(tx: Session, image: rest.Image, release: str, now: float) -> None:
    """A registry took this image, and said by which digest (`pushed_as`): the row of its name, form, release and
    platform from now on.
    """
    tx.merge(
        PushedImageRow(
            model=image.model,
            version=image.version,
            tag=image.image,
            form=image.form or "",
            release=release,
            platform=image.platform or "",
            digest=image.digest,
            reference=image.pushed_as,
            pushed_at=now,
        )
    )


def of_version(tx: Session, model: str, version: str) -> list[PushedImageRow]:
    """All that were pushed of a version, the newest first."""
    mine = select(PushedImageRow).where(PushedImageRow.model == model, PushedImageRow.version == version)
    return list(tx.scalars(mine.order_by(PushedImageRow.pushed_at.desc(), PushedImageRow.tag)))


def forget_pushed(tx: Session, model: str, version: str | None = None) -> None:
    """Of a version that is deleted, or of all of its model; what the registry has stays there."""
    query = delete(PushedImageRow).where(PushedImageRow.model == model)
    tx.execute(query if version is None else query.where(PushedImageRow.version == version))
