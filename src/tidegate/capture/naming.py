"""Columns of a matrix by their names, as people ask for them. Pure: tables in, tables out.

Rows of a model that was trained on named columns of one type travel, and are recorded, as one tensor `input`; the
model's signature knows the names. Monitors take such rows apart by themselves; views for SQL do it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.capture.schemas import concat, union_schema

MATRIX = "input_input"


def name_columns(table: pa.Table, names: Mapping[str, Sequence[str]]) -> pa.Table:
    """`input_NAME` for each name that a row's version has, in the place of `input_input`; by version.

    Rows of versions that have none, or another number of them, keep `input_input`.
    """
    if MATRIX not in table.column_names or not pa.types.is_large_list(table.schema.field(MATRIX).type):
        return table
    widths = pc.list_value_length(table[MATRIX])
    left, parts = np.ones(len(table), dtype=bool), []
    for version in pc.unique(table["version"]).to_pylist():
        its = names.get(version)
        if not its:
            continue
        is_its = pc.and_(pc.equal(table["version"], version), pc.equal(widths, len(its)))
        mask = pc.fill_null(is_its, fill_value=False).to_numpy(zero_copy_only=False).astype(bool)
        if mask.any():
            parts.append(_split(table.filter(pa.array(mask)), its))
            left &= ~mask
    if not parts:
        return table
    rest = table.filter(pa.array(left)) if left.any() else table.slice(0, 0).drop_columns([MATRIX])
    pieces = [*parts, rest]
    return concat(pieces, _in_order(table, union_schema(piece.schema for piece in pieces)))


def _split(table: pa.Table, names: Sequence[str]) -> pa.Table:
    flat = pc.list_flatten(table[MATRIX].combine_chunks())
    places = np.arange(len(table), dtype=np.int64) * len(names)
    made = table.drop_columns([MATRIX])
    for place, name in enumerate(names):
        column = f"input_{name}"
        values = flat.take(pa.array(places + place))
        if column in made.column_names:  # another version had it as a tensor of its own
            made = made.set_column(made.column_names.index(column), column, values)
        else:
            made = made.append_column(column, values)
    return made


def _in_order(table: pa.Table, schema: pa.Schema) -> pa.Schema:
    """Inputs where `input_input` was, before the outputs."""
    known = list(table.column_names)
    at = known.index(MATRIX)
    new = [name for name in schema.names if name not in known]
    ordered = [*known[:at], *new, *known[at:]]
    return pa.schema([schema.field(name) for name in ordered if name in schema.names])
