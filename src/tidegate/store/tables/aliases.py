"""The table of aliases of the registry that Tidegate keeps in step with promotions. Times: seconds since the epoch."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import Base


class KeptAliasRow(Base):
    """An alias of a model: what services want it to name, and what loops/follow made it name last.

    It refers to no table: the registry may be away when its endpoint goes.
    """

    __tablename__ = "kept_aliases"

    model: Mapped[str] = mapped_column(String(63), primary_key=True)
    alias: Mapped[str] = mapped_column(String(255), primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(63))
    version: Mapped[str] = mapped_column(String(20))  # "": the alias is to be taken away
    written: Mapped[str] = mapped_column(String(20), default="")  # "": nothing was yet
    pending: Mapped[bool] = mapped_column(default=True, index=True)
    insists: Mapped[bool] = mapped_column(default=False)  # whatever the alias names by now
    reason: Mapped[str] = mapped_column(default="")
    attempts: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[float] = mapped_column(default=0.0)
    trouble: Mapped[str] = mapped_column(default="")
    changed_at: Mapped[float]
