"""Files that pages take: under names that change with their contents, so that a browser may keep them for ever."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tidegate.draw import STYLE

STATIC = "/static/"
GZIP_LEVEL = 9
_OWN = Path(__file__).parent
_SERVED = {
    "console.css": (_OWN / "static" / "console.css", "text/css; charset=utf-8"),
    "console.js": (_OWN / "static" / "console.js", "text/javascript; charset=utf-8"),
    "upload.js": (_OWN / "static" / "upload.js", "text/javascript; charset=utf-8"),
    "mark.svg": (_OWN / "static" / "mark.svg", "image/svg+xml"),
    "htmx.min.js": (_OWN / "vendor" / "files" / "htmx.min.js", "text/javascript; charset=utf-8"),
}

_MORE = {"console.css": STYLE.encode()}
"""How plots look, in the same file."""


@dataclass(frozen=True)
class Asset:
    """One file as it is served, plain and packed."""

    content: bytes
    packed: bytes
    media_type: str


@cache
def _all() -> tuple[Mapping[str, str], Mapping[str, Asset]]:
    """Served names by plain name, and files by served name."""
    names, assets = {}, {}
    for name, (path, media_type) in _SERVED.items():
        content = path.read_bytes() + _MORE.get(name, b"")
        stem, _, ending = name.rpartition(".")
        served = f"{stem}.{hashlib.sha256(content).hexdigest()[:8]}.{ending}"
        names[name] = served
        assets[served] = Asset(content, gzip.compress(content, GZIP_LEVEL, mtime=0), media_type)
    return names, assets


def static(name: str) -> str:
    """The path of a file by its plain name."""
    return STATIC + _all()[0][name]


def asset(served: str) -> Asset | None:
    """The file that is served under this name; None for any other."""
    return _all()[1].get(served)
