"""How a model's predictions are compared with labels: which bounded loss decides, and under which name it is shown.

Found out once, when a baseline is made of labelled rows, and kept with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np

from tidegate.core.monitoring.columns import Array, WatchedColumns
from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.values import Floats, column, datatype_of, is_missing, numbers
from tidegate.watch.performance.losses import absolute_losses, clip_of, error_losses
from tidegate.watch.performance.performance import LossMetric
from tidegate.wire.signature import Signature

CLASSES_MAX = 50
"""Integers that take more values than this are numbers."""
Mode = Literal["classes", "scores", "highest", "numbers"]


@dataclass(frozen=True)
class Truth:
    """`columns`: the outputs that are compared. `scores`: above one half means class 1; `highest`: of several scores
    the largest one's place names the class (by `classes`, where the model has them). `clip`: the largest error.
    """

    mode: Mode
    columns: tuple[str, ...]
    datatype: str
    clip: float = 1.0
    classes: tuple[Any, ...] = ()

    @property
    def metric(self) -> LossMetric:
        return LossMetric("absolute_error", self.clip) if self.mode == "numbers" else LossMetric("accuracy")

    def losses(self, found: WatchedColumns, labels: Array) -> Floats:
        """Of each row, within [0, 1]; NaN where no label has come, or one that is no number where numbers are due."""
        labels = column(labels, "labels")
        if self.mode == "numbers":
            return absolute_losses(found.values[self.columns[0]], _numbers_or_none(labels), self.clip)
        return error_losses(self.predicted(found), labels, self.datatype)

    def predicted(self, found: WatchedColumns) -> Array:
        """Each row's predicted class or number."""
        if self.mode == "scores":
            return (_floats(found.values[self.columns[0]]) > 0.5).astype(np.int64)
        if self.mode == "highest":
            places = np.argmax(np.stack([_floats(found.values[name]) for name in self.columns]), axis=0)
            return cast(Array, np.array(self.classes, dtype=object)[places]) if self.classes else places
        return found.values[self.columns[0]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Truth:
        """What `as_dict` wrote."""
        return cls(**{**plain, "columns": tuple(plain["columns"]), "classes": tuple(plain["classes"])})


def truth_of(signature: Signature, found: WatchedColumns, labels: Array) -> Truth | None:
    """None where predictions and labels cannot be compared: several outputs that are no scores, texts and numbers."""
    outputs = found.of("output")
    if not signature.outputs or not outputs:
        return None
    labels = column(labels, "labels")
    first, spec = next(iter(outputs)), signature.outputs[0]
    of_first = tuple(name for name in outputs if name == first or name.startswith(f"{spec.name}["))
    if len(of_first) > 1:
        is_score = all(_is_number(found.datatypes[name]) for name in of_first)
        return (
            Truth("highest", of_first, _label_datatype(labels), classes=signature.classes or ()) if is_score else None
        )
    return _of_one(first, found, labels, has_classes=signature.classes is not None)


def _of_one(name: str, found: WatchedColumns, labels: Array, *, has_classes: bool) -> Truth | None:
    """Of one output with one value a row."""
    datatype = found.datatypes[name]
    if not _is_number(datatype) or (has_classes and not _is_real(datatype)):
        return Truth("classes", (name,), datatype)
    numeric = numbers(labels)
    if numeric.invalid:
        return None
    distinct = set(np.unique(numeric.values).tolist())
    if not _is_real(datatype) and len(distinct) <= CLASSES_MAX:
        return Truth("classes", (name,), datatype)
    predicted = _floats(found.values[name])
    if distinct <= {0.0, 1.0} and bool(np.all((predicted >= 0) & (predicted <= 1))):
        return Truth("scores", (name,), "INT64")
    return Truth("numbers", (name,), datatype, clip_of(predicted, _numbers_or_none(labels)))


def _is_real(datatype: str) -> bool:
    return datatype.startswith(("FP", "BF"))


def _is_number(datatype: str) -> bool:
    return datatype not in ("BYTES", "BOOL")


def _label_datatype(labels: Array) -> str:
    datatype = datatype_of(labels)
    return "INT64" if datatype == "FP64" else datatype


def _floats(values: Array) -> Floats:
    try:
        return cast(Floats, np.array([np.nan if is_missing(value) else value for value in values.tolist()], np.float64))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"predictions are no numbers: {error}", field="predictions") from None


def _numbers_or_none(labels: Array) -> Array:
    """Labels that are numbers (also as texts); None for others."""
    found = np.empty(labels.size, dtype=object)
    for row, label in enumerate(labels.tolist()):
        if is_missing(label):
            continue
        try:
            number = float(label)
        except (TypeError, ValueError):
            continue
        found[row] = number if np.isfinite(number) else None
    return found
