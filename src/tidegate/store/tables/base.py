"""What all tables have in common: names of constraints, types of columns, and stamps."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import JSON, BigInteger, Integer, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SIZE = BigInteger().with_variant(Integer(), "sqlite")
"""Bytes of a file: past 32 bits on every database."""

STAMP_BITS = 40
"""So many sums fit into 64 bits, and two changes that leave the sum as it was are out of the question."""


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can speak of it on any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        dict[str, float]: JSON,
        dict[str, int]: JSON,
        list[str]: JSON,
        list[float]: JSON,
        Any: JSON,
    }


def _new_stamp() -> int:
    return secrets.randbits(STAMP_BITS)  # a forked process must not go on in step with its parent


class Stamped:
    """Rows of a table that is read whole again and again (`store.fleet.fleets`).

    Each write gives its row a stamp by chance. The number of rows and the sum of their stamps are thus others after any
    change, in whatever order transactions commit (a counter, or the time of the newest change, would not tell of one
    that began earlier and committed later), and writers do not wait for each other.
    """

    stamp: Mapped[int] = mapped_column(
        BigInteger, default=_new_stamp, onupdate=_new_stamp, server_default="0", index=True
    )
