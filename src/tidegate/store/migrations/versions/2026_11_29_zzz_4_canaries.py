"""Canaries, and guards that watch a version that was deployed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zzz_4_canaries"
down_revision = "2026_11_29_zzz_3_experiments"


def upgrade() -> None:
    """None yet: what was deployed before is not watched."""
    op.create_table(
        "canaries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("endpoint_uid", sa.String(length=32), nullable=False),
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("baseline", sa.String(length=20), nullable=False),
        sa.Column("stable", sa.JSON(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("every_s", sa.Double(), nullable=False),
        sa.Column("guardrails", sa.JSON(), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("begun_by", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("step_set_at", sa.Double(), nullable=False),
        sa.Column("routed_at", sa.Double(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("next", sa.String(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=True),
        sa.Column("views", sa.JSON(), nullable=False),
        sa.Column("past", sa.JSON(), nullable=False),
        sa.Column("requests", sa.JSON(), nullable=False),
        sa.Column("looked_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canaries")),
    )
    op.create_index(op.f("ix_canaries_state"), "canaries", ["state"])
    op.create_index("ix_canaries_of_endpoint", "canaries", ["endpoint_uid", "id"])


def downgrade() -> None:
    """Forget them."""
    op.drop_table("canaries")
