"""Where the replicas of an endpoint run, and their limits of CPU and memory."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"

SIZE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns: none of them set is as it was."""
    op.add_column("endpoints", sa.Column("backend", sa.String(length=16), nullable=True))
    for table in ("endpoints", "replicas"):
        op.add_column(table, sa.Column("cpus", sa.Double(), nullable=True))
        op.add_column(table, sa.Column("memory_bytes", SIZE, nullable=True))


def downgrade() -> None:
    """Drop them."""
    for table in ("endpoints", "replicas"):
        op.drop_column(table, "memory_bytes")
        op.drop_column(table, "cpus")
    op.drop_column("endpoints", "backend")
