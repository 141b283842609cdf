"""A form for one row of a model's signature, and the row that was filled in. Pure.

Rows that no form can hold (tensors, very wide ones) are written as JSON in one field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.errors import InvalidArgument

FIELDS_MAX = 64
WHOLE = "row"
"""The name of the one field that has the row as JSON."""


@dataclass(frozen=True)
class FormField:
    """One value of the row. `kind` is number, whole, text or flag; an empty one is a missing value."""

    name: str
    label: str
    kind: str
    datatype: str
    value: str


@dataclass(frozen=True)
class RowForm:
    """Fields of a row, or the row as JSON where there are none. `named`: the row goes by column, not by place."""

    fields: tuple[FormField, ...] = ()
    named: bool = False
    text: str = ""

    def filled(self, form: Mapping[str, str]) -> RowForm:
        """As somebody has filled it in."""
        kept = tuple(
            FormField(one.name, one.label, one.kind, one.datatype, form.get(one.name, one.value)) for one in self.fields
        )
        return RowForm(kept, self.named, form.get(WHOLE, self.text))

    def row(self) -> Any:
        """The row, for a prediction. Raises `InvalidArgument` for a value that is none of its kind."""
        if not self.fields:
            return _parsed(self.text)
        values = [_value(one) for one in self.fields]
        return {one.label: value for one, value in zip(self.fields, values, strict=True)} if self.named else values


def form_of(signature: Mapping[str, Any], example: Any) -> RowForm:
    """The form for one row, with an example filled in."""
    whole = RowForm(text=json.dumps(example, ensure_ascii=False) if example is not None else "")
    inputs: Sequence[Mapping[str, Any]] = signature.get("inputs") or ()
    kind = signature.get("kind")
    if kind == "columns" and not signature.get("items") and _fits(inputs):
        shown = example if isinstance(example, Mapping) else {}
        columns = [
            _field(place, str(spec["name"]), spec["datatype"], shown.get(spec["name"], _at(example, place)))
            for place, spec in enumerate(inputs)
        ]
        return RowForm(tuple(columns), named=True)
    if kind == "matrix" and len(inputs) == 1 and isinstance(example, list) and 0 < len(example) <= FIELDS_MAX:
        return RowForm(tuple(_field(n, f"x{n}", inputs[0]["datatype"], value) for n, value in enumerate(example)))
    return whole


def _fits(inputs: Sequence[Mapping[str, Any]]) -> bool:
    return 0 < len(inputs) <= FIELDS_MAX and all(len(one["shape"]) == 1 and not one.get("json") for one in inputs)


def _at(example: Any, place: int) -> Any:
    return example[place] if isinstance(example, list) and place < len(example) else None


def _field(place: int, label: str, datatype: str, value: Any) -> FormField:
    kind = "flag" if datatype == "BOOL" else "text" if datatype == "BYTES" else _number(datatype)
    return FormField(f"f{place}", label, kind, datatype, _text(value))


def _number(datatype: str) -> str:
    return "whole" if datatype.startswith(("INT", "UINT")) else "number"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value!r}" if isinstance(value, float) else str(value)


def _value(one: FormField) -> Any:
    """As plain JSON has it; what the model takes of it, the gateway says."""
    if one.kind == "text":
        return one.value
    if not one.value.strip():
        return None
    if one.kind == "flag":
        if one.value not in ("true", "false"):
            raise InvalidArgument(f"{one.label}: {one.value[:40]!r} is neither true nor false", field=one.label)
        return one.value == "true"
    try:
        if "_" in one.value:  # Python's way of writing numbers, and nobody else's
            raise ValueError
        value = int(one.value) if one.kind == "whole" else float(one.value)
    except ValueError:
        raise InvalidArgument(
            f"{one.label}: {one.value[:40]!r} is no number ({one.datatype})", field=one.label
        ) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(
            f"{one.label}: a missing value is an empty field, not {one.value[:40]!r}", field=one.label
        )
    return value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the row is no JSON: {error}", field="row") from None


def _finite(text: str) -> float:
    """A number that is too large would go out as a missing value."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is larger than any number of the model's")
    return value


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON: a missing value is null")
