"""A stamp in each row of the tables that the reconcile loop reads whole: whether anything of them was written since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_stamps"
down_revision = "2026_11_29_principal"

_TABLES = ("versions", "endpoints", "variants", "replicas", "automated_weights", "automated_replicas")


def upgrade() -> None:
    """Rows that are there have none until they are written next: that is told from any other stamp just as well."""
    for table in _TABLES:
        op.add_column(table, sa.Column("stamp", sa.BigInteger(), nullable=False, server_default="0"))
        op.create_index(op.f(f"ix_{table}_stamp"), table, ["stamp"])


def downgrade() -> None:
    """Drop them."""
    for table in _TABLES:
        op.drop_index(op.f(f"ix_{table}_stamp"), table)
        op.drop_column(table, "stamp")
