"""A model's signature: what goes in and what comes out, in V2 datatypes.

Written once by the inspection of a model, read by every codec, by the gateway and by the console.
"""

from __future__ import annotations

from typing import Literal

import msgspec

InputKind = Literal["matrix", "columns", "tensors"]
Scalar = str | int | float | bool
Holds = Literal["", "binary", "datetime"]
Form = Literal["", "records", "columns", "series"]

MATRIX_INPUT = "input"
PREDICTION, PROBABILITIES = "prediction", "probabilities"
MISSING_SUFFIX = "__missing"
LEFT_OUT = 2
"""In the mask of an optional column: the request has no such column."""


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input or output. `shape` includes the row axis first; -1 means any length.

    `json`: an input or output whose rows are no tensor; each is one BYTES element that holds JSON. `holds`: what else
    BYTES stand for, bytes (base64 in JSON) or a time (text of ISO 8601). `optional`: a column that may be left out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    nullable: bool = False
    json: bool = False
    holds: Holds = ""
    optional: bool = False

    @property
    def has_mask(self) -> bool:
        """Whether a tensor beside it says which values are missing: its own datatype has no NaN, or cannot say enough.

        BOOL; of an optional column UINT8, with 1 for a missing value and `LEFT_OUT` for a column that was left out.
        """
        return self.nullable and (self.optional or not self.datatype.startswith("FP"))


class ParamSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A parameter of a prediction, by MLflow's name for its type; `many`: a list of such values."""

    name: str
    type: str
    many: bool = False


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """Inputs and outputs of one model version.

    `kind` says how the model takes its input:
    - `matrix`: one 2-D numeric tensor named `input`, shape (-1, n_features); columns may have no names;
    - `columns`: a data frame; one 1-D `TensorSpec` (shape (-1,)) per named column, in training order;
    - `tensors`: named tensors of any rank, as the model itself names them (ONNX, SavedModel).
    `classes` are a classifier's labels in the order of the `probabilities` columns. `params` are what a request may set
    beside its rows (MLflow Python functions); one left out has the model's own default. `others` are further functions
    of the same model (a SavedModel's signatures), each called by its `name`. `items`: the one column has no name, and a
    row is its value as it stands (MLflow's type hints). `form`: the outputs are the columns of a table, answered in
    rows where a protocol has a form for it, the items of a dictionary, or a series without a name.
    """

    kind: InputKind
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classes: tuple[Scalar, ...] | None = None
    params: tuple[ParamSpec, ...] = ()
    name: str = ""
    others: tuple[Signature, ...] = ()
    items: bool = False
    form: Form = ""

    @property
    def n_features(self) -> int | None:
        """Values in one row of plain JSON; None for `tensors` of other shapes than one 2-D input."""
        if self.kind == "columns":
            return len(self.inputs)
        if len(self.inputs) == 1 and len(self.inputs[0].shape) == 2 and self.inputs[0].shape[1] >= 0:
            return self.inputs[0].shape[1]
        return None

    @property
    def is_nameless(self) -> bool:
        """Whether the model takes one tensor without a name of its own, which a client may call what it likes."""
        return len(self.inputs) == 1 and self.inputs[0].name == MATRIX_INPUT and self.kind != "columns"

    @property
    def packed_datatype(self) -> str | None:
        """The one datatype all columns share when a row may travel as one 2-D tensor, else None.

        A `matrix` always may; `columns` may when every column has the same numeric type and none is nullable
        (a float column that takes missing values as NaN still may).
        """
        if self.kind == "tensors":
            single = len(self.inputs) == 1 and len(self.inputs[0].shape) == 2
            return self.inputs[0].datatype if single and self.inputs[0].datatype != "BYTES" else None
        types = {spec.datatype for spec in self.inputs}
        if len(types) != 1:
            return None
        datatype = types.pop()
        if datatype in ("BYTES", "BOOL") or self.items or any(spec.optional for spec in self.inputs):
            return None
        if any(spec.nullable for spec in self.inputs) and not datatype.startswith("FP"):
            return None
        return datatype


def fed_by(one: Signature, other: Signature) -> Signature:
    """`one` with the inputs of `other` where rows read for `other` are rows of `one` as they stand, else `one` itself.

    They are where both take the same inputs, and where floats of `one` may be missing and those of `other` may not: a
    missing float is NaN, and has no tensor beside it.
    """
    if len(one.inputs) != len(other.inputs):
        return one
    takes = all(
        mine == theirs or (not mine.has_mask and theirs == msgspec.structs.replace(mine, nullable=False))
        for mine, theirs in zip(one.inputs, other.inputs, strict=True)
    )
    return msgspec.structs.replace(one, inputs=other.inputs) if takes else one
