"""Opens a pickle for reading whatever joblib compressed it with, and counts what was read. Used by the scan only."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
READ_BYTES_MAX = 64 << 30
"""Most bytes the scan takes out of one (possibly compressed) file."""

_XZ, _LZMA, _GZIP, _BZ2, _LZ4 = b"\xfd7zXZ", b"\x5d\x00", b"\x1f\x8b", b"BZ", b"\x04\x22\x4d\x18"


class Truncated(Exception):
    """The stream ended inside a value."""


class _ZlibReader(io.RawIOBase):
    """A bare zlib stream (joblib's `compress=3`), as a readable file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._inflate.eof:
            source = self._inflate.unconsumed_tail or self._file.read(CHUNK_BYTES)
            data = self._inflate.decompress(source, len(view))
            if data:
                view[: len(data)] = data
                return len(data)
            if not source:
                raise EOFError("the compressed stream ends early")
        return 0

    def close(self) -> None:
        self._file.close()
        super().close()


class PickleStream:
    """What `pickletools.genops` needs of a file, with reads that never allocate more than is there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left_bytes = READ_BYTES_MAX
        self.at_end = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, in chunks, so that a length that lies costs nothing."""
        parts = []
        while size > 0 and self._left_bytes > 0:
            part = self._take(self._file.read, min(size, CHUNK_BYTES, self._left_bytes))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def readline(self) -> bytes:
        line = self._take(self._file.readline, min(CHUNK_BYTES, self._left_bytes))
        self.at_end = self.at_end or not line.endswith(b"\n")
        return line

    def tell(self) -> int:
        return READ_BYTES_MAX - self._left_bytes

    def skip(self, size: int) -> None:
        """Move past `size` bytes; raises `Truncated` when they are not there."""
        while size > 0:
            part = self.read(min(size, CHUNK_BYTES))
            if not part:
                raise Truncated
            size -= len(part)

    def close(self) -> None:
        self._file.close()

    def _take(self, reader: Callable[[int], bytes], size: int) -> bytes:
        try:
            part = reader(size)
        except EOFError:
            part = b""
        self.at_end = self.at_end or (size > 0 and not part)
        self._left_bytes -= len(part)
        return part


def compression_of(head: bytes) -> str | None:
    """What the first bytes are compressed with: "zlib", "gzip", "bz2", "lzma", "xz", "lz4", or None."""
    if len(head) > 1 and head[0] == 0x78 and (head[0] << 8 | head[1]) % 31 == 0:
        return "zlib"
    for magic, name in ((_GZIP, "gzip"), (_BZ2, "bz2"), (_XZ, "xz"), (_LZMA, "lzma"), (_LZ4, "lz4")):
        if head.startswith(magic):
            return name
    return None


def open_stream(path: Path) -> PickleStream:
    """The file's content, inflated; raises `OSError`, `zlib.error` or `lzma.LZMAError` on reading what is damaged."""
    with path.open("rb") as file:
        kind = compression_of(file.read(6))
    if kind == "gzip":
        return PickleStream(gzip.open(path))  # type: ignore[arg-type]
    if kind == "bz2":
        return PickleStream(bz2.open(path))  # type: ignore[arg-type]
    if kind in ("xz", "lzma"):
        return PickleStream(lzma.open(path))  # type: ignore[arg-type]
    if kind == "zlib":
        return PickleStream(io.BufferedReader(_ZlibReader(path.open("rb"))))
    return PickleStream(path.open("rb"))
