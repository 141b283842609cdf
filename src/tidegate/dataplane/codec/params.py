"""Params of a prediction (MLflow): checked against the signature, then one JSON text that travels with the call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from tidegate.dataplane.base.stepwise import each
from tidegate.dataplane.base.words import listing, type_name
from tidegate.dataplane.calls.call import SIGNATURE_PARAM, Destination
from tidegate.errors import MalformedRequest, UnfitInput
from tidegate.wire.signature import ParamSpec, Signature

PARAMETER = "tidegate_params"
"""The V2 request parameter under which all of them travel from gateway to replica, as JSON text."""

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "boolean": ((bool,), "a boolean"),
    "integer": ((int,), "a whole number"),
    "long": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "double": ((int, float), "a number"),
    "string": ((str,), "a text"),
    "datetime": ((str,), "a time as text"),
    "object": ((dict,), "an object"),
}
_BITS = {"integer": 31, "long": 63}


def fit_params(given: Mapping[str, Any], signature: Signature) -> str | None:
    """The params as JSON with sorted keys; None when there are none. Raises `UnfitInput` that names the param."""
    if not given:
        return None
    specs = {spec.name: spec for spec in signature.params}
    for name, value in given.items():
        if name not in specs:
            raise UnfitInput(
                f"the model has no param {name!r}; it has {listing(sorted(specs))}",
                param=name,
                expected=sorted(specs),
                got=name,
            )
        _check(value, specs[name])
    return orjson.dumps(given, option=orjson.OPT_SORT_KEYS).decode()


def params_of(parameters: Mapping[str, Any], signature: Signature) -> str | None:
    """The params among a V2 request's parameters: each by its own name, or all as one JSON text (`PARAMETER`)."""
    if not signature.params:
        return None
    given = {spec.name: parameters[spec.name] for spec in signature.params if spec.name in parameters}
    return fit_params(given | _packed(parameters), signature)


def _packed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    text = parameters.get(PARAMETER)
    if text is None:
        return {}
    try:
        packed = orjson.loads(text)
    except (orjson.JSONDecodeError, TypeError) as error:
        raise MalformedRequest(f"the parameter {PARAMETER!r} is no JSON text: {error}") from None
    if not isinstance(packed, dict):
        raise MalformedRequest(f"the parameter {PARAMETER!r} holds {type_name(packed)} and no object")
    return packed


def under_signature(parameters: Mapping[str, Any], destination: Destination) -> Destination:
    """The version under the signature that a V2 request's parameters name; raises `UnfitInput` for one it has not."""
    if not destination.others:
        return destination
    name = parameters.get(SIGNATURE_PARAM)
    return destination.under(_packed(parameters).get(SIGNATURE_PARAM) if name is None else name)


def _check(value: Any, spec: ParamSpec) -> None:
    if not spec.many:
        return _check_one(value, spec, spec.name)
    if not isinstance(value, list):
        raise _unfit(value, spec, spec.name, "a list")
    for index, item in enumerate(each(value)):
        _check_one(item, spec, f"{spec.name}[{index}]")
    return None


def _check_one(value: Any, spec: ParamSpec, where: str) -> None:
    types, what = _TYPES.get(spec.type, ((object,), "a value"))
    fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
    if not fits:
        raise _unfit(value, spec, where, what)
    if spec.type in _BITS and not -(1 << _BITS[spec.type]) <= value < 1 << _BITS[spec.type]:
        raise _unfit(value, spec, where, f"a whole number of {_BITS[spec.type] + 1} bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise _unfit(value, spec, where, "a finite number")


def _unfit(value: Any, spec: ParamSpec, where: str, what: str) -> UnfitInput:
    shown = repr(value) if isinstance(value, str | int | float) and len(repr(value)) <= 40 else type_name(value)
    return UnfitInput(
        f"param {where!r} is {shown}, where {what} is expected ({spec.type})",
        param=spec.name,
        expected=spec.type,
        got=shown,
    )
