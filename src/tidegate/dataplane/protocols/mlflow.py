"""MLflow's scoring protocol: `POST /invocations` with a data frame, tensors or CSV, to `{"predictions": ...}`."""

from __future__ import annotations

from typing import Any

from tidegate.dataplane.base.content_type import kind_of
from tidegate.dataplane.base.stepwise import each, turned
from tidegate.dataplane.base.tensors import from_json_rows
from tidegate.dataplane.calls.call import Call, Destination
from tidegate.dataplane.calls.directory import Service
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.dataplane.codec.fit import Fitted
from tidegate.dataplane.codec.frames import fit_csv, fit_float_rows, fit_frame, fit_inputs, fit_numbers_frame
from tidegate.dataplane.codec.lenient import decode_fields, encode, float_rows_of, lenient_rows, value_of
from tidegate.dataplane.codec.numbers import NumberTexts, TakesRows, arrays_of, fit_numbers
from tidegate.dataplane.codec.params import fit_params
from tidegate.dataplane.pipeline.assignment import choose, unit_of
from tidegate.dataplane.pipeline.infer import Exchange, check_json_size, new_call
from tidegate.errors import MalformedRequest, UnfitInput, WrongContentType
from tidegate.wire.signature import PREDICTION

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class MlflowEdge(TakesRows):
    """MLflow. `exchange.meta` is True for a data frame, which a model of several outputs answers with records."""

    arrays = arrays_of("instances", "inputs", "data", flat=False)

    def decode(self, exchange: Exchange, service: Service, numbers: NumberTexts | None = None) -> Call:
        """Read the one form that the body has, choose a version, fit."""
        body = exchange.body if numbers is None else numbers.body
        is_csv = _is_csv(exchange)
        check_json_size(len(exchange.body), exchange.engine.limits)
        fields = {} if is_csv else decode_fields(body)
        form = "" if is_csv else _form_of(fields)
        given = _params(fields)
        unit = unit_of(exchange, None)
        destination = choose(service, exchange, None, unit)
        exchange.meta = is_csv or form.startswith("dataframe")
        if numbers is not None:
            fitted = _fit_numbers(form, fields.get(form), numbers, destination)  # CSV has none
        else:
            fitted = fit_csv(body, destination) if is_csv else _fit(form, fields[form], destination)
        call = new_call(exchange, destination, fitted)
        if given and destination.signature.params:
            call.params = fit_params(given, destination.signature)
        elif given:
            # As MLflow's own server does for a model that declares no parameters; but here the client can see it.
            exchange.extra_head = b"x-tidegate-ignored: params\r\n"
        return call

    def encode(self, exchange: Exchange, call: Call, outputs: Outputs, first_row: int) -> bytes:
        """What the original model's `predict` returns; numbers that are not finite are literals."""
        table = call.destination.signature.form
        names = [PREDICTION] if PREDICTION in outputs.tensors and not table else list(outputs.tensors)
        destination = call.destination

        def change(name: str, values: list[Any]) -> list[Any]:
            return _changed(name, values, destination)

        rows = lenient_rows(outputs, first_row, first_row + call.rows, change, names)
        predictions: Any
        if table == "series":
            predictions = rows.records(names[:1], ["0"])  # pandas' own name for a column without one
        elif table == "records" or (exchange.meta and not table and names != [PREDICTION]):
            predictions = rows.records(names)
        else:
            predictions = rows.columns(names)
            if names == [PREDICTION] and not table:
                predictions = predictions[names[0]]
        return encode({"predictions": predictions}, rows)


def _changed(name: str, values: list[Any], destination: Destination) -> list[Any]:
    """Values that came as JSON, and bytes that came as text, as what they are."""
    if name in destination.json_outputs:
        values = from_json_rows(values)
    if name in destination.binary_outputs:
        values = [value.encode() if isinstance(value, str) else value for value in values]
    return values


def _is_csv(exchange: Exchange) -> bool:
    kind_of(exchange.headers)  # refuses what a page of another site may send unasked
    given = exchange.headers.get(b"content-type", b"application/json")
    kind, *parameters = [part.strip().lower() for part in given.split(b";")]
    charsets = [
        value.strip(b'" ') for name, _, value in (item.partition(b"=") for item in parameters) if name == b"charset"
    ]
    if kind not in (b"application/json", b"text/csv") or any(one not in (b"utf-8", b"utf8") for one in charsets):
        raise WrongContentType(
            f"content type {given.decode('latin-1')!r} is not taken here: send application/json or text/csv, in UTF-8"
        )
    return kind == b"text/csv"


def _form_of(fields: dict[str, Any]) -> str:
    found = [form for form in FORMS if form in fields]
    if len(found) != 1:
        which = f"it has {' and '.join(found)}" if found else "it has none"
        raise MalformedRequest(f"the request needs exactly one of {', '.join(FORMS)}: {which}")
    return found[0]


def _params(fields: dict[str, Any]) -> dict[str, Any]:
    params = value_of(fields.get("params"))
    if params is not None and not isinstance(params, dict):
        raise MalformedRequest("'params' is no object of names and values")
    return params or {}


def _fit_numbers(form: str, field: Any, numbers: NumberTexts, destination: Destination) -> Fitted:
    if form != "dataframe_split":
        return fit_numbers(numbers, field, destination)[0]
    frame = value_of(field)
    if not isinstance(frame, dict):
        raise UnfitInput("this is no data frame")
    return fit_numbers_frame(frame.get("columns"), fit_numbers(numbers, frame.get("data"), destination), destination)


def _fit(form: str, field: Any, destination: Destination) -> Fitted:
    if form in ("instances", "inputs") and destination.takes_floats:
        rows = float_rows_of(field)
        if rows:
            return fit_float_rows(rows, destination, form)
    value = value_of(field)
    if form in ("instances", "inputs"):  # TensorFlow's form has rows, and MLflow's server takes columns there as well
        return fit_inputs(value, destination, form)
    names, rows = _split(value) if form == "dataframe_split" else _records(value, destination)
    if not rows:
        raise UnfitInput(f"{form!r} has no rows: send at least one", input=form, expected="1 or more rows", got=0)
    return fit_frame(names, turned(rows), destination)


def _split(frame: Any) -> tuple[list[Any], list[list[Any]]]:
    """`{"columns"?: [...], "data": [[...], ...]}`, as `DataFrame.to_json(orient="split")` writes it."""
    if not isinstance(frame, dict) or not isinstance(frame.get("data"), list):
        raise MalformedRequest("'dataframe_split' needs 'columns', a list of names, and 'data', a list of rows")
    rows: list[Any] = frame["data"]
    names = frame.get("columns")
    if names is None:
        names = list(range(len(rows[0]))) if rows and isinstance(rows[0], list) else []
    if not isinstance(names, list):
        raise MalformedRequest("'columns' of 'dataframe_split' is no list of names")
    for index, row in enumerate(each(rows)):
        if not isinstance(row, list) or len(row) != len(names):
            raise MalformedRequest(f"row {index} of 'dataframe_split' is no list of {len(names)} values")
    return names, rows


def _records(records: Any, destination: Destination) -> tuple[list[Any], list[list[Any]]]:
    """`[{...}, ...]`, as `DataFrame.to_json(orient="records")` writes it."""
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in each(records)):
        raise MalformedRequest("'dataframe_records' is no list of records")
    names = list(records[0]) if records else []
    optional = {spec.name for spec in destination.signature.inputs if spec.optional}
    if optional:
        found = dict.fromkeys(names) | dict.fromkeys(key for record in each(records) for key in record)
        names = list(found)
    for index, record in enumerate(each(records)):
        if record.keys() != records[0].keys() and not optional >= record.keys() ^ names:
            raise UnfitInput(f"row {index} of 'dataframe_records' has other columns than row 0", row=index)
    return names, [[record.get(name) for name in each(names)] for record in each(records)]
