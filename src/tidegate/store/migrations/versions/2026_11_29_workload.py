"""What people ask of the autoscaler, beside an endpoint's number of replicas, and what its decisions are enough for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_workload"
down_revision = "2026_11_29_withdrawn"


def upgrade() -> None:
    """Nobody asked for it yet: the number of replicas is fixed."""
    op.add_column("endpoints", sa.Column("scaling", sa.JSON(), nullable=True))
    op.add_column("automated_replicas", sa.Column("share", sa.Double(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("automated_replicas", "share")
    op.drop_column("endpoints", "scaling")
