"""What is recorded of each endpoint's predictions, and for how long."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zz_capture"
down_revision = "2026_11_29_z_waking"


def upgrade() -> None:
    """Everything, for as long as the platform's settings say."""
    op.add_column("endpoints", sa.Column("capture", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("endpoints", "capture")
