"""What scalers and imputers do to numbers, and what a form says when it refuses some. Used by `serving`, `tables`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tidegate.errors import UnfitInput

Array = np.ndarray[Any, Any]

FINITE = "finite"
"""Not a step of its own: here the original looks whether all numbers are finite (missing ones aside)."""


def refused(text: str) -> UnfitInput:
    """As the original's refusals are told."""
    return UnfitInput(f"the model refused the input: ValueError: {text}")


def _subtract(x: Array, array: Array) -> Array:
    return np.subtract(x, array)


def _divide(x: Array, array: Array) -> Array:
    return np.divide(x, array)


def _multiply(x: Array, array: Array) -> Array:
    return np.multiply(x, array)


def _add(x: Array, array: Array) -> Array:
    return np.add(x, array)


def _impute(x: Array, array: Array) -> Array:
    return np.where(np.isnan(x), array, x)


def _blank(x: Array, array: Array) -> Array:
    """Numbers that are not in a sparse matrix are missing to XGBoost: there, `array` is all 0."""
    return np.where(x == array, np.nan, x)


STEPS: dict[str, Callable[[Array, Array], Array]] = {
    "subtract": _subtract,
    "divide": _divide,
    "multiply": _multiply,
    "add": _add,
    "impute": _impute,
    "blank": _blank,
}
