"""Room for the ids of instances that engines elsewhere name: on Kubernetes a pod, and how often it started."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zzz_8_instance_ids"
down_revision = "2026_11_29_zzz_7_pushed_images"

_COLUMNS = (("replicas", "id"), ("failed_replicas", "replica"))


def upgrade() -> None:
    """What is there fits."""
    _resize(32, 128)


def downgrade() -> None:
    """Refused by the database where an id is longer by then: delete those endpoints first."""
    _resize(128, 32)


def _resize(before: int, after: int) -> None:
    for table, column in _COLUMNS:
        with op.batch_alter_table(table) as batch:
            batch.alter_column(
                column,
                existing_type=sa.String(length=before),
                type_=sa.String(length=after),
                existing_nullable=False,
            )
