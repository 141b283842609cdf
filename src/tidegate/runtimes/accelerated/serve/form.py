"""A faster form on disk: `form.json`, arrays as `.npy`, `model.onnx` for ONNX Runtime. Nothing in it is a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from tidegate.errors import ModelLoadFailed
from tidegate.wire.decoding import decode_json
from tidegate.wire.signature import Scalar

Engine = Literal["dense", "trees", "graph", "named"]
"""`named`: the ONNX graph has the original's own inputs and outputs."""
Head = (
    Literal["value", "exp", "sigmoid", "votes", "logistic", "logistic_from_zero", "softmax", "one_vs_rest", "half"]
    | Literal["highest", "second_if_likelier", "likeliest"]
)
"""From scores to answers. `logistic` predicts the second class above 0, `logistic_from_zero` from 0 on; `half` and
`highest` read scores that are probabilities already; `votes` are probabilities of a forest.
`second_if_likelier` and `likeliest` are a sigmoid and a softmax whose labels go by the probabilities, as rounded."""

FORM_FILE, GRAPH_FILE = "form.json", "model.onnx"
FORMAT = 1


class CategoryColumn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column that is looked up: its place in the signature, and the categories that were seen in training.

    Each category has a code, then the missing value one, then every other value one, counted on over all such columns.
    """

    column: int
    categories: tuple[Scalar, ...]
    text: bool = False


class NumberColumns(msgspec.Struct, frozen=True, omit_defaults=True):
    """Columns of numbers side by side, put at `start` of the matrix after `steps`.

    The array of step N of part M is `table-M-step-N.npy`.
    """

    columns: tuple[int, ...]
    start: int
    steps: tuple[str, ...] = ()


class TableForm(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a request's columns become the matrix of `width` numbers that the rest of the form takes.

    By code: `table-place.npy` has the column of the matrix (-1: none), `table-value.npy` what is put there, and
    `table-refused.npy` whether the original refuses the value. `unicode`: it refuses text that is no UTF-8.
    """

    n_columns: int
    width: int
    unicode: bool = False
    categories: tuple[CategoryColumn, ...] = ()
    numbers: tuple[NumberColumns, ...] = ()


class AcceleratedForm(msgspec.Struct, frozen=True, omit_defaults=True):
    """What serving needs to know beside the arrays.

    `steps` are done in float64 before the model, each with an array `step-N.npy`; `float32` says that the model sees
    its features rounded to float32, as scikit-learn's trees do. `band` is how near a tie scores may be to be trusted:
    nearer ones are added up again in float64 (with `sums_float32`, as the original does it, in float32), in the
    original's order. `takes_overflow`: the model takes what a step or rounding made infinite. `zero_to`: numbers this
    near 0 are 0 to the original. `mirrored`: the graph takes each feature and its negative. `table` makes the matrix
    where the original takes columns of text or categories.
    """

    name: str
    engine: Engine
    n_features: int
    head: Head
    classes: tuple[Scalar, ...] | None = None
    steps: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    float32: bool = False
    graph_float32: bool = False
    takes_nan: bool = False
    takes_inf: bool = False
    takes_overflow: bool = False
    divisor: float = 1.0
    band: float = 0.0
    sums_float32: bool = False
    zero_to: float = 0.0
    mirrored: bool = False
    table: TableForm | None = None
    format: int = FORMAT


@dataclass
class FormDraft:
    """A form that is not written yet. `graph` is the ONNX model's bytes."""

    form: AcceleratedForm
    arrays: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    graph: bytes | None = None

    def write(self, folder: Path, changes: Mapping[str, Any]) -> AcceleratedForm:
        """Write all files into a new folder; `changes` replace fields of the form."""
        folder.mkdir(mode=0o700)
        form = msgspec.structs.replace(self.form, **changes)
        for name, array in self.arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        if self.graph is not None:
            (folder / GRAPH_FILE).write_bytes(self.graph)
        (folder / FORM_FILE).write_bytes(msgspec.json.encode(form))
        return form


def read_form(folder: Path) -> AcceleratedForm:
    """Raises `ModelLoadFailed`: there is no other form to fall back to silently."""
    try:
        form = decode_json((folder / FORM_FILE).read_bytes(), AcceleratedForm)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelLoadFailed(
            f"the accelerated form in {folder} cannot be read: {error}. Register the same file with --no-accelerate "
            "to serve the original, and once more without it to have the form made anew"
        ) from None
    if form.format != FORMAT:
        raise ModelLoadFailed(
            f"the accelerated form in {folder} has format {form.format}; this Tidegate reads {FORMAT}"
        )
    return form


def read_array(folder: Path, name: str, *, lazily: bool = False) -> np.ndarray[Any, Any]:
    """An array of the form; `lazily` leaves it on disk until it is used. Raises `ModelLoadFailed`."""
    try:
        array: np.ndarray[Any, Any] = np.load(
            folder / f"{name}.npy", mmap_mode="r" if lazily else None, allow_pickle=False
        )
    except (OSError, ValueError) as error:
        raise ModelLoadFailed(f"the accelerated form in {folder} is damaged ({name}): {error}") from None
    return array
