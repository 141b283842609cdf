"""Bytes that clients hand in: streamed to DATA/uploads under a bound, kept until used or expired."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from tidegate.clock import Clock
from tidegate.errors import DiskFull, InvalidArgument, TooLarge, UnknownUpload
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.follows import gate_uploads
from tidegate.store.jobs import jobs as job_rows
from tidegate.store.jobs import uploads as rows
from tidegate.store.tables import JobRow, UploadRow
from tidegate.wire import rest

UPLOAD_KEPT_S = 3600.0
_PART = ".part"
_T = TypeVar("_T")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class UploadSink:
    """One upload on its way in; call `finish` or `abort`, on any thread, one call at a time."""

    def __init__(self, final: Path, size_bytes_max: int, record: Callable[[str, int, str], rest.Upload]) -> None:
        self._final, self._part = final, final.with_name(final.name + _PART)
        self._size_bytes_max, self._record = size_bytes_max, record
        self._file: BinaryIO = _disk(lambda: self._part.open("xb"))
        self._hash, self._size_bytes = hashlib.sha256(), 0

    def write(self, chunk: bytes) -> None:
        """Raises `TooLarge` past the bound and `DiskFull`; the caller aborts then."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._size_bytes_max:
            raise TooLarge(
                f"the upload is larger than {self._size_bytes_max} bytes: raise TIDEGATE_UPLOAD_BYTES_MAX to take it"
            )
        _disk(lambda: self._file.write(chunk))
        self._hash.update(chunk)

    def finish(self) -> rest.Upload:
        """Make it durable, then known. Raises `InvalidArgument` for no bytes at all, and `DiskFull`."""
        if not self._size_bytes:
            raise InvalidArgument("the upload is empty: send the file's bytes as the request body", field="body")
        _disk(self._flush)
        self._part.replace(self._final)
        return self._record(self._final.name, self._size_bytes, self._hash.hexdigest())

    def abort(self) -> None:
        """Remove the unfinished upload."""
        self._file.close()
        self._part.unlink(missing_ok=True)
        self._final.unlink(missing_ok=True)

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


@dataclass(frozen=True)
class Uploads:
    """The use cases, on one directory of files."""

    store: Store
    directory: Path
    size_bytes_max: int
    clock: Clock

    def begin(self, size_bytes: int | None) -> UploadSink:
        """Start an upload; `size_bytes` is what the client announced, if it did. Raises `TooLarge`, `DiskFull`."""
        if size_bytes is not None and size_bytes > self.size_bytes_max:
            raise TooLarge(
                f"the upload has {size_bytes} bytes and this server takes {self.size_bytes_max}: "
                "raise TIDEGATE_UPLOAD_BYTES_MAX to take it"
            )
        _disk(lambda: self.directory.mkdir(mode=0o700, parents=True, exist_ok=True))
        return UploadSink(self.directory / secrets.token_hex(16), self.size_bytes_max, self._record)

    def path(self, upload_id: str) -> Path:
        """Where an upload's bytes lie. Raises `UnknownUpload`."""
        with self.store.reading() as tx:
            row = rows.get_upload(tx, upload_id)
        path = None if row is None else self.directory / row.id
        if path is None or not path.is_file():
            raise UnknownUpload(f"no upload has the id {upload_id!r}, or it expired: upload the file again")
        return path

    def sweep(self) -> None:
        """Remove what expired, unless a job or a followed alias still needs it, and files that no row speaks of."""
        with self.store.transaction() as tx:
            needed = {upload for job in job_rows.unfinished(tx) for upload in uploads_of(job)} | gate_uploads(tx)
            gone = [row for row in rows.expired(tx, self.clock()) if row.id not in needed]
            for row in gone:
                tx.delete(row)
            tx.flush()
            kept = {row.id for row in rows.uploads(tx)}
        for row in gone:
            (self.directory / row.id).unlink(missing_ok=True)
        self._remove_strays(kept)

    def release(self, job: JobRow) -> None:
        """Forget the uploads of a job that ended, but those that another job or a followed alias needs."""
        with self.store.transaction() as tx:
            others = [other for other in job_rows.unfinished(tx) if other.id != job.id]
            needed = {upload for other in others for upload in uploads_of(other)} | gate_uploads(tx)
            gone = [upload for upload in uploads_of(job) if upload not in needed]
            for upload in gone:
                if row := rows.get_upload(tx, upload):
                    tx.delete(row)
        for upload in gone:
            (self.directory / upload).unlink(missing_ok=True)

    def _record(self, upload_id: str, size_bytes: int, sha256: str) -> rest.Upload:
        now = self.clock()
        expires_at = now + UPLOAD_KEPT_S
        with self.store.transaction() as tx:
            tx.add(UploadRow(id=upload_id, size_bytes=size_bytes, sha256=sha256, created_at=now, expires_at=expires_at))
        return rest.Upload(upload_id, size_bytes, sha256, expires_at)

    def _remove_strays(self, kept: set[str]) -> None:
        """Files without a row that are older than any upload may last: a younger one may be on its way in."""
        if not self.directory.is_dir():
            return
        oldest = self.clock() - UPLOAD_KEPT_S
        for path in self.directory.iterdir():
            if path.name not in kept and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)


def uploads_of(job: JobRow) -> list[str]:
    """The uploads that a job's payload names."""
    request = job.payload.get("request", {})
    named = [request.get(name) for name in ("upload", "code_upload", "baseline_upload")]
    named.append(request.get("gate", {}).get("validation_upload"))
    return [upload for upload in named if upload]


def _disk(act: Callable[[], _T]) -> _T:
    try:
        return act()
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull from error
        raise
