"""Captured rows in S3, or in what speaks its protocol: `Files` over `pyarrow.fs`, with AWS's own credential chain.

A put is one request for what is small and a multipart upload for the rest: the object is there whole or not at all. The
time of an object cannot be set, and retention and forgetting ask for it: what is written "as if then" has an empty
object beside it, under `_written/`, whose name says when. It counts for a file of the same size that is no newer.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from tidegate.capture.files import Between, CaptureFile, CaptureUnavailable

CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 3.0, 20.0
ATTEMPTS_MAX = 3
READERS = 8
"""Files are read, and folders deleted, several at a time: each waits for answers."""
WRITTEN = "_written"
_CODE = re.compile(r"AWS Error (\w+) during (\w+) operation: ?(.*?)( \(Request ID.*)?$", re.DOTALL)
_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what else AWS's credential chain takes"
_REFUSED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID")
_EXPIRED = ("REQUEST_EXPIRED", "EXPIRED_TOKEN", "REQUEST_TIME_TOO_SKEWED")
_AWAY = ("NETWORK_CONNECTION", "REQUEST_TIMEOUT")
_FAILS = ("INTERNAL_FAILURE", "SERVICE_UNAVAILABLE", "SLOW_DOWN", "THROTTLING")


class S3Files:
    """Below `url` (`s3://bucket/prefix`), on Amazon's S3 or on the server at `endpoint_url`."""

    readers = READERS

    def __init__(
        self,
        url: str,
        endpoint_url: str | None = None,
        *,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        parts, server = urlsplit(url), urlsplit(endpoint_url or "https://s3.amazonaws.com")
        self._bucket, self._host = parts.netloc, server.netloc
        self._root = "/".join([self._bucket, *filter(None, parts.path.split("/"))])
        with self._named():
            self._fs = pafs.S3FileSystem(
                region=pafs.resolve_s3_region(self._bucket) if endpoint_url is None else None,
                endpoint_override=server.netloc if endpoint_url else None,
                scheme=server.scheme,
                connect_timeout=CONNECT_TIMEOUT_S,
                request_timeout=request_timeout_s,
                retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=attempts_max),
                allow_delayed_open=True,
            )

    def check(self) -> None:
        """Raises `CaptureUnavailable` unless the bucket is there and can be listed."""
        self._found("", recursive=False)

    def below(self, folder: str = "", between: Between | None = None) -> list[CaptureFile]:
        """See `Files`."""
        first_part = folder.count("/") + 1 if folder else 0
        made = []
        for info in self._found_files(folder):
            name = info.path.removeprefix(f"{self._root}/")
            if name.startswith(f"{WRITTEN}/"):
                continue
            if between is None or between[0] <= name.split("/")[first_part] <= between[1]:
                made.append(CaptureFile(name, info.size, info.mtime_ns / 1e9, info.mtime_ns / 1e9))
        as_if = _as_if(self._found_files(_join(WRITTEN, folder)), f"{self._root}/{WRITTEN}/")
        return sorted((_dated(file, as_if) for file in made), key=lambda file: file.name)

    def where(self, name: str) -> str:
        """See `Files`."""
        return f"s3://{self._root}/{name}"

    def folders(self, folder: str) -> list[str]:
        """See `Files`."""
        found = self._found(folder, recursive=False)
        names = (info.base_name for info in found if info.type == pafs.FileType.Directory)
        return sorted(name for name in names if name != WRITTEN)

    def open(self, name: str) -> Any:
        """See `Files`."""
        with self._named():
            return self._fs.open_input_file(f"{self._root}/{name}")

    def write(self, name: str, fill: Callable[[Any], object], written_s: float | None = None) -> None:
        """See `Files`. It is made in memory first: a stream to S3 that is closed early is an object cut short."""
        sink = pa.BufferOutputStream()
        fill(sink)
        content = sink.getvalue()
        self._put(name, content)
        if written_s is not None:
            self._put(f"{WRITTEN}/{name}@{written_s:.6f}-{content.size}", b"")

    def delete(self, names: Iterable[str]) -> None:
        """See `Files`."""
        by_folder: dict[str, set[str]] = {}
        for name in names:
            by_folder.setdefault(name.rpartition("/")[0], set()).add(name)
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(lambda folder: self._delete_in(folder, by_folder[folder]), by_folder))
        for parent in {folder.rpartition("/")[0] for folder in by_folder}:
            self._remove_empty(parent)
            self._remove_empty(_join(WRITTEN, parent))

    def _delete_in(self, folder: str, gone: set[str]) -> None:
        dates = _join(WRITTEN, folder)
        for info in self._found_files(dates):
            name = info.path.removeprefix(f"{self._root}/")
            if name.removeprefix(f"{WRITTEN}/").rpartition("@")[0] in gone:
                self._delete(name)
        for name in gone:
            self._delete(name)
        self._remove_empty(folder)
        self._remove_empty(dates)

    def _remove_empty(self, folder: str) -> None:
        """Delete the empty object that stands for a folder: pyarrow puts one where it deleted a folder's last file.

        A file that another process writes between the look and the deletion would be lost. Compactors exclude each
        other; an import that writes into the same hour in these milliseconds is the one case that remains.
        """
        if folder and self._listed(folder, recursive=True) == []:
            with self._named(), contextlib.suppress(FileNotFoundError):
                self._fs.delete_dir(f"{self._root}/{folder}")

    def _put(self, name: str, content: pa.Buffer | bytes) -> None:
        with self._named():
            stream = self._fs.open_output_stream(f"{self._root}/{name}")
            stream.write(content)
            stream.close()

    def _delete(self, name: str) -> None:
        with self._named(), contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._root}/{name}")

    def _found_files(self, folder: str) -> list[pafs.FileInfo]:
        return [info for info in self._found(folder, recursive=True) if info.type == pafs.FileType.File]

    def _found(self, folder: str, *, recursive: bool) -> list[pafs.FileInfo]:
        return self._listed(folder, recursive=recursive) or []

    def _listed(self, folder: str, *, recursive: bool) -> list[pafs.FileInfo] | None:
        """None where there is no such folder; that there is no such bucket raises."""
        selector = pafs.FileSelector(_join(self._root, folder), recursive=recursive)
        with self._named():
            try:
                found: list[pafs.FileInfo] = self._fs.get_file_info(selector)
            except FileNotFoundError:
                return None
        return found

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """What goes wrong on the way as `CaptureUnavailable`; that a file is not there passes as it is."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise CaptureUnavailable(errno.EIO, self._said(str(error))) from error

    def _said(self, text: str) -> str:
        found = _CODE.search(text)
        code, operation, why = (found[1], found[2], found[3].strip() or found[2]) if found else ("", "", text)
        if code == "NO_SUCH_BUCKET" or text.startswith("Bucket '"):
            return f"S3 at {self._host} has no bucket {self._bucket!r}: make it, or correct TIDEGATE_CAPTURE_URL"
        if code in _REFUSED:
            told = f"refuses the keys for the bucket {self._bucket!r}, or there are none ({code})"
            return f"S3 at {self._host} {told}: {_KEYS}"
        if code in _EXPIRED:
            return f"S3 at {self._host} takes the keys no longer ({code}): renew them, and set this machine's clock"
        if code in _AWAY or "curlCode" in text:
            return f"S3 at {self._host} does not answer ({why[:200]}): see TIDEGATE_CAPTURE_S3_ENDPOINT_URL"
        if code in _FAILS:
            return f"S3 at {self._host} answers that it cannot do it now ({code} for {operation}): see its own log"
        return f"S3 at {self._host} cannot be used ({why[:300]})"


def _join(*parts: str) -> str:
    return "/".join(filter(None, parts))


def _as_if(found: Iterable[pafs.FileInfo], prefix: str) -> dict[str, list[tuple[float, int, float]]]:
    """By file's name: as if written when, for which size in bytes, and when that was said."""
    pages: dict[str, list[tuple[float, int, float]]] = {}
    for info in found:
        name, _, said = info.path.removeprefix(prefix).rpartition("@")
        written, _, size = said.rpartition("-")
        with contextlib.suppress(ValueError):
            pages.setdefault(name, []).append((float(written), int(size), info.mtime_ns / 1e9))
    return pages


def _dated(file: CaptureFile, as_if: dict[str, list[tuple[float, int, float]]]) -> CaptureFile:
    counts = [
        written_s
        for written_s, size_bytes, said_s in as_if.get(file.name, ())
        if size_bytes == file.size_bytes and said_s >= file.written_s
    ]
    return replace(file, written_s=min(counts)) if counts else file
