"""Which place captured rows are in, as the settings say. Importing it imports no pyarrow; opening S3 does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.capture.files import Files, LocalFiles

if TYPE_CHECKING:
    from tidegate.settings import Settings


@dataclass(frozen=True)
class Location:
    """Where captured rows are: in `folder`, or, with `url`, in that bucket of S3 (`s3://bucket/prefix`).

    `folder` is on this machine in either case: it has the locks and the compactor's state.
    """

    folder: Path
    url: str | None = None
    endpoint_url: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Location:
        """As the settings say."""
        return cls(settings.data_dir / "capture", settings.capture_url, settings.capture_s3_endpoint_url)

    def files(self) -> Files:
        """Opened; for S3 pyarrow is imported, and a bucket's region may be asked for. Raises `StoreUnavailable`."""
        if self.url is None:
            return LocalFiles(self.folder)
        from tidegate.capture.s3_files import S3Files

        return S3Files(self.url, self.endpoint_url)
