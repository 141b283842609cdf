"""How many of the replicas that the autoscaler decided on a change of traffic waits for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zz_enough"
down_revision = "2026_11_29_zz_capture"


def upgrade() -> None:
    """All of them, until it decides anew."""
    op.add_column("automated_replicas", sa.Column("enough", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("automated_replicas", "enough")
