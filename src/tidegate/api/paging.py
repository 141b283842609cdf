"""How lists are read page by page: `limit` rows, and the `cursor` that the page before named as its `next`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from tidegate.services.reading.pages import PAGE_ROWS_MAX

ROWS = 100

Limit = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX, description="How many of them at most")]
Cursor = Annotated[str | None, Query(max_length=128, description="`next` of the page before")]
