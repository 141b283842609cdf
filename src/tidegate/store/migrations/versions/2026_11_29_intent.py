"""People's intent and automation apart: what automations set, and a history that outlives its endpoint."""

from __future__ import annotations

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_intent"
down_revision = "2026_11_28_retries"

_OF_A_KEY = {"fk_history_endpoint_endpoints": "foreignkey", "uq_history_endpoint_revision": "unique"}


def upgrade() -> None:
    """So far every change was people's: what the loop has seen and tried goes on counting from its revision."""
    _endpoints()
    _history()
    op.alter_column("variants", "quarantined_revision", new_column_name="quarantined_generation")
    op.create_table(
        "automated_weights",
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("shares", sa.JSON(), nullable=False),
        sa.Column("stable", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["endpoint"], ["endpoints.name"], name=op.f("fk_automated_weights_endpoint_endpoints")),
        sa.PrimaryKeyConstraint("endpoint", name=op.f("pk_automated_weights")),
    )
    op.create_table(
        "automated_replicas",
        sa.Column("endpoint", sa.String(length=63), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("replicas", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(
            ["endpoint"], ["endpoints.name"], name=op.f("fk_automated_replicas_endpoint_endpoints")
        ),
        sa.PrimaryKeyConstraint("endpoint", "version", name=op.f("pk_automated_replicas")),
    )


def _endpoints() -> None:
    op.alter_column("endpoints", "observed_revision", new_column_name="observed_generation")
    op.add_column("endpoints", sa.Column("routed_split", sa.JSON(), nullable=False, server_default="{}"))
    for name in ("traffic_revision", "replicas_revision", "generation"):
        op.add_column("endpoints", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("endpoints", sa.Column("uid", sa.String(length=32), nullable=False, server_default=""))
    op.execute("UPDATE endpoints SET generation = revision")
    connection = op.get_bind()
    endpoints = sa.table("endpoints", sa.column("name"), sa.column("uid"))
    for name in connection.scalars(sa.select(endpoints.c.name)).all():
        connection.execute(endpoints.update().where(endpoints.c.name == name).values(uid=uuid4().hex))
    # An index and no constraint: SQLite would have to make the table anew, and other tables refer to it.
    op.create_index(op.f("ix_endpoints_uid"), "endpoints", ["uid"], unique=True)


def _history() -> None:
    op.add_column("history", sa.Column("endpoint_uid", sa.String(length=32), nullable=True))
    op.add_column("history", sa.Column("generation", sa.Integer(), nullable=True))
    op.add_column("history", sa.Column("automated", sa.Boolean(), nullable=True))
    op.execute(
        "UPDATE history SET generation = revision, automated = (action IN ('repair', 'refused')), "
        "endpoint_uid = (SELECT uid FROM endpoints WHERE endpoints.name = history.endpoint)"
    )
    with op.batch_alter_table("history") as batch:
        for name, kind in _OF_A_KEY.items():
            batch.drop_constraint(op.f(name), type_=kind)
        batch.alter_column("endpoint_uid", existing_type=sa.String(length=32), nullable=False)
        batch.alter_column("generation", existing_type=sa.Integer(), nullable=False)
        batch.alter_column("automated", existing_type=sa.Boolean(), nullable=False)
    op.create_index("ix_history_uid_automated", "history", ["endpoint_uid", "automated", "id"], unique=False)


def downgrade() -> None:
    """What automations did is forgotten, so is the history of endpoints that are gone; quarantines are lifted."""
    op.drop_table("automated_replicas")
    op.drop_table("automated_weights")
    op.alter_column("variants", "quarantined_generation", new_column_name="quarantined_revision")
    op.drop_index("ix_history_uid_automated", "history")
    op.execute(
        "DELETE FROM history WHERE automated OR NOT EXISTS "
        "(SELECT 1 FROM endpoints WHERE endpoints.name = history.endpoint AND endpoints.uid = history.endpoint_uid)"
    )
    with op.batch_alter_table("history") as batch:
        for name in ("endpoint_uid", "generation", "automated"):
            batch.drop_column(name)
        batch.create_foreign_key(op.f("fk_history_endpoint_endpoints"), "endpoints", ["endpoint"], ["name"])
        batch.create_unique_constraint(op.f("uq_history_endpoint_revision"), ["endpoint", "revision"])
    op.execute("UPDATE endpoints SET observed_generation = 0, retries = '{}'")
    op.execute("UPDATE variants SET quarantined_revision = NULL")
    op.drop_index(op.f("ix_endpoints_uid"), "endpoints")
    for name in ("uid", "generation", "replicas_revision", "traffic_revision", "routed_split"):
        op.drop_column("endpoints", name)
    op.alter_column("endpoints", "observed_generation", new_column_name="observed_revision")
