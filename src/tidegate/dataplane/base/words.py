"""What values and names are called in messages to clients."""

from __future__ import annotations

from typing import Any

_TYPE_NAMES = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a record"}


NAMES_SHOWN = 6


def type_name(value: Any) -> str:
    """What a value is, in a client's words."""
    return "null" if value is None else _TYPE_NAMES.get(type(value), type(value).__name__)


def listing(names: list[str], count: int | None = None) -> str:
    """The first names, quoted, and how many more there are, of all or of `count`."""
    shown, more = ", ".join(map(repr, names[:NAMES_SHOWN])), (count or len(names)) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
