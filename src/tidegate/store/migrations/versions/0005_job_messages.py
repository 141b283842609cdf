"""When a waiting job's worker was nudged last, and whether a job that was given up is told to the dead-letter queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0008"  # which came first


def upgrade() -> None:
    """Nobody was nudged yet, and no letter is due."""
    op.add_column("jobs", sa.Column("nudged_at", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("dead_letter", sa.String(length=8), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("jobs", "dead_letter")
    op.drop_column("jobs", "nudged_at")
