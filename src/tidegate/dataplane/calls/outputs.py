"""What targets answer: outputs of a batch, or why there are none."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.errors import TidegateError
from tidegate.errors.kinds import Kind
from tidegate.wire.signature import PREDICTION

Tensors = dict[str, np.ndarray[Any, Any]]
"""Arrays by tensor name, row axis first. BYTES tensors are object arrays of `str` (or `bytes` that are no UTF-8)."""
AT_ONCE_VALUES_MAX = 1 << 14
"""Answers of so many values are written in one go, which takes up to 15 ms (rows of records, NaN among them)."""
_CONFIDENCE = "\0confidence"
"""Under this name, which no tensor has, the highest probabilities are kept beside the tensors' lists."""


class TargetLost(TidegateError):
    """The replica went away before it answered."""

    code, kind = "target_lost", Kind.UNAVAILABLE


class TargetUnreached(TidegateError):
    """The replica went away before it was asked: it has seen nothing of the batch."""

    code, kind = "target_unreached", Kind.UNAVAILABLE


class TargetUnread(TargetUnreached):
    """The replica went away before it had read all of the batch: it computed none of it, but may have died of it."""

    code = "target_unread"


class TargetHung(TargetLost):
    """The replica does not answer any more, not even whether it is ready."""

    code = "target_hung"


class ModelFailed(TidegateError):
    """The model raised an error while it predicted."""

    code, kind = "model_failed", Kind.INTERNAL


class Outputs:
    """A batch's answer: tensors by name, row axis first; lists that many encoders need are made once, on demand."""

    __slots__ = ("_lists", "is_long", "tensors", "texts", "values")

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.values = 0
        for array in tensors.values():
            self.values += array.size
        self.is_long = self.values > AT_ONCE_VALUES_MAX
        """Whether its answers may be long: then none of them uses lists of the whole batch."""
        self.texts: list[bytes] | None = None
        """What an edge has written for each row; see `protocols/plain.py`."""
        self._lists: dict[str, list[Any]] = {}

    def as_list(self, name: str) -> list[Any]:
        """All rows of one tensor as nested Python lists."""
        rows = self._lists.get(name)
        if rows is None:
            rows = self._lists[name] = self.tensors[name].tolist()
        return rows

    @property
    def prediction_name(self) -> str:
        """The tensor that answers the question: `prediction`, or the first one of a model that names its own."""
        return PREDICTION if PREDICTION in self.tensors else next(iter(self.tensors))

    def confidences(self, name: str | None) -> list[float] | None:
        """The highest class probability of each row, from the tensor `name`; None where there is none."""
        found = self._lists.get(_CONFIDENCE)
        if found is None:
            if name is None or not self.has_rows_of_numbers(name):
                return None
            found = self._lists[_CONFIDENCE] = np.maximum.reduce(self.tensors[name], axis=1).tolist()
        return found

    def has_rows_of_numbers(self, name: str) -> bool:
        """Whether there is such a tensor, with some numbers in each row."""
        found = self.tensors.get(name)
        return found is not None and found.ndim == 2 and found.shape[1] > 0
