"""A file of settings such as `.env`, for the programs of a checkout (`main.py`, `scripts/init_db.py`)."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

from tidegate.settings import Settings


def take(path: Path) -> None:
    """Put the file's settings into the environment, but for those that are there; without the file, nothing.

    What else is in it (passwords of servers that Compose starts) stays out.
    """
    if not path.is_file():
        return
    known = {item.metadata["env"] for item in fields(Settings)}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name in known and value:
            os.environ.setdefault(name, value)
