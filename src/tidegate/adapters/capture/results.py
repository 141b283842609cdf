"""What monitors found, kept as Parquet beside captured rows. Implements `core.captured.ResultFiles`."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.capture.files import Files
from tidegate.capture.location import Location
from tidegate.wire.monitoring.monitoring import MonitorResult


class ResultParquet:
    """In one place of captured rows, which is opened once. pyarrow is imported with the first results."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._opened: Files | None = None

    def newest_hour(self, endpoint: str, uid: str) -> float | None:
        """See the port."""
        from tidegate.capture.results import newest_hour

        return newest_hour(self._files(), endpoint, uid)

    def write(self, endpoint: str, uid: str, hour_s: float, results: Sequence[MonitorResult]) -> None:
        """See the port."""
        from tidegate.capture.results import write_results

        write_results(self._files(), endpoint, uid, hour_s, results)

    def delete_before(self, before_s: float) -> int:
        """See the port."""
        from tidegate.capture.results import delete_before

        return delete_before(self._files(), before_s)

    def _files(self) -> Files:
        if self._opened is None:
            self._opened = self._location.files()
        return self._opened
