"""The table of canaries, and of guards that watch a version that was deployed. Its rows outlive what they decided."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import Base


class CanaryRow(Base):
    """A canary or a guard: begun, paused and ended by services/canaries for people, stepped by it for the loop."""

    __tablename__ = "canaries"
    __table_args__ = (Index("ix_canaries_of_endpoint", "endpoint_uid", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    endpoint_uid: Mapped[str] = mapped_column(String(32))
    endpoint: Mapped[str] = mapped_column(String(63))
    kind: Mapped[str] = mapped_column(String(8))  # wire.experiments.canary.CanaryKind
    version: Mapped[str] = mapped_column(String(20))
    baseline: Mapped[str] = mapped_column(String(20), default="")  # the version that it is compared with
    stable: Mapped[dict[str, float]]  # version number -> percent: what a rollback returns to
    steps: Mapped[list[float]]
    every_s: Mapped[float]  # of a step; of a guard, how long it watches
    guardrails: Mapped[list[str]]  # as people gave them
    salt: Mapped[str] = mapped_column(String(64), default="")
    revision: Mapped[int]  # of people's spec when it began
    started_at: Mapped[float]
    begun_by: Mapped[str] = mapped_column(String(255), default="")
    # status
    state: Mapped[str] = mapped_column(String(8), index=True)  # wire.experiments.canary.CanaryState
    step: Mapped[int] = mapped_column(default=0)
    step_set_at: Mapped[float]  # when its weights were set
    routed_at: Mapped[float | None]  # when gateways had them; None: not yet
    reason: Mapped[str] = mapped_column(default="")
    next: Mapped[str] = mapped_column(default="")
    next_at: Mapped[float | None]
    views: Mapped[Any] = mapped_column(JSON, default=list)  # wire.experiments.experiments.GuardrailView, each
    past: Mapped[Any] = mapped_column(JSON, default=list)  # wire.experiments.canary.CanaryStep, each
    requests: Mapped[dict[str, int]] = mapped_column(default=dict)  # counted so far; of a guard: before it
    looked_at: Mapped[float | None]
    ended_at: Mapped[float | None]
