"""Ramps of experiments and canaries: how much of each variant's range of units takes part, and what the others get."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zzz_0_coverage"
down_revision = "2026_11_29_zz_enough"


def upgrade() -> None:
    """Everybody takes part in what runs, in no numbered phase."""
    op.add_column("automated_weights", sa.Column("coverage", sa.Double(), nullable=False, server_default="1"))
    op.add_column("automated_weights", sa.Column("uncovered", sa.String(63), nullable=False, server_default=""))
    op.add_column("automated_weights", sa.Column("phase", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    for name in ("phase", "uncovered", "coverage"):
        op.drop_column("automated_weights", name)
