"""The tables of experiments and of what automations came to. Rows have the uid of their endpoint, not only its name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import Base

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


class ExperimentRow(Base):
    """An experiment: what people want of it (services/experiments), and how it goes (loops/experiment).

    `turn` grows with each change of its state, so that a look that began before one is dropped.
    """

    __tablename__ = "experiments"
    __table_args__ = (UniqueConstraint("endpoint_uid", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    endpoint_uid: Mapped[str] = mapped_column(String(32), index=True)
    endpoint: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(63))
    # what was asked for, for good
    salt: Mapped[str] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]]  # wire.experiments.ExperimentSpec
    created_at: Mapped[float]
    created_by: Mapped[str] = mapped_column(String(255))
    expected_days: Mapped[float | None]
    warnings: Mapped[list[str]] = mapped_column(default=list)  # of its creation
    # its state
    state: Mapped[str] = mapped_column(String(16))  # core.experiments.states.Stored
    turn: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    ended_by: Mapped[str] = mapped_column(String(255), default="")
    revision: Mapped[int] = mapped_column(default=0)  # of people's spec when it began
    stable: Mapped[dict[str, float]] = mapped_column(default=dict)  # traffic that it returns to
    phases: Mapped[list[Any]] = mapped_column(JSON, default=list)  # wire.experiments.PhaseView, each
    step: Mapped[int] = mapped_column(default=0)  # of the ramp
    held: Mapped[str] = mapped_column(default="")  # why it is held; "" it is not
    # how long it has run, by looks: a clock that is set moves neither a step nor its end
    ran_s: Mapped[float] = mapped_column(default=0.0)
    step_ran_s: Mapped[float] = mapped_column(default=0.0)
    counted_at: Mapped[float | None]
    # what the newest look found
    looked_at: Mapped[float | None]
    exposed: Mapped[int] = mapped_column(default=0)  # units seen so far
    exposed_at_s: Mapped[float] = mapped_column(default=0.0)  # `ran_s` when their number last grew
    decision: Mapped[str] = mapped_column(String(20), default="insufficient_data")
    reason: Mapped[str] = mapped_column(default="")
    next: Mapped[str] = mapped_column(default="")
    days_left: Mapped[float | None]
    winner: Mapped[str] = mapped_column(String(63), default="")  # the variant that a promotion gives all traffic
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # services.experiments.evidence
    trouble: Mapped[str] = mapped_column(default="")  # why nothing could be found lately


class ExperimentLookRow(Base):
    """What a look found (written by loops/experiment); of many, those that are old are thinned out."""

    __tablename__ = "experiment_looks"
    __table_args__ = (Index("ix_experiment_looks_of", "experiment", "id"),)

    id: Mapped[int] = mapped_column(_NUMBER, primary_key=True)
    experiment: Mapped[int]
    at: Mapped[float]
    body: Mapped[dict[str, Any]]  # wire.experiments.LookView


class RolloutRow(Base):
    """How many automations of a kind ended how, of an endpoint: a counter that outlives restarts."""

    __tablename__ = "rollouts"

    endpoint_uid: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)  # experiment, canary, guard
    outcome: Mapped[str] = mapped_column(String(16), primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(63))
    number: Mapped[int] = mapped_column(default=0)


class GuardrailFigureRow(Base):
    """What a guardrail of a running automation came to at its newest look; gone with the automation's end."""

    __tablename__ = "guardrail_figures"

    endpoint_uid: Mapped[str] = mapped_column(String(32), primary_key=True)
    variant: Mapped[str] = mapped_column(String(63), primary_key=True)
    guardrail: Mapped[str] = mapped_column(String(160), primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(63))
    value: Mapped[float | None]
    bound: Mapped[float | None]
    margin: Mapped[float]
