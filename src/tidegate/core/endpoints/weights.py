"""Weights of an endpoint's versions: which are allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tidegate.errors import InvalidArgument

SUM_TOLERANCE = 1e-6


def check_weights(weights: Mapping[str, float]) -> None:
    """Raises `InvalidArgument` unless there are weights, each from 0 to 100, that add up to 100."""
    if not weights:
        raise InvalidArgument(
            "no version is named: give weights that add up to 100, for example 1=90 2=10", field="traffic"
        )
    for version, weight in weights.items():
        if not 0 <= weight <= 100:  # also catches NaN
            raise InvalidArgument(
                f"the weight of version {version} is {weight:g}: it must be from 0 to 100", field="traffic"
            )
    total = math.fsum(weights.values())
    if abs(total - 100) > SUM_TOLERANCE:
        shown = ", ".join(f"{version}={weight:g}" for version, weight in weights.items())
        raise InvalidArgument(f"the weights add up to {total:g}, not 100: {shown}", field="traffic", total=total)
