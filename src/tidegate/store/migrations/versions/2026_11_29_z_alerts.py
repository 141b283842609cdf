"""Alerts, what is to be sent of them, silences, rules and notifiers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_z_alerts"
down_revision = "2026_11_29_y_monitoring"


def upgrade() -> None:
    """Make the tables: there was nothing of the kind."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("fingerprint", sa.String(length=16), nullable=False),
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("condition", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Double()) for name in ("fired_at", "ok_since", "unknown_since", "ended_at")),
        sa.Column("ended_because", sa.String(), nullable=False),
        sa.Column("quiet_because", sa.String(), nullable=False),
        sa.Column("acknowledged_by", sa.String(length=255), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.Column("acted", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
    )
    op.create_index("ix_alerts_endpoint_condition", "alerts", ["endpoint", "condition"])
    op.create_index(op.f("ix_alerts_fingerprint"), "alerts", ["fingerprint"])
    op.create_index(op.f("ix_alerts_since"), "alerts", ["since"])
    op.create_table(
        "alert_outbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("alerts", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("done_at", sa.Double()),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alert_outbox"),
    )
    op.create_index("ix_alert_outbox_state_target", "alert_outbox", ["state", "target", "id"])
    op.create_index(op.f("ix_alert_outbox_endpoint"), "alert_outbox", ["endpoint"])
    op.create_table(
        "silences",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("matchers", sa.JSON(), nullable=False),
        sa.Column("starts_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_silences"),
    )
    op.create_index(op.f("ix_silences_ends_at"), "silences", ["ends_at"])
    op.create_table(
        "alert_rules",
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint"], ["endpoints.name"], name=op.f("fk_alert_rules_endpoint_endpoints"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("endpoint", name="pk_alert_rules"),
    )
    op.create_table(
        "notifiers",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("severity_min", sa.String(length=16), nullable=False),
        sa.Column("resolved", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_notifiers"),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("notifiers", "alert_rules", "silences", "alert_outbox", "alerts"):
        op.drop_table(table)
