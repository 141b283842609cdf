"""Tables of different schemas made one: what versions of a model, and months, put into the same table. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt


def union_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Every column of any of them, in the order of their first appearance, with a type that holds all values."""
    types: dict[str, pa.DataType] = {}
    for schema in schemas:
        for name, datatype in zip(schema.names, schema.types, strict=True):
            known = types.get(name)
            types[name] = datatype if known is None or known == datatype else _common(known, datatype)
    return pa.schema(types)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly these columns; what it does not have is null."""
    if table.schema.equals(schema):
        return table
    columns = [
        _cast(table[name], datatype) if name in table.column_names else pa.nulls(len(table), datatype)
        for name, datatype in zip(schema.names, schema.types, strict=True)
    ]
    return pa.table(columns, schema=schema)


def concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """All rows, with these columns."""
    return pa.concat_tables([conform(table, schema) for table in tables]) if tables else schema.empty_table()


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pt.is_null(one) or pt.is_null(other):
        return other if pt.is_null(one) else one
    listed = [_is_list(each) for each in (one, other)]
    if all(listed) and (_is_number(one.value_type) and _is_number(other.value_type)):
        return pa.large_list(_number(one.value_type, other.value_type))
    if not any(listed) and _is_number(one) and _is_number(other):
        return _number(one, other)
    return pa.string()


def _number(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Booleans count as 0 and 1."""
    if one == other:
        return one
    kinds = (one, other)
    if any(pt.is_floating(kind) for kind in kinds):
        return pa.float64()
    return pa.float64() if pa.uint64() in kinds else pa.int64()


def _is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_large_list(kind) or pt.is_list(kind))


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if column.type == wanted:
        return column
    if wanted == pa.string() and not pt.is_null(column.type):
        return _texts(column)
    if pt.is_boolean(column.type) and pt.is_floating(wanted):
        column = pc.cast(column, pa.int64())
    return pc.cast(column, wanted, safe=False)


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values of several types in one column: texts as they are, others as JSON writes them."""
    made = [None if one is None else one if isinstance(one, str) else json.dumps(one) for one in column.to_pylist()]
    return pa.chunked_array([pa.array(made, pa.string())])
