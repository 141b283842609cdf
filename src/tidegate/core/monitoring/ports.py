"""What monitoring asks of the outside beside captured rows (`core.captured`): files that keep baselines."""

from __future__ import annotations

from typing import Any, Protocol

from tidegate.core.captured import Columns


class BaselineFiles(Protocol):
    """Files of baselines, each under a name of its own that is never used again. Raises `DiskFull`."""

    def write(self, name: str, document: dict[str, Any], sample: Columns) -> None: ...

    def read(self, name: str) -> dict[str, Any]:
        """The document. Raises `Conflict`, with what to do, where it cannot be read."""

    def sample(self, name: str) -> Columns:
        """The rows that are kept with it; empty where there are none."""

    def delete(self, name: str) -> None:
        """Deleting what is gone is no error."""

    def names(self, before: float) -> set[str]:
        """Of those that were written before this moment."""
