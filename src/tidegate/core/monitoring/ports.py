"""What monitoring asks of the outside: captured rows as plain columns, and files that keep baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

CaptureTable = Literal["predictions", "failures"]
Columns = dict[str, np.ndarray[Any, Any]]


class CapturedRows(Protocol):
    """Captured rows of an endpoint within [since, until), each exactly once, as columns of equal length by name.

    Names are those of the tables (`at` in seconds since the epoch). A column that no row has holds None, and so may one
    that some rows have not; where a row has several values they are an array.
    """

    def rows(
        self,
        table: CaptureTable,
        endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> Columns: ...

    def labelled(
        self,
        endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> Columns:
        """Predictions with `label` (JSON text; None where none has come) and `labelled_at` (NaN without)."""


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
