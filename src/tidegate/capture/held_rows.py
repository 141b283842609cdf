"""Rows of an endpoint in segments that are not compacted yet, for one look that asks for several tables.

Each segment is decoded once. Made by `store.CaptureStore.for_look`, and dropped after the look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from tidegate.capture import open_rows
from tidegate.capture.rows import NO_ENDPOINT, SCHEMAS
from tidegate.wire.journal import Segment

HELD_BYTES_MAX = 256 << 20
"""Of rows that are held: segments beyond are decoded for each table."""
_ANY_TIME = ("feedback",)
"""Tables whose rows are made whatever their time."""


@dataclass
class HeldRows:
    """Used by one thread. `columns` are the tensors that are held, `since_s` the earliest time that is.

    Rows that came into a segment after it was first read are not in it: a look sees the same ones in each table.
    """

    endpoint: str
    columns: frozenset[str]
    since_s: float
    bytes_max: int = HELD_BYTES_MAX
    _found: dict[str, dict[tuple[str, str], list[pa.Table]]] = field(default_factory=dict)
    _bytes: int = 0

    def tables_of(
        self,
        segment: Segment,
        table: str,
        endpoint: str,
        wanted: Collection[str] | None,
        times: tuple[float, float],
    ) -> Iterable[pa.Table]:
        """As `open_rows.tables_of`; it may have rows of other times too."""
        if not self._holds(table, endpoint, wanted, times[0]):
            return open_rows.tables_of(segment, table, endpoint, wanted, times)
        if segment.name not in self._found:
            if self._bytes >= self.bytes_max:
                return open_rows.tables_of(segment, table, endpoint, wanted, times)
            self._found[segment.name] = self._read(segment)
        found = self._found[segment.name].get((table, endpoint), ())
        others = self.columns.difference(wanted or ())
        return [made.select([name for name in made.column_names if name not in others]) for made in found]

    def _holds(self, table: str, endpoint: str, wanted: Collection[str] | None, since_s: float) -> bool:
        if endpoint not in (self.endpoint, NO_ENDPOINT) or wanted is None:
            return False
        tensors = {name for name in wanted if name.startswith(("input_", "output_"))}
        return tensors <= self.columns and (table in _ANY_TIME or since_s >= self.since_s)

    def _read(self, segment: Segment) -> dict[tuple[str, str], list[pa.Table]]:
        found: dict[tuple[str, str], list[pa.Table]] = {}
        asked = open_rows.WantedRows(
            frozenset(SCHEMAS), (self.endpoint, NO_ENDPOINT), self.columns, (self.since_s, float("inf"))
        )
        for place, made in open_rows.rows_of(segment, asked):
            found.setdefault((place.table, place.endpoint), []).append(made)
            self._bytes += made.nbytes
        return found
