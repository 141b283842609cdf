"""Files through which a test and a running model meet: a confined model sees none of the folders that tests work in."""

from __future__ import annotations

import hashlib
from pathlib import Path

OPEN_FOLDER = Path("/tmp")


def met_at(path: Path) -> Path:
    """The file of the open temporary directory that stands for this one. Whoever makes it removes it."""
    return OPEN_FOLDER / f"tidegate-test-{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
