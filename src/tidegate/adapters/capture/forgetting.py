"""Leaves requests to forget a unit for the compactor. Implements `core.captured.CaptureForgetting`."""

from __future__ import annotations

from pathlib import Path

from tidegate.adapters.capture.queries import stored_endpoints
from tidegate.capture.location import Location
from tidegate.errors import CaptureUnreadable
from tidegate.wire.capture.capture import ForgetRequest, ask_to_forget


class ForgetFiles:
    """Of the store in one data directory."""

    def __init__(self, data_dir: Path, location: Location | None = None) -> None:
        self._store = data_dir / "capture"
        self._location = location or Location(self._store)

    def has_rows_of(self, endpoint: str) -> bool:
        """See the port."""
        return endpoint in stored_endpoints(self._location)

    def ask(self, request: ForgetRequest) -> None:
        """See the port."""
        try:
            ask_to_forget(self._store, request)
        except OSError as error:
            raise CaptureUnreadable(
                f"the request cannot be left in {self._store}: {error.strerror or error}"
            ) from error
