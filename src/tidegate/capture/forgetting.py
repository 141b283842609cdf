"""Forgets a unit: every row of its key goes, from Parquet and from the journal. Done by the compactor.

A request is a file in STORE/forget until no segment is left that was begun before it was made: rows of an open segment
go once that is sealed and compacted, an hour later at most. Files are rewritten whole or not at all, and labels before
what they are about, so that a request that was killed at any step is done again. Segments that were compacted go whole:
all that they have is in Parquet.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidegate.capture.compact import GROUP_ROWS_MAX
from tidegate.system.atomic import replacing
from tidegate.wire.capture import FORGET_FOLDER, ForgetRequest
from tidegate.wire.decoding import json_decoder
from tidegate.wire.journal import list_segments
from tidegate.wire.journal.cursors import read_offsets
from tidegate.wire.journal.segments import opened_at_us

REQUESTS_MAX = 10_000
_requests = json_decoder(ForgetRequest)

log = logging.getLogger(__name__)


@dataclass
class Forgotten:
    """What one run did."""

    rows: int = 0
    done: int = 0
    waiting: int = 0


def waiting(store: Path) -> list[Path]:
    """Requests that are not done yet."""
    return sorted((store / FORGET_FOLDER).glob("*.json"))[:REQUESTS_MAX]


def forget(store: Path, journal: Path) -> Forgotten:
    """Do what was asked, as far as it can be done now; called by the compactor, after it compacted what was sealed."""
    found = Forgotten()
    for path in waiting(store):
        request = _requests.decode(path.read_bytes())
        found.rows += _from_parquet(store, request)
        if _journal_is_clean(journal, request):
            path.unlink(missing_ok=True)
            found.done += 1
        else:
            found.waiting += 1
    if found.rows:
        log.info("%d rows of units that are to be forgotten are gone", found.rows)
    return found


def _from_parquet(store: Path, request: ForgetRequest) -> int:
    """Feedback that names a forgotten request by its id goes too, whatever endpoint it names."""
    keys, feedback = pa.array(request.keys, pa.string()), store / "feedback"
    every = store.glob(f"**/endpoint={request.endpoint}/hour=*/*.parquet")
    its = [path for path in every if not path.is_relative_to(feedback)]
    ids = pa.array(sorted(set().union(*(_ids(path, keys) for path in its))), pa.string())
    gone = 0
    for path in feedback.glob("endpoint=*/hour=*/*.parquet"):
        if path.parent.parent.name == f"endpoint={request.endpoint}":
            gone += _without(path, "key", keys)
        if len(ids):
            gone += _without(path, "id", ids)
    return gone + sum(_without(path, "key", keys) for path in its)


def _ids(path: Path, keys: pa.Array) -> set[str]:
    """Of a unit's requests in a file."""
    table = _read(path, ["key", "id"])
    if table is None:
        return set()
    return set(table.filter(pc.is_in(table["key"], value_set=keys))["id"].drop_null().to_pylist())


def _without(path: Path, column: str, values: pa.Array) -> int:
    """Rewrite a file without the rows that have one of these values; how many those were."""
    found = _read(path, [column])
    if found is None or column not in found.column_names:
        return 0
    mask = pc.fill_null(pc.is_in(found[column], value_set=values), fill_value=False)
    count = pc.sum(mask).as_py() or 0
    if not count:
        return 0
    table = pq.ParquetFile(path).read().filter(pc.invert(mask))
    with replacing(path, mode=0o600) as file:
        pq.write_table(table, file, compression="zstd", row_group_size=GROUP_ROWS_MAX)
    return int(count)


def _read(path: Path, columns: list[str]) -> pa.Table | None:
    try:
        with pq.ParquetFile(path) as file:
            return file.read([name for name in columns if name in file.schema_arrow.names])
    except FileNotFoundError:  # retention was quicker
        return None


def _journal_is_clean(journal: Path, request: ForgetRequest) -> bool:
    """Whether no segment is left that can have rows from before the request; those that were compacted go."""
    read, clean = read_offsets(journal), True
    for segment in list_segments(journal):
        if opened_at_us(segment) / 1e6 > request.at_s:
            continue
        with contextlib.suppress(FileNotFoundError):
            if segment.is_open or read.get(segment.name, 0) < segment.path.stat().st_size:
                clean = False
            else:
                segment.path.unlink()
    return clean
