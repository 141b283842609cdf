"""Who asked for a job to be cancelled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_withdrawn"
down_revision = "2026_11_29_stamps"


def upgrade() -> None:
    """Nobody has, of the jobs there are."""
    op.add_column("jobs", sa.Column("cancelled_by", sa.String(length=255), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("jobs", "cancelled_by")
