"""Baselines, how endpoints are monitored, and what monitors found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_y_monitoring"
down_revision = "2026_11_29_workload"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """None yet: an endpoint without a row is monitored as by default."""
    op.create_table(
        "baselines",
        sa.Column("model", sa.String(length=63), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("file", sa.String(length=64), nullable=False),
        sa.Column("view", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", name=op.f("pk_baselines")),
    )
    op.create_table(
        "monitors",
        sa.Column("endpoint_uid", sa.String(length=32), nullable=False),
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("evaluated_at", sa.Double(), nullable=True),
        sa.Column("trouble", sa.String(), nullable=False, server_default=""),
        sa.Column("summary", sa.JSON(), nullable=False, server_default="{}"),
        sa.PrimaryKeyConstraint("endpoint_uid", name=op.f("pk_monitors")),
    )
    op.create_index(op.f("ix_monitors_endpoint"), "monitors", ["endpoint"])
    op.create_table(
        "monitor_blocks",
        sa.Column("endpoint_uid", sa.String(length=32), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("judged_at", sa.Double(), nullable=False),
        sa.Column("counted_to", sa.Double(), nullable=True),
        sa.Column("gathered", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("endpoint_uid", "version", "kind", name=op.f("pk_monitor_blocks")),
    )
    op.create_table(
        "monitor_results",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("endpoint_uid", sa.String(length=32), nullable=False),
        sa.Column("monitor", sa.String(length=32), nullable=False),
        sa.Column("feature", sa.String(length=255), nullable=True),
        sa.Column("evaluated_at", sa.Double(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_monitor_results")),
    )
    op.create_index(op.f("ix_monitor_results_evaluated_at"), "monitor_results", ["evaluated_at"])
    op.create_index("ix_monitor_results_of_endpoint", "monitor_results", ["endpoint_uid", "monitor", "id"])


def downgrade() -> None:
    """Drop them."""
    for table in ("monitor_results", "monitor_blocks", "monitors", "baselines"):
        op.drop_table(table)
