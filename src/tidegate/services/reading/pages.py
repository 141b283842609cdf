"""Pagination: how long a page of entries may be that a use case lists, newest first."""

from __future__ import annotations

from tidegate.errors import InvalidArgument

PAGE_ROWS_MAX = 1000


def check_page(limit: int) -> None:
    """Raises `InvalidArgument` for a page that is too long, or of nothing."""
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise InvalidArgument(f"limit must be from 1 to {PAGE_ROWS_MAX}, not {limit}", field="limit")
