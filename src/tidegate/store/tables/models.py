"""The tables of models and of their versions, written by services."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import SIZE, Base, Stamped


class ModelRow(Base):
    """A model's name and what is trusted of it."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    description: Mapped[str] = mapped_column(default="")
    pickle_trusted: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[float]


class VersionRow(Stamped, Base):
    """One version taken in; the registry (MLflow) gave it its number."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("model", "version"),
        UniqueConstraint("model", "digest"),
        UniqueConstraint("model", "label"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"), index=True)
    version: Mapped[str] = mapped_column(String(20))
    label: Mapped[str | None] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64), index=True)
    framework: Mapped[str] = mapped_column(String(32))
    signature: Mapped[dict[str, Any]]  # wire.signature.Signature
    example: Mapped[Any] = mapped_column(JSON)
    batchable: Mapped[bool] = mapped_column(default=False)
    pickle_granted: Mapped[bool] = mapped_column(default=False)
    validation: Mapped[dict[str, Any]]  # {"metric", "score", "min_score", "rows", "load_s", ...}
    acceleration: Mapped[dict[str, Any]]  # {"kept", "reason", "tried": [...], ...}
    tags: Mapped[dict[str, str]]
    run_id: Mapped[str | None] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(default="")
    size_bytes: Mapped[int] = mapped_column(SIZE)
    created_at: Mapped[float]
