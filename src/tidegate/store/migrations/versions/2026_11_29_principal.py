"""Who changed what, and who asked for each job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_principal"
down_revision = "2026_11_29_intent"


def upgrade() -> None:
    """Make the table, and the columns: of the jobs there are nobody knows who asked for them."""
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who_kind", sa.String(length=16), nullable=False),
        sa.Column("who", sa.String(length=255), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject_kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_subject", "audit", ["subject_kind", "subject", "id"])
    op.add_column("jobs", sa.Column("asked_by_kind", sa.String(length=16), nullable=False, server_default="unknown"))
    op.add_column("jobs", sa.Column("asked_by", sa.String(length=255), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("request_id", sa.String(length=128), nullable=False, server_default=""))


def downgrade() -> None:
    """Drop them."""
    for column in ("request_id", "asked_by", "asked_by_kind"):
        op.drop_column("jobs", column)
    op.drop_table("audit")
