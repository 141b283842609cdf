"""Whether two forms of a model are equal: labels, numbers within 1e-5, and what they refuse. Knows no format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.errors import UnfitInput
from tidegate.runtimes.base.runtime import Arrays, LoadedModel, Wanted
from tidegate.wire.signature import PROBABILITIES

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-5
"""Probabilities absolutely, regressions relatively."""
TINY = 1e-9
"""A regression's answer of less than this share of the usual size may differ by it instead: next to 0, relative says
nothing."""


class NotEqual(Exception):
    """The forms differ; says where."""


@dataclass
class Largest:
    """The largest differences seen between answers that count as equal.

    `by_row`: numbers are compared with the largest of their row (scores, embeddings), where the original itself
    computes in float32 and a number near 0 beside others has no more digits than they have.
    """

    difference: float = 0.0
    by_row: bool = False

    def add(self, difference: float) -> None:
        """Remember it if it is the largest."""
        self.difference = max(self.difference, difference)


def check_same(original: Arrays, fast: Arrays, what: str, largest: Largest) -> None:
    """Raises `NotEqual` unless the answers are the same in names, types, shapes and values."""
    if list(original) != list(fast):
        raise NotEqual(f"{what}: it answers {list(fast)}, the original {list(original)}")
    for name, expected in original.items():
        got = fast[name]
        if (got.dtype, got.shape) != (expected.dtype, expected.shape):
            raise NotEqual(
                f"{what}: its {name} is {got.dtype}{list(got.shape)}, the original's {expected.dtype}"
                f"{list(expected.shape)}"
            )
        if expected.dtype.kind == "f":
            _check_numbers(expected, got, f"{what}: {name}", name == PROBABILITIES, largest)
        elif not np.array_equal(expected, got):
            wrong = int((expected != got).reshape(len(got), -1).any(axis=1).sum())
            raise NotEqual(f"{what}: another {name} in {wrong} of {len(got)} rows")


def _check_numbers(expected: Array, got: Array, what: str, is_probability: bool, largest: Largest) -> None:
    if not np.array_equal(np.isfinite(expected), np.isfinite(got)):
        raise NotEqual(f"{what} is finite where the original's is not, or the other way round")
    finite = np.isfinite(expected)
    if not finite.any():
        return
    difference = np.abs(expected[finite] - got[finite])
    if largest.by_row and expected.ndim > 1:
        size = np.abs(np.where(finite, expected, 0.0)).reshape(len(expected), -1).max(axis=1, initial=1e-300)
        difference = difference / np.broadcast_to(size.reshape(-1, *[1] * (expected.ndim - 1)), expected.shape)[finite]
    elif not is_probability:
        floor = TINY * float(np.median(np.abs(expected[finite])))
        difference = np.maximum(difference - floor, 0.0) / np.maximum(np.abs(expected[finite]), max(floor, 1e-300))
    worst = float(difference.max())
    if worst > TOLERANCE:
        kind = "absolutely" if is_probability else "relatively"
        raise NotEqual(f"{what} differs by {worst:.2g} {kind}, more than {TOLERANCE:g}")
    largest.add(worst)


def check_refusals(original: LoadedModel, fast: LoadedModel, cases: Mapping[str, Arrays], largest: Largest) -> None:
    """Raises `NotEqual` unless both refuse the same, and answer the rest alike."""
    for what, inputs in cases.items():
        expected, got = _asked(original, inputs), _asked(fast, inputs)
        if isinstance(expected, str) != isinstance(got, str):
            does, other = ("refuses", "answers") if isinstance(got, str) else ("answers", "refuses")
            raise NotEqual(f"{what}: it {does} where the original {other}")
        if not isinstance(expected, str) and not isinstance(got, str):
            check_same(expected, got, what, largest)


class Remembered:
    """The original, asked once about inputs that several forms are compared on. They must stay alive meanwhile."""

    def __init__(self, model: LoadedModel) -> None:
        self.task, self.classes = model.task, model.classes
        self._model = model
        self._told: dict[int, Arrays | UnfitInput] = {}

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """See `LoadedModel`; always all of it."""
        known = self._told.get(id(inputs))
        if known is None:
            try:
                known = self._model.predict(inputs, None)
            except UnfitInput as error:
                known = error
            self._told[id(inputs)] = known
        if isinstance(known, UnfitInput):
            raise known
        return {name: array for name, array in known.items() if wanted is None or name in wanted}


def _asked(model: LoadedModel, inputs: Arrays) -> Arrays | str:
    try:
        return model.predict(inputs, None)
    except UnfitInput as error:
        return error.message
