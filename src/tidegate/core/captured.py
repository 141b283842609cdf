"""The ports to what gateways captured: rows as plain columns, and SQL over them. `adapters.capture` implements them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from tidegate.wire.capture.capture import CaptureSelection, ForgetRequest
from tidegate.wire.experiments.units import UnitQuery, UnitRows
from tidegate.wire.monitoring.monitoring import MonitorResult

CapturedTable = Literal["predictions", "shadow_predictions", "failures", "shadow_failures"]
Array = np.ndarray[Any, Any]
Columns = dict[str, Array]
"""Captured rows by column: numbers (NaN where missing), times as seconds since the epoch, else objects (None)."""


class CapturedRows(Protocol):
    """What gateways recorded of an endpoint's requests, each row exactly once."""

    def rows(
        self,
        table: CapturedTable,
        endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> Columns:
        """Rows with `since_s` <= at < `until_s`, all columns or those asked for, of all versions or of one.

        Names are those of the tables. A column that no row has is there, with None; where a row has several values they
        are an array. Raises `CaptureUnreadable` where the store cannot be read.
        """

    def labelled(
        self,
        endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> Columns:
        """Predictions with `label` (JSON text; None where none has come) and `labelled_at` (NaN without)."""


class ResultFiles(Protocol):
    """What monitors found, kept beside captured rows: for each endpoint (its name and uid) one file an hour.

    Everything raises `OSError` where they cannot be kept, with a sentence in `strerror`.
    """

    def newest_hour(self, endpoint: str, uid: str) -> float | None:
        """When the last hour begins that has a file, in seconds since the epoch; None without any."""

    def write(self, endpoint: str, uid: str, hour_s: float, results: Sequence[MonitorResult]) -> None:
        """Put all results of the hour that begins then in the place of what its file had."""

    def delete_before(self, before_s: float) -> int:
        """Delete hours that ended by then; how many files that were."""


class CapturedUnits(Protocol):
    """What gateways recorded of the units of an experiment."""

    def units(self, query: UnitQuery) -> UnitRows:
        """Units with their arm and the values of their metrics. Raises `CaptureUnreadable`."""


@dataclass(frozen=True)
class ShadowPairs:
    """Rows that a live version and a shadow answered both, oldest first: one place of each array is one row.

    `live` and `shadow` have outputs by name; where a row has several values it is a row of a matrix, and an output that
    is no table of numbers or texts is left out. `first`: whether the row is its request's first, which latency goes by.
    `labels` are JSON texts (None where none has come), `units` the keys, or ids of requests without one.
    """

    at: Array
    units: Array
    first: Array
    live_ms: Array
    shadow_ms: Array
    labels: Array
    live: Columns
    shadow: Columns


class CapturedPairs(Protocol):
    """Rows of a shadow beside the live ones of the same requests."""

    def for_look(self, endpoint: str, since_s: float, outputs: Sequence[str]) -> CapturedPairs:
        """The same for one look from then on, with these outputs: what is not compacted yet is decoded once for all
        that is asked. Used by one thread, and dropped after the look. Raises `CaptureUnreadable`.
        """

    def shadow_rows(self, endpoint: str, version: str, since_s: float, until_s: float) -> int:
        """How many rows it answered. Raises `CaptureUnreadable`."""

    def shadow_pairs(
        self, endpoint: str, version: str, since_s: float, until_s: float, outputs: Sequence[str]
    ) -> ShadowPairs:
        """Those of this time, with these outputs. Raises `CaptureUnreadable`."""

    def shadow_failures(self, endpoint: str, version: str, since_s: float, until_s: float) -> dict[str, int]:
        """Copies that were not answered, by reason. Raises `CaptureUnreadable`."""


class CaptureQueries(Protocol):
    """SQL over captured rows, away from the control plane's memory and time."""

    def endpoints(self) -> list[str]:
        """Those of which something was captured and compacted."""

    def run(self, selection: CaptureSelection) -> bytes:
        """`wire.capture.capture.CaptureAnswer` as JSON, or an Arrow stream.

        Raises `QueryRefused`, `QueryTooLarge`, `Overloaded`, `CaptureUnreadable`.
        """


class CaptureForgetting(Protocol):
    """Where requests to forget a unit are left, for whoever writes captured rows."""

    def has_rows_of(self, endpoint: str) -> bool:
        """Whether something was captured of this endpoint and compacted, also where it is deleted by now."""

    def ask(self, request: ForgetRequest) -> None:
        """Raises `CaptureUnreadable` where it cannot be left."""
