"""The version that shadows an endpoint, where one does."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zzz_2_shadow"
down_revision = "2026_11_29_zzz_1_aliases"


def upgrade() -> None:
    """None does yet."""
    op.add_column("endpoints", sa.Column("shadow", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("endpoints", "shadow")
