"""Experiments, what their looks found, and how automations ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zzz_3_experiments"
down_revision = "2026_11_29_zzz_2_shadow"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """None yet."""
    op.create_table(
        "experiments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("endpoint_uid", sa.String(length=32), nullable=False),
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("expected_days", sa.Double(), nullable=True),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("ended_by", sa.String(length=255), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("stable", sa.JSON(), nullable=False),
        sa.Column("phases", sa.JSON(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("held", sa.String(), nullable=False),
        sa.Column("ran_s", sa.Double(), nullable=False),
        sa.Column("step_ran_s", sa.Double(), nullable=False),
        sa.Column("counted_at", sa.Double(), nullable=True),
        sa.Column("looked_at", sa.Double(), nullable=True),
        sa.Column("exposed", sa.Integer(), nullable=False),
        sa.Column("exposed_at_s", sa.Double(), nullable=False),
        sa.Column("decision", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("next", sa.String(), nullable=False),
        sa.Column("days_left", sa.Double(), nullable=True),
        sa.Column("winner", sa.String(length=63), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=True),
        sa.Column("trouble", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("endpoint_uid", "name", name=op.f("uq_experiments_endpoint_uid_name")),
    )
    op.create_index(op.f("ix_experiments_endpoint_uid"), "experiments", ["endpoint_uid"])
    op.create_table(
        "experiment_looks",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("experiment", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment_looks")),
    )
    op.create_index("ix_experiment_looks_of", "experiment_looks", ["experiment", "id"])
    op.create_table(
        "rollouts",
        sa.Column("endpoint_uid", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_uid", "kind", "outcome", name=op.f("pk_rollouts")),
    )
    op.create_table(
        "guardrail_figures",
        sa.Column("endpoint_uid", sa.String(length=32), nullable=False),
        sa.Column("variant", sa.String(length=63), nullable=False),
        sa.Column("guardrail", sa.String(length=160), nullable=False),
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("bound", sa.Double(), nullable=True),
        sa.Column("margin", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_uid", "variant", "guardrail", name=op.f("pk_guardrail_figures")),
    )


def downgrade() -> None:
    """Forget them: endpoints keep the traffic that people asked for."""
    op.drop_table("guardrail_figures")
    op.drop_table("rollouts")
    op.drop_table("experiment_looks")
    op.drop_table("experiments")
