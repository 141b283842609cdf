"""What values and names are called in messages to clients."""

from __future__ import annotations

from typing import Any

_TYPE_NAMES = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a record"}


def type_name(value: Any) -> str:
    """What a value is, in a client's words."""
    return "null" if value is None else _TYPE_NAMES.get(type(value), type(value).__name__)


def listing(names: list[str], names_max: int = 6) -> str:
    """The first names, quoted, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:names_max])
    return shown + (f" and {len(names) - names_max} more" if len(names) > names_max else "")
