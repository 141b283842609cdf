"""Lists as the API gives them, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from tidegate.client.rest.api import Api

T = TypeVar("T")

ROWS_AT_ONCE = 1000


class Page(NamedTuple, Generic[T]):
    """Some rows, and the cursor of the page after them, None after the last."""

    rows: list[T]
    next: str | None


def page_of(api: Api, path: str, shape: Any, name: str, params: dict[str, Any]) -> Page[Any]:
    """One page of the list that the answer of this shape has under `name`."""
    answer = api.get(path, shape, params)
    return Page(answer[name], answer.get("next"))


def every(read: Callable[[int, str | None], Page[T]]) -> list[T]:
    """All rows, page by page; `read` is given how many at most, and the cursor."""
    found, cursor = read(ROWS_AT_ONCE, None)
    while cursor is not None:
        more, cursor = read(ROWS_AT_ONCE, cursor)
        found += more
    return found
