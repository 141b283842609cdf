"""The tag of an endpoint (HTTP's ETag and If-Match), which the API makes and its client sends back."""

from __future__ import annotations

from typing import Protocol


class Tagged(Protocol):
    """An endpoint, as a row or as the API shows it."""

    @property
    def created_at(self) -> float: ...
    @property
    def revision(self) -> int: ...


def tag_of(endpoint: Tagged) -> str:
    """As it stands in a header, with its quotes."""
    return f'"{endpoint.created_at * 1000:.0f}-{endpoint.revision}"'
