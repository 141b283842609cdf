"""Files of rows into the capture store on this machine: what `services.endpoints.imports` asks of the outside."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.capture.location import Location
from tidegate.clock import Clock
from tidegate.errors import Conflict, DiskFull
from tidegate.wire.capture.importing import BadRow, ImportedAs, ImportRequest, ImportResult


@dataclass(frozen=True)
class CaptureImports:
    """Of one capture store. One file at a time: each holds a block of its rows in memory."""

    location: Location
    clock: Clock
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def columns(self, path: Path, request: ImportRequest) -> list[str]:
        """The names of a file's columns. Raises `InvalidArgument`."""
        from tidegate.capture.imports.files import columns_of  # pyarrow, which nothing else of the API needs

        return columns_of(path, request.format, request.filename)

    def run(self, path: Path, request: ImportRequest, blank: ImportResult, become: ImportedAs) -> ImportResult:
        """Import a file whose columns become these. Raises as `Imports.run`."""
        from tidegate.capture.imports.importing import ImportColumns, ImportTarget, import_file
        from tidegate.capture.imports.rules import ImportRules

        given = ImportColumns(
            time=request.time_column,
            id=request.id_column,
            inputs=become.inputs,
            outputs=become.outputs,
            datatypes=become.datatypes,
            label=request.label_column,
            label_time=request.label_time_column,
            key=request.key_column,
            timezone=request.timezone,
        )
        if not self._busy.acquire(blocking=False):
            raise Conflict("another file is imported just now: send this one again when that is done")
        try:
            rules = ImportRules(become.rules, become.salt)
            target = ImportTarget(blank.endpoint, blank.version, request.filename, rules)
            done = import_file(path, request.format, given, target, self.location.files(), self.clock())
        except OSError as error:
            raise DiskFull(f"the capture store cannot be written: {error.strerror or error}") from None
        finally:
            self._busy.release()
        return ImportResult(
            endpoint=blank.endpoint,
            model=blank.model,
            version=blank.version,
            rows=done.rows,
            labels=done.labels,
            refused=done.refused,
            bad=[BadRow(bad.line, bad.reason) for bad in done.bad],
            first_at=done.first_at_s,
            last_at=done.last_at_s,
            ignored=blank.ignored,
            absent=blank.absent,
        )
