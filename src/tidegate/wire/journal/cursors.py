"""How far each reader of a capture journal has read: what gateways may drop without losing anything.

A reader writes `READER.cursor` beside the segments, after what it read is safe elsewhere. The file is a hint to the
gateways: a reader's own truth may be in the store, in one transaction with what it made of the records.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tidegate.system.atomic import write_whole
from tidegate.wire.decoding import json_decoder

SUFFIX = ".cursor"
BYTES_MAX = 4 << 20

log = logging.getLogger(__name__)


class Cursor(msgspec.Struct):
    """By segment, the offset up to which it was read. A segment that is not named was not read at all."""

    offsets: dict[str, int]


_cursors = json_decoder(Cursor)


def write_cursor(folder: Path, reader: str, offsets: Mapping[str, int]) -> None:
    """Tell the gateways how far `reader` is; segments that are gone need no mention. Raises `OSError`."""
    write_whole(folder / f"{reader}{SUFFIX}", msgspec.json.encode(Cursor(dict(offsets))), mode=0o600, durable=False)


def read_cursor(folder: Path, reader: str) -> dict[str, int]:
    """How far `reader` said it was; nothing where it never did, or where that cannot be read (logged)."""
    return _read(folder / f"{reader}{SUFFIX}")


def read_offsets(folder: Path) -> dict[str, int]:
    """By segment, the offset up to which every reader has read it."""
    found = [_read(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    if not found:
        return {}
    names = set[str]().union(*found)
    return {name: min(one.get(name, 0) for one in found) for name in names}


def _read(path: Path) -> dict[str, int]:
    try:
        if path.stat().st_size > BYTES_MAX:
            raise ValueError(f"larger than {BYTES_MAX} bytes")
        return _cursors.decode(path.read_bytes()).offsets
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # msgspec's own are ValueErrors
        log.warning("the cursor %s is not read: nothing counts as read by its reader: %s", path, error)
        return {}
