"""What an engine with several machines keeps free for each replica."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zzz_6_requests"
down_revision = "2026_11_29_zzz_5_platform"

SIZE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """None of them set: as the engine has it."""
    for table in ("endpoints", "replicas"):
        op.add_column(table, sa.Column("cpu_request", sa.Double(), nullable=True))
        op.add_column(table, sa.Column("memory_request_bytes", SIZE, nullable=True))


def downgrade() -> None:
    """Drop them."""
    for table in ("endpoints", "replicas"):
        op.drop_column(table, "memory_request_bytes")
        op.drop_column(table, "cpu_request")
