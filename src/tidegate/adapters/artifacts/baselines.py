"""Baselines as files: `baselines/NAME.json`, what is compared with, and `NAME.parquet`, a sample of rows."""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tidegate.core.captured import Columns
from tidegate.errors import Conflict, DiskFull
from tidegate.system.atomic import replacing, write_whole

_NAME = re.compile(r"[0-9a-f]{24}")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DirectoryBaselines:
    """`BaselineFiles` in a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, name: str, document: dict[str, Any], sample: Columns) -> None:
        """The sample first: a document never lacks its rows. Raises `DiskFull`."""
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if sample:
                self._write_sample(self._path(name, "parquet"), sample)
            write_whole(self._path(name, "json"), orjson.dumps(document), mode=0o600)
        except OSError as error:
            self.delete(name)
            if error.errno in _FULL:
                raise DiskFull from error
            raise

    def read(self, name: str) -> dict[str, Any]:
        """The document of a baseline. Raises `Conflict` where it cannot be read."""
        path = self._path(name, "json")
        try:
            return dict(orjson.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise Conflict(
                f"the baseline {path} cannot be read ({error}): restore it, or make the baseline anew"
            ) from error

    def sample(self, name: str) -> Columns:
        """The rows kept with a baseline. Raises `Conflict` where they cannot be read."""
        import pyarrow.parquet as pq

        path = self._path(name, "parquet")
        if not path.exists():
            return {}
        try:
            table = pq.read_table(path)
        except (OSError, ValueError) as error:
            raise Conflict(f"the baseline's sample {path} cannot be read ({error}): make the baseline anew") from error
        return {each: table.column(each).to_numpy(zero_copy_only=False) for each in table.column_names}

    def delete(self, name: str) -> None:
        """Deleting what is gone is no error."""
        for suffix in ("json", "parquet"):
            with suppress(OSError):
                self._path(name, suffix).unlink(missing_ok=True)

    def names(self, before: float) -> set[str]:
        """Of those that were written before."""
        if not self._root.is_dir():
            return set()
        there = [path for path in self._root.iterdir() if _NAME.fullmatch(path.stem)]
        return {path.stem for path in there if path.stat().st_mtime < before}

    def _path(self, name: str, suffix: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a baseline")
        return self._root / f"{name}.{suffix}"

    def _write_sample(self, path: Path, sample: Columns) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: _arrow(values) for name, values in sample.items()})
        with replacing(path, mode=0o600) as file:
            pq.write_table(table, file, compression="zstd")


def _arrow(values: np.ndarray[Any, Any]) -> Any:
    """As it is, or as texts where its values are of several types."""
    import pyarrow as pa

    try:
        return pa.array(values.tolist() if values.dtype.kind == "O" else values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values.tolist()])
