"""The table of images that were pushed."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import Base


class PushedImageRow(Base):
    """What a registry has of a version (written by the build job): one row for each name, form, release and platform.

    A row of other files that had the version's number before is replaced, or never asked for.
    """

    __tablename__ = "pushed_images"

    model: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[str] = mapped_column(String(20), primary_key=True)
    tag: Mapped[str] = mapped_column(String(400), primary_key=True)
    form: Mapped[str] = mapped_column(String(64), primary_key=True)  # "": the original
    release: Mapped[str] = mapped_column(String(64), primary_key=True)  # Tidegate's, whose replica is in it
    platform: Mapped[str] = mapped_column(String(64), primary_key=True)  # linux/amd64
    digest: Mapped[str] = mapped_column(String(64))  # of the version's files
    reference: Mapped[str] = mapped_column(String(512))  # NAME@sha256:…, which no later push changes
    pushed_at: Mapped[float]
