"""Captured rows as a table: the newest of an endpoint, cells cut where they are long."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.console.words import UNKNOWN
from tidegate.draw.markup import shortened

ROWS, CELL_CHARS_MAX, COLUMNS_MAX = 20, 40, 60
FIRST = ("at", "id", "row", "version", "variant", "duration_ms")
LEFT_OUT = (
    *("endpoint", "assigned", "experiment", "phase", "propensity", "pinned", "revision", "key"),
    *("code", "cached", "params", "sample_rate"),
)
SQL = f'SELECT * FROM predictions ORDER BY "at" DESC LIMIT {ROWS}'  # noqa: S608 - a number of ours


@dataclass(frozen=True)
class Rows:
    """Names of columns, and cells as texts; `left_out` columns have no room."""

    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_out: int = 0


def table_of(found: Sequence[Mapping[str, Any]]) -> Rows:
    """What answered first, then outputs, then inputs."""
    known = list(dict.fromkeys(name for row in found for name in row))
    outputs = [name for name in known if name.startswith("output_")]
    inputs = [name for name in known if name.startswith("input_")]
    others = [name for name in known if name not in (*FIRST, *LEFT_OUT, *outputs, *inputs)]
    names = [name for name in FIRST if name in known] + outputs + inputs + others
    shown = names[:COLUMNS_MAX]
    return Rows(shown, [[_cell(row.get(name)) for name in shown] for row in found], len(names) - len(shown))


def _cell(value: Any) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.6g}"
    return shortened(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), CELL_CHARS_MAX)
