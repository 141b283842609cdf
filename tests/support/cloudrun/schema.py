"""What the Cloud Run Admin API v2 takes: its messages by their fields, from Google's own description of them.

`run_v2.json` is made of the discovery document (its source stands in it). Fields that are not there are refused, as
Google's parser of JSON refuses them, and so are values of another type, and what is output only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MESSAGES: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("run_v2.json").read_text())["messages"]
OUTPUT_ONLY = "-"


def faults(message: str, value: Any, path: str = "") -> Iterator[str]:
    """Why this is no such message, as far as a client may write it."""
    if not isinstance(value, dict):
        yield f"{path or message}: an object is expected"
        return
    fields = MESSAGES[message]
    for name, one in value.items():
        where = f"{path}.{name}" if path else name
        if name not in fields:
            yield f"Invalid JSON payload received. Unknown name \"{name}\" at '{path or message}': Cannot find field."
        elif fields[name].startswith(OUTPUT_ONLY):
            yield f"{where} is output only"
        else:
            yield from _of_kind(fields[name], one, where)


def _of_kind(kind: str, value: Any, where: str) -> Iterator[str]:
    if kind.startswith("@"):
        yield from faults(kind[1:], value, where)
    elif kind.startswith("["):
        for number, one in enumerate(value if isinstance(value, list) else [value]):
            yield from _of_kind(kind[1:-1], one, f"{where}[{number}]")
    elif kind.startswith("{"):
        for name, one in (value if isinstance(value, dict) else {"?": None}).items():
            yield from _of_kind(kind[1:-1] or "*", one, f"{where}[{name}]")
    elif kind.startswith("enum "):
        if value not in kind.split()[1:]:
            yield f"{where}: {value!r} is none of its values"
    elif not _is(kind, value):
        yield f"{where}: {value!r} is no {kind}"


def _is(kind: str, value: Any) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) if kind == "string" else True
