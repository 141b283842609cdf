"""Which versions slept and have had no replica ready since: requests for them wait, whatever is asked for by now."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_z_waking"
down_revision = "2026_11_29_z_alerts"


def upgrade() -> None:
    """None of them: one that sleeps is found to at the next look."""
    op.add_column("variants", sa.Column("waking", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("variants", "waking")
