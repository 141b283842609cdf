"""Which revision of an endpoint asked last for each of its versions: what lifts a quarantine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_28_retries"
down_revision = "0007"


def upgrade() -> None:
    """Add the column: nobody has asked again yet for what was given up."""
    op.add_column("endpoints", sa.Column("retries", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("endpoints", "retries")
