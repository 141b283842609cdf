"""Images that were pushed, by which engines elsewhere start replicas."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_29_zzz_7_pushed_images"
down_revision = "2026_11_29_zzz_6_requests"


def upgrade() -> None:
    """None yet: what was pushed before is pushed again where an engine needs it."""
    op.create_table(
        "pushed_images",
        sa.Column("model", sa.String(length=63), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("tag", sa.String(length=400), nullable=False),
        sa.Column("form", sa.String(length=64), nullable=False),
        sa.Column("release", sa.String(length=64), nullable=False),
        sa.Column("platform", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.String(length=512), nullable=False),
        sa.Column("pushed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            "model", "version", "tag", "form", "release", "platform", name=op.f("pk_pushed_images")
        ),
    )


def downgrade() -> None:
    """Forget them; what registries have stays there."""
    op.drop_table("pushed_images")
