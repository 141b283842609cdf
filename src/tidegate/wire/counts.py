"""Counts in sentences, for whatever says why something was decided."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A count with its noun: `1 request`, `1204 requests`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
