"""Paths of the REST API, as the sub-clients build them."""

from __future__ import annotations

from urllib.parse import quote

API = "/api/v1"


def part(value: str | int) -> str:
    """A name, a number or `@alias` as one part of a path."""
    return quote(str(value), safe="@")
