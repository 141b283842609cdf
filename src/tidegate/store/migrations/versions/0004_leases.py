"""Who leads: a lease with a fencing token; and whose sockets a routing snapshot names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table, and note the host of the snapshot: none is known of one that is there."""
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("acquired_at", sa.Double(), nullable=False),
        sa.Column("renewed_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("files_dir", sa.String(), nullable=False),
        sa.Column("files_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.add_column("snapshots", sa.Column("host", sa.String(length=255), nullable=False, server_default=""))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("snapshots", "host")
    op.drop_table("leases")
