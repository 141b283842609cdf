"""The signature that `MLmodel` keeps, as a draft of inputs with values that fit them. Imports no MLflow."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tidegate.packaging.mlmodel import PackageLayout
from tidegate.runtimes.base.runtime import v2_datatype
from tidegate.runtimes.signatures.drafts import SignatureDraft, matrix
from tidegate.runtimes.signatures.hints import Hint
from tidegate.wire.signature import MATRIX_INPUT, Holds, ParamSpec, TensorSpec

_DATATYPES = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
}
_JSON = frozenset({"array", "object", "map", "any"})
_HOLDS: dict[str, Holds] = {"binary": "binary", "datetime": "datetime"}
_VALUES = 4
"""How many values are made up for a column whose values are objects, bytes or times."""


def mlflow_draft(layout: PackageLayout) -> SignatureDraft | None:
    """The inputs of the signature in `MLmodel`; None when it has none, or types that are not known here."""
    text = (layout.mlmodel.get("signature") or {}).get("inputs")
    try:
        inputs = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if not isinstance(inputs, list) or not inputs or not all(isinstance(item, dict) for item in inputs):
        return None
    if all(item.get("type") == "tensor" for item in inputs):
        return _tensors(inputs)
    if not all(item.get("type") in _DATATYPES or item.get("type") in _JSON for item in inputs):
        return None
    named = [bool(item.get("name")) for item in inputs]
    if any(named):
        return _columns(inputs, [item["name"] for item in inputs]) if all(named) else None
    return _unnamed(inputs, layout)


def _unnamed(inputs: list[dict[str, Any]], layout: PackageLayout) -> SignatureDraft:
    """A matrix where all are numbers. Only MLflow itself insists on the type of each."""
    hinted = layout.mlmodel.get("is_signature_from_type_hint") is True
    types = {item["type"] for item in inputs}
    is_numeric = all(_DATATYPES.get(kind, "BYTES") != "BYTES" for kind in types)
    if is_numeric and not hinted and (len(types) == 1 or layout.format != "pyfunc"):
        datatype = _DATATYPES[inputs[0]["type"]] if layout.format == "pyfunc" else "FP64"
        return matrix(len(inputs), datatype=datatype)
    if len(inputs) > 1:
        return _columns(inputs, [str(place) for place in range(len(inputs))])
    return _columns(inputs, [MATRIX_INPUT], items=True, hinted=hinted)


def _columns(
    inputs: list[dict[str, Any]], names: list[str], *, items: bool = False, hinted: bool = False
) -> SignatureDraft:
    specs = tuple(_spec(name, item, hinted=hinted) for name, item in zip(names, inputs, strict=True))
    hints = [_hint(item, spec) for item, spec in zip(inputs, specs, strict=True)]
    return SignatureDraft("columns", specs, hints, items=items)


def _spec(name: str, item: dict[str, Any], *, hinted: bool) -> TensorSpec:
    """`hinted`: the model's own type hint reads bytes and times out of the text that JSON has."""
    kind = item["type"]
    optional = item.get("required") is False
    return TensorSpec(
        name,
        _DATATYPES.get(kind, "BYTES"),
        (-1,),
        nullable=optional or (hinted and kind == "any"),
        json=kind in _JSON,
        holds="" if hinted else _HOLDS.get(kind, ""),
        optional=optional,
    )


def _hint(item: dict[str, Any], spec: TensorSpec) -> Hint:
    """Nothing for numbers and text, which are guessed as those of any model."""
    if not spec.json and item["type"] not in _HOLDS:
        return Hint()
    return Hint(values=[_value(item, number) for number in range(_VALUES)], exact=True)


def _value(item: dict[str, Any], number: int) -> Any:
    """A value of this type as JSON has it; other numbers give other values."""
    kind = item.get("type")
    if kind == "array":
        return [_value(item.get("items") or {}, number + place) for place in range(1 + number % 2)]
    if kind == "object":
        properties = item.get("properties") or {}
        return {
            name: _value(about, number)
            for name, about in properties.items()
            if about.get("required", True) or number % 2 == 0
        }
    if kind == "any":
        return (f"text {number}", number, {"key": f"text {number}"}, [f"text {number}"])[number % 4]
    if kind == "map":
        return {f"key{place}": _value(item.get("values") or {}, number + place) for place in range(1 + number % 2)}
    simple = {
        "boolean": number % 2 == 0,
        "integer": number,
        "long": number,
        "float": number + 0.5,
        "double": number + 0.5,
        "binary": ("Ynl0ZXM=", "Yg==", "", "Ynl0ZQ==")[number % 4],
        "datetime": f"2024-01-0{1 + number % 9}T00:00:00",
    }
    return simple.get(str(kind), f"text {number}")


def mlflow_params(layout: PackageLayout) -> tuple[ParamSpec, ...]:
    """The params of the signature in `MLmodel`. Only MLflow's own loader passes them on."""
    text = (layout.mlmodel.get("signature") or {}).get("params") if layout.format == "pyfunc" else None
    try:
        params = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return ()
    found = [item for item in params or [] if isinstance(item, dict) and item.get("name")]
    return tuple(
        ParamSpec(str(item["name"]), str(item.get("type") or item.get("dtype")), item.get("shape") is not None)
        for item in found
    )


def _tensors(inputs: list[dict[str, Any]]) -> SignatureDraft:
    specs = []
    for item in inputs:
        spec = item.get("tensor-spec") or {}
        shape = (-1, *spec.get("shape", [-1])[1:])
        dtype = np.dtype(object) if spec.get("dtype") in ("object", "str") else np.dtype(spec.get("dtype", "float64"))
        specs.append(TensorSpec(item.get("name") or MATRIX_INPUT, v2_datatype(dtype), shape))
    if len(specs) == 1 and len(specs[0].shape) == 2 and specs[0].datatype != "BYTES":
        return SignatureDraft("matrix", (TensorSpec(MATRIX_INPUT, specs[0].datatype, specs[0].shape),))
    return SignatureDraft("tensors", tuple(specs))
