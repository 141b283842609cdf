"""Endpoints that follow an alias of the registry, and notes in the history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"  # which came first


def upgrade() -> None:
    """Make the table and the column."""
    op.create_table(
        "follows",
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("alias", sa.String(length=255), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("trouble", sa.String(), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=True),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["endpoint"], ["endpoints.name"], name="fk_follows_endpoint_endpoints"),
        sa.PrimaryKeyConstraint("endpoint", name="pk_follows"),
    )
    op.add_column("history", sa.Column("note", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("history", "note")
    op.drop_table("follows")
