"""Pagination: how long a page of entries may be that a use case lists, newest first."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from tidegate.errors import InvalidArgument

PAGE_ROWS_MAX = 1000


def check_page(limit: int) -> None:
    """Raises `InvalidArgument` for a page that is too long, or of nothing."""
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise InvalidArgument(f"limit must be from 1 to {PAGE_ROWS_MAX}, not {limit}", field="limit")


def rows_that_fit(sizes: Iterable[int], size_max: int) -> int:
    """How many rows of these sizes fit on a page; one at least, where there is any."""
    totals = list(accumulate(sizes))
    return max(1, sum(total <= size_max for total in totals)) if totals else 0
