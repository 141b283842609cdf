"""What texts in the environment stand for. Used by `settings` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tidegate.errors import InvalidArgument


def parse(name: str, text: str, type_name: str) -> Any:
    """A number, a path or the text itself, as the field's type says. Raises `InvalidArgument` naming the variable."""
    try:
        if type_name == "int":
            return int(text)
        if type_name == "float":
            return float(text)
    except ValueError:
        raise InvalidArgument(f"environment variable {name}={text!r} is not a number", field=name) from None
    return Path(text).expanduser() if type_name.startswith("Path") else text


def is_address(value: str, schemes: tuple[str, ...]) -> bool:
    """Whether it has the form of a server's address with one of these schemes."""
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname or (parts.scheme == "unix" and parts.path))
