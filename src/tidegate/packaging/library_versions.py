"""Which version of its library a file was saved with, where the file says so. Reads bytes, loads nothing."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

_SCHEMA_BYTES_MAX = 32 << 20
_TAIL_BYTES = 4096
_DAMAGE = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError)
_SKOPS = re.compile(rb'"_sklearn_version":\s*\{[^{}]*?"content":\s*"\\"([\w.]{1,40})\\""')
_XGBOOST_JSON = re.compile(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)\s*,')
_XGBOOST_UBJ = re.compile(rb"version\[#L.{7}\x03i(.)i(.)i", re.DOTALL)


def skops_sklearn_versions(path: Path) -> frozenset[str]:
    """The scikit-learn versions that a skops file's estimators were saved with; none of a file that is damaged."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("schema.json") as schema:
            return frozenset(match.decode() for match in _SKOPS.findall(schema.read(_SCHEMA_BYTES_MAX)))
    except _DAMAGE:
        return frozenset()  # loading it says what is wrong


def xgboost_version(path: Path) -> tuple[int, int] | None:
    """Major and minor version of the XGBoost that wrote the file; None where it does not say."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read()
    if binary := _XGBOOST_UBJ.search(tail):
        return binary[1][0], binary[2][0]
    plain = _XGBOOST_JSON.search(tail)
    return (int(plain[1]), int(plain[2])) if plain else None
