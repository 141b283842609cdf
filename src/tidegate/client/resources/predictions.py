"""Rows on their way to the gateway and answers on their way back. Knows numpy and pandas only by their methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from tidegate.client.rest.api import decode
from tidegate.client.transport.base import ApiAnswer
from tidegate.errors import InvalidArgument


@dataclass(frozen=True)
class Prediction:
    """The gateway's answer. `prediction` has one item a row; `confidence` is a number for one un-nested row, a list
    for several, None where the model has no probabilities. `raw` is the JSON body as it came.
    """

    prediction: list[Any]
    confidence: float | list[float] | None
    model_version: str
    id: str
    raw: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class TensorInfo:
    """One input or output as V2 metadata names it; -1 in `shape` is any length."""

    name: str
    datatype: str
    shape: list[int]


@dataclass(frozen=True)
class ModelMetadata:
    """V2 metadata of an endpoint."""

    name: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    versions: list[str] = field(default_factory=list)
    platform: str = ""


def encode_request(features: Any, version: str | None) -> bytes:
    """The plain JSON body. Raises `InvalidArgument` for values that JSON cannot hold."""
    body: dict[str, Any] = {"features": plain(features)}
    if version is not None:
        body["model_version"] = str(version)
    try:
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY, default=_jsonable)
    except TypeError as error:
        raise InvalidArgument(f"features cannot be written as JSON: {error}", field="features") from None


def key_header(key: str | None) -> dict[str, str]:
    """The header that names the unit an experiment sticks to, in UTF-8. Raises `InvalidArgument` for control signs."""
    if key is None:
        return {}
    if not key or any(ord(sign) < 32 or ord(sign) == 127 for sign in key):
        raise InvalidArgument(f"key {key!r} is empty or holds control characters", field="key")
    return {"X-Tidegate-Key": key.encode().decode("latin-1")}


def decode_answer(answer: ApiAnswer) -> Prediction:
    """The answer's body, typed."""
    raw = decode(answer.data, dict[str, Any], "gateway")
    version = str(answer.headers.get("X-Tidegate-Version") or raw.get("model_version", ""))
    identity = str(raw.get("id") or answer.headers.get("X-Request-Id", ""))
    return Prediction(list(raw.get("prediction", [])), raw.get("confidence"), version, identity, raw)


def plain(features: Any) -> Any:
    """Lists and dicts of a data frame (records), a series, an array, or what was plain already."""
    if hasattr(features, "columns") and hasattr(features, "to_dict"):
        named = all(isinstance(name, str) for name in features.columns)
        return features.to_dict(orient="records") if named else features.to_numpy().tolist()
    if hasattr(features, "index") and hasattr(features, "to_dict"):
        named = all(isinstance(name, str) for name in features.index)
        return features.to_dict() if named else features.tolist()
    return features.tolist() if hasattr(features, "tolist") else features


def _jsonable(value: Any) -> Any:
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r}")
