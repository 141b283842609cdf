"""Inputs that a model may take, before it has answered a row of them: made by `signature`, tried by inference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tidegate.runtimes.signatures.hints import Hint
from tidegate.wire.signature import MATRIX_INPUT, InputKind, TensorSpec


@dataclass(frozen=True)
class SignatureDraft:
    """Inputs a model may take, and values that it may have seen in them (per column, or per feature of a matrix).

    `rows` are whole rows that the model's author gave as examples. `free_side` is how long a row made for a trial is
    along axes of any length (a sentence, a picture). `items`: see `Signature`.
    """

    kind: InputKind
    specs: tuple[TensorSpec, ...]
    hints: list[Hint] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    free_side: int = 1
    items: bool = False

    @property
    def text_columns(self) -> set[str]:
        """Columns whose values are text, also where a file shows digits."""
        return {spec.name for spec in self.specs if spec.datatype == "BYTES"}


def matrix(count: int, hints: list[Hint] | None = None, datatype: str = "FP64") -> SignatureDraft:
    """One 2-D tensor of so many numbers a row."""
    spec = TensorSpec(MATRIX_INPUT, datatype, (-1, count))
    return SignatureDraft("matrix", (spec,), hints or [Hint() for _ in range(count)])
