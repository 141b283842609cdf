"""How long an endpoint's answers are kept, and how many requests a second each of its clients may send."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns: nothing is kept, and the gateways' setting is the limit."""
    op.add_column("endpoints", sa.Column("cache_ttl_s", sa.Double(), nullable=False, server_default="0"))
    op.add_column("endpoints", sa.Column("rate_limit_per_s", sa.Double(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("endpoints", "rate_limit_per_s")
    op.drop_column("endpoints", "cache_ttl_s")
