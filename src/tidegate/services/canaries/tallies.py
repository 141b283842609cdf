"""How many of how many."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CanaryTally:
    """In how many of so many requests something happened."""

    found: int = 0
    requests: int = 0
