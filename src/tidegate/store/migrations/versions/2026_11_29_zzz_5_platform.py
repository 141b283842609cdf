"""What engines elsewhere know a platform by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zzz_5_platform"
down_revision = "2026_11_29_zzz_4_canaries"


def upgrade() -> None:
    """Made when it is needed first."""
    op.add_column("leases", sa.Column("platform", sa.String(length=16), nullable=False, server_default=""))


def downgrade() -> None:
    """Forget it: what runs elsewhere is nobody's then."""
    op.drop_column("leases", "platform")
