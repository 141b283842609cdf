"""The plain JSON edge: `{"features": ..., "model_version"?: ..., "user_id"?: ...}` to `{"prediction": [...], ...}`."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from tidegate.dataplane.base.stepwise import each, pause
from tidegate.dataplane.base.tensors import base64_of, from_json_rows
from tidegate.dataplane.calls.call import Call, Destination
from tidegate.dataplane.calls.directory import Service
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.dataplane.codec.columns import wrong_width
from tidegate.dataplane.codec.fit import Fitted, fit_values
from tidegate.dataplane.codec.keys import check_keys
from tidegate.dataplane.codec.numbers import NumberTexts, TakesRows, arrays_of, fit_numbers
from tidegate.dataplane.codec.ranges import check_floats
from tidegate.dataplane.codec.written import WrittenRows, document
from tidegate.dataplane.pipeline.assignment import choose, unit_of
from tidegate.dataplane.pipeline.infer import Exchange, check_json, new_call
from tidegate.errors import MalformedRequest, UnfitInput


class _Row(msgspec.Struct):
    """The commonest request by far: one row of numbers."""

    features: list[float]
    model_version: str = "latest"
    user_id: str | int | None = None


class _PlainRows(msgspec.Struct):
    features: list[list[float]]
    model_version: str = "latest"
    user_id: str | int | None = None


class _Anything(msgspec.Struct):
    features: Any
    model_version: str | int = "latest"
    user_id: str | int | None = None


_row = msgspec.json.Decoder(_Row)
_rows = msgspec.json.Decoder(_PlainRows)
_anything = msgspec.json.Decoder(_Anything)


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class PlainEdge(TakesRows):
    """Plain JSON. `exchange.meta` is True for one un-nested row, whose confidence is a number and not a list."""

    arrays = arrays_of("features")

    def decode(self, exchange: Exchange, service: Service, numbers: NumberTexts | None = None) -> Call:
        """Try the shapes that need no look at each value first; what fits none of them gets the careful way."""
        check_json(exchange)
        body = exchange.body if numbers is None else numbers.body
        message = _decode(body)
        check_keys(body)
        unit = unit_of(exchange, message.user_id)
        destination = choose(service, exchange, str(message.model_version), unit)
        if numbers is not None:
            fitted, exchange.meta = fit_numbers(numbers, message.features, destination)
        elif type(message) is _Row and destination.takes_floats:
            if len(message.features) != destination.n_features:
                raise _width_error(destination.n_features or 0, message.features)
            exchange.meta = True
            rows = [message.features]
            check_floats(rows, destination)
            fitted = Fitted(1, rows)
        elif type(message) is _PlainRows and destination.takes_floats:
            for index, row in enumerate(each(message.features)):
                if len(row) != destination.n_features:
                    raise wrong_width(index, destination.n_features or 0, len(row))
            exchange.meta = False
            check_floats(message.features, destination)
            fitted = Fitted(len(message.features), packed=message.features)
        else:
            features = message.features if type(message) is _Anything else _anything.decode(body).features
            fitted, exchange.meta = fit_values(features, destination)
        return new_call(exchange, destination, fitted)

    def encode(self, exchange: Exchange, call: Call, outputs: Outputs, first_row: int) -> bytes:
        """Rows `first_row` onwards; numbers that are not finite become null."""
        if exchange.meta and not call.destination.table:
            texts = outputs.texts if outputs.texts is not None else _write_texts(outputs, call.destination)
            if texts:
                return b"".join((texts[first_row], orjson.dumps(exchange.request_id), b"}"))
        packed = call.destination.json_outputs

        def change(name: str, values: list[Any]) -> list[Any]:
            return from_json_rows(values) if name in packed else values

        rows = WrittenRows(outputs, first_row, first_row + call.rows, change, _dumps)
        if call.destination.table:
            answer: dict[str, Any] = {"prediction": rows.records(list(outputs.tensors))}
        else:
            name = outputs.prediction_name
            answer = {"prediction": rows.columns([name])[name]}
        confidences = _confidences(rows, call.destination, one=exchange.meta)
        if confidences is not None:
            answer["confidence"] = confidences
        answer["model_version"] = call.destination.identity.version
        answer["id"] = exchange.request_id
        return document(answer, _dumps) if outputs.is_long else _dumps(answer)


def _confidences(rows: WrittenRows, destination: Destination, *, one: bool) -> Any:
    outputs, name = rows.outputs, destination.probabilities_name
    if outputs.is_long and not one and name is not None and outputs.has_rows_of_numbers(name):
        return rows.highest(name)
    confidences = outputs.confidences(name)
    if confidences is None:
        return None
    return confidences[rows.first] if one else confidences[rows.first : rows.end]


def _decode(body: bytes | bytearray) -> _Row | _PlainRows | _Anything:
    try:
        return _row.decode(body)
    except _UNREADABLE:
        pass
    pause()
    try:
        rows = _rows.decode(body)
        if rows.features:
            return rows
    except _UNREADABLE:
        pass
    pause()
    try:
        return _anything.decode(body)
    except RecursionError:
        raise MalformedRequest("the JSON is nested too deep") from None
    except msgspec.ValidationError as error:
        raise MalformedRequest(f'the request does not read: {error}; send {{"features": [...]}}') from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"the body is no JSON: {error}") from None


def _write_texts(outputs: Outputs, destination: Destination) -> list[bytes]:
    """The answers to requests of one row, up to their ids, for all rows of a batch; none where a row is no number.

    They are what `encode` would write: a list's numbers are written as each of them alone is, with commas in between.
    """
    name, found = outputs.prediction_name, list[bytes]()
    predictions, confidences = outputs.tensors[name], outputs.confidences(destination.probabilities_name)
    if predictions.ndim == 1 and predictions.dtype.kind in "iuf" and name not in destination.json_outputs:
        version = orjson.dumps(destination.identity.version)
        answered = orjson.dumps(outputs.as_list(name))[1:-1].split(b",")
        if confidences is None:
            found = [b'{"prediction":[%b],"model_version":%b,"id":' % (one, version) for one in answered]
        else:
            sure = orjson.dumps(confidences)[1:-1].split(b",")
            form = b'{"prediction":[%b],"confidence":%b,"model_version":%b,"id":'
            found = [form % (one, share, version) for one, share in zip(answered, sure, strict=True)]
    outputs.texts = found
    return found


def _width_error(expected: int, features: list[float]) -> UnfitInput:
    if not features:
        return UnfitInput("'features' is empty: send at least one row", input="features", expected=expected, got=0)
    return wrong_width(0, expected, len(features))


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """JSON for what it has no type for: bytes that are no text as TensorFlow's API has them."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64_of(value)
