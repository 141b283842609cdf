"""What texts in the environment stand for. Used by `settings` alone."""

from __future__ import annotations

from dataclasses import fields
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


def check_ranges(settings: Any) -> None:
    """A dataclass whose fields say what is `allowed`. Raises `InvalidArgument` for the first that is out of range."""
    for item in fields(settings):
        value, allowed = getattr(settings, item.name), item.metadata["allowed"]
        if allowed is not None and not allowed[0] <= value <= allowed[1]:  # NaN is in no range
            name = item.metadata["env"]
            raise InvalidArgument(
                f"{name}={value!r} is out of range: it must be from {allowed[0]} to {allowed[1]}", field=name
            )


def check_urls(settings: Any) -> None:
    """Form alone. The message never repeats the value: it may hold a password."""
    for item in fields(settings):
        value, schemes = getattr(settings, item.name), item.metadata.get("schemes")
        if value is None or schemes is None or is_address(value, schemes):
            continue
        name, example = item.metadata["env"], item.metadata["example"]
        beginnings = " or ".join(f"{scheme}://" for scheme in schemes)
        raise InvalidArgument(f"{name} must be {beginnings} with a host, such as {example}", field=name)
