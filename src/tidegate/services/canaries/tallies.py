"""Counts of requests, as sums over the parts of a step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CanaryTally:
    """Requests, and in how many of them something happened."""

    found: int = 0
    requests: int = 0
