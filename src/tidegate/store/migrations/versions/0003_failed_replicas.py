"""Replicas that failed are remembered for a while, so that their last words can be read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "failed_replicas",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("replica", sa.String(length=32), nullable=False),
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("backend", sa.String(length=32), nullable=False),
        sa.Column("handle", sa.JSON(), nullable=False),
        sa.Column("log", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_failed_replicas"),
    )
    op.create_index("ix_failed_replicas_endpoint", "failed_replicas", ["endpoint"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("failed_replicas")
