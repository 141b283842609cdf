"""Aliases of the registry that are kept in step with promotions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zzz_1_aliases"
down_revision = "2026_11_29_zzz_0_coverage"


def upgrade() -> None:
    """No alias is kept before the next promotion."""
    op.create_table(
        "kept_aliases",
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("alias", sa.String(255), nullable=False),
        sa.Column("endpoint", sa.String(63), nullable=False),
        sa.Column("version", sa.String(20), nullable=False),
        sa.Column("written", sa.String(20), nullable=False),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.Column("insists", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=False),
        sa.Column("trouble", sa.String(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("model", "alias"),
    )
    op.create_index("ix_kept_aliases_pending", "kept_aliases", ["pending"])


def downgrade() -> None:
    """Forget them; the registry has its own."""
    op.drop_table("kept_aliases")
