"""Refuses numbers that a datatype would change: floats that FP32 makes infinite, integers that floats round.

Called by `fit.py` and the edges that know their rows to be numbers already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tidegate.dataplane.base.stepwise import each
from tidegate.dataplane.base.tensors import Array, datatype_of
from tidegate.errors import UnfitInput
from tidegate.wire.signature import TensorSpec

if TYPE_CHECKING:
    from tidegate.dataplane.calls.call import Destination

EXACT_BELOW = 2**53
"""Whole numbers smaller than this are the same as floats and as integers."""
FP32_BELOW = float(np.finfo(np.float32).max) * (1 + 2**-25)
"""What is smaller than this rounds to a finite FP32."""


def check_floats(rows: list[list[float]], destination: Destination) -> None:
    """Raise `UnfitInput` for a finite number that the model's FP32 would make infinite."""
    if destination.packed_dtype.itemsize == 8:
        return
    for index, row in enumerate(each(rows)):
        if row and (max(row) >= FP32_BELOW or min(row) <= -FP32_BELOW):
            place = next(place for place, value in enumerate(row) if abs(value) >= FP32_BELOW)
            signature = destination.signature
            name = signature.inputs[place].name if signature.kind == "columns" else f"features[{place}]"
            raise UnfitInput(
                f"{name!r} is {row[place]:g} in row {index}, which is out of the range of {signature.packed_datatype}",
                input=name,
                row=index,
                expected=signature.packed_datatype,
                got=row[place],
            )


def fits_floats(array: Array, destination: Destination) -> bool:
    """Whether every finite number of it is finite in the model's datatype too."""
    return destination.packed_dtype.itemsize == 8 or not bool((np.abs(array) >= FP32_BELOW).any())


def check_exact(array: Array, spec: TensorSpec) -> None:
    """Integers of 8 bytes, which numpy calls safe to cast, are rounded by FP64 where they are large."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 or not spec.datatype.startswith("FP"):
        return
    if array.size and (array.max() > EXACT_BELOW or array.min() < -EXACT_BELOW):
        raise UnfitInput(
            f"input {spec.name!r} has integers above 2^53, which {spec.datatype} would round",
            input=spec.name,
            expected=spec.datatype,
            got=datatype_of(array),
        )
