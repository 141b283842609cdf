"""What an endpoint's capture rules leave of imported rows: as gateways apply them to what they record, so that hashes
of the same values are equal whichever way a row came. Pure; used by `importing.py`.

A file is imported whole: the share of requests that is sampled is no rule of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from tidegate.wire.gateways.snapshot import CaptureRules
from tidegate.wire.journal.records import hashed_number, hashed_text


@dataclass(frozen=True)
class ImportRules:
    """An endpoint's rules and the salt that its hashes are keyed with."""

    rules: CaptureRules = CaptureRules()
    salt: str = ""

    def kept(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Of names in the file and tensors' names those that may be recorded."""
        return {name: tensor for name, tensor in columns.items() if tensor not in self.rules.drop}

    def column(self, tensor: str, values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """A tensor's values as they may be recorded."""
        if tensor not in self.rules.hash:
            return values
        return self._hashed(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)

    def key(self, unit: str | None) -> str | None:
        """A unit's key as it may be recorded."""
        return unit if unit is None or not self.rules.hash_keys else hashed_text(unit, self.salt)

    def _hashed(self, values: pa.Array) -> pa.Array:
        """What is missing stays missing; of a list each of its values."""
        kind = values.type
        if pt.is_fixed_size_list(kind):
            return self._hashed(pc.cast(values, pa.large_list(kind.value_type)))
        if pt.is_list(kind) or pt.is_large_list(kind):
            ends = pc.cumulative_sum(pc.fill_null(pc.cast(pc.list_value_length(values), pa.int64()), 0)).to_pylist()
            made = pa.LargeListArray.from_arrays(
                pa.array([0, *ends], pa.int64()), self._hashed(pc.list_flatten(values))
            )
            return pc.if_else(pc.is_valid(values), made, pa.nulls(len(values), made.type))
        if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind):
            whole = pc.cast(values, pa.int64()) if pt.is_boolean(kind) else values
            numbers = pc.cast(whole, pa.float64(), safe=False).to_pylist()  # past 2**53 rounded, as gateways do
            found = [one if one is None or math.isnan(one) else hashed_number(one, self.salt) for one in numbers]
            return pa.array(found, pa.float64())
        texts = pc.cast(values, pa.string()).to_pylist()
        return pa.array([None if one is None else hashed_text(one, self.salt) for one in texts], pa.string())
