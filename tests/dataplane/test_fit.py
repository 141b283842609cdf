"""Values and tensors against signatures: what fits, what is refused, and that nothing is cast silently."""

from typing import Any

import numpy as np
import orjson
import pytest

from tidegate.dataplane.calls.call import Destination, Identity
from tidegate.dataplane.codec import fit, frames
from tidegate.dataplane.codec.fit_tensors import fit_tensors
from tidegate.dataplane.codec.frames import fit_csv
from tidegate.dataplane.codec.v2 import decode_request
from tidegate.errors import UnfitInput
from tidegate.wire.signature import LEFT_OUT, MISSING_SUFFIX, Signature, TensorSpec

OUT = (TensorSpec("prediction", "FP64", (-1,)),)
MIXED = Signature(
    "columns",
    (
        TensorSpec("age", "INT64", (-1,)),
        TensorSpec("income", "FP64", (-1,), nullable=True),
        TensorSpec("zip", "BYTES", (-1,)),
        TensorSpec("children", "INT64", (-1,), nullable=True),
        TensorSpec("member", "BOOL", (-1,)),
    ),
    OUT,
)
FLOATS = Signature("columns", tuple(TensorSpec(name, "FP64", (-1,)) for name in "abc"), OUT)
IMAGE = Signature("tensors", (TensorSpec("image", "FP32", (-1, 2, 2)),), OUT)
TWO = Signature("tensors", (TensorSpec("x", "FP32", (-1, 2)), TensorSpec("y", "INT64", (-1,))), OUT)


NO_BATCHER: Any = None


def values_of(features: Any, destination: Destination) -> Any:
    return fit.fit_values(features, destination)


def tensors_of(tensors: Any, nulls: Any, destination: Destination) -> Any:
    return fit_tensors(tensors, nulls, destination)


def to(signature: Any) -> Any:
    return Destination(Identity("e", "m", "1", "1"), signature, None, NO_BATCHER)


RECORD = {"age": 41, "income": 1000.5, "zip": "01234", "children": None, "member": True}


@pytest.mark.parametrize("features", [RECORD, [RECORD], list(RECORD.values()), [list(RECORD.values())]])
def test_records_and_lists_in_column_order_are_the_same_row(features: Any) -> None:
    fitted, single = values_of(features, to(MIXED))
    assert single == (not isinstance(features, list) or not isinstance(features[0], dict | list))
    assert fitted.rows == 1
    assert fitted.tensors["age"].tolist() == [41]
    assert fitted.tensors["zip"].tolist() == ["01234"]
    assert fitted.tensors["children__missing"].tolist() == [True]
    assert fitted.tensors["member"].dtype == bool


def test_a_missing_float_is_nan() -> None:
    fitted, _ = values_of({**RECORD, "income": None}, to(MIXED))
    assert np.isnan(fitted.tensors["income"][0])


def test_columns_of_one_type_travel_packed_in_training_order() -> None:
    fitted, _ = values_of([{"c": 3, "a": 1, "b": 2.5}], to(FLOATS))
    assert fitted.packed.tolist() == [[1, 2.5, 3]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"age": 41.5}, "41.5 (a number) in row 0, where INT64"),
        ({"age": "41"}, "text"),
        ({"age": True}, "a boolean"),
        ({"age": None}, "takes no missing values"),
        ({"age": 2**70}, "INT64"),
        ({"zip": 1234}, "a number"),
        ({"member": 1}, "BOOL"),
        ({"income": "much"}, "FP64"),
        ({"extra": 1}, "'extra'"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(change: Any, says: Any) -> None:
    with pytest.raises(UnfitInput, match=r".*") as caught:
        values_of({**RECORD, **change}, to(MIXED))
    assert says in caught.value.message
    assert next(iter(change)) in caught.value.message


def test_a_missing_column_is_named() -> None:
    record = {key: value for key, value in RECORD.items() if key != "zip"}
    with pytest.raises(UnfitInput, match="lacks 'zip'"):
        values_of([RECORD, record], to(MIXED))


def test_whole_floats_are_taken_for_integers() -> None:
    fitted, _ = values_of({**RECORD, "age": 41.0}, to(MIXED))
    assert fitted.tensors["age"].dtype == np.int64


def test_images_one_or_several() -> None:
    one, single = values_of([[1, 2], [3, 4]], to(IMAGE))
    assert (one.rows, single) == (1, True)
    many, single = values_of([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], to(IMAGE))
    assert (many.rows, single) == (2, False)
    assert many.tensors["image"].dtype == np.float32
    with pytest.raises(UnfitInput, match="shape"):
        values_of([[1, 2, 3], [3, 4, 5]], to(IMAGE))


def test_several_inputs_come_as_records() -> None:
    fitted, _ = values_of([{"x": [1, 2], "y": 3}, {"x": [4, 5], "y": 6}], to(TWO))
    assert fitted.tensors["y"].tolist() == [3, 6]
    with pytest.raises(UnfitInput, match="send records"):
        values_of([1, 2, 3], to(TWO))


def column_tensors(**change: Any) -> Any:
    tensors = {
        "age": np.array([1, 2], dtype="<i8"),
        "income": np.array([1.5, np.nan]),
        "zip": np.array(["01", "02"], dtype=object),
        "children": np.array([0, 1], dtype="<i8"),
        "member": np.array([True, False]),
    }
    return {name: array for name, array in (tensors | change).items() if array is not None}


def test_one_tensor_per_column() -> None:
    fitted = tensors_of(column_tensors(), {}, to(MIXED))
    assert fitted.rows == 2
    assert fitted.tensors["children__missing"].tolist() == [False, False]
    masked = tensors_of(column_tensors(children__missing=np.array([True, False])), {}, to(MIXED))
    assert masked.tensors["children__missing"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"zip": None}, "missing 'zip'"),
        ({"other": np.zeros(2)}, "unknown 'other'"),
        ({"age": np.array([1.0, 2.0])}, "is FP64, but the model takes INT64"),
        ({"zip": np.array([1, 2])}, "takes BYTES"),
        ({"age": np.array([1], dtype="<i8")}, "number of rows"),
        ({"age": np.ones((2, 2), dtype="<i8")}, "shape [2, 2]"),
    ],
)
def test_column_tensors_that_do_not_fit(change: Any, says: Any) -> None:
    with pytest.raises(UnfitInput) as caught:
        tensors_of(column_tensors(**change), {}, to(MIXED))
    assert says in caught.value.message


@pytest.mark.parametrize("name", ["input", "anything"])
def test_one_2d_tensor_of_any_name_in_column_order(name: Any) -> None:
    assert tensors_of({name: np.array([[1.0, 2, 3]])}, {}, to(FLOATS)).packed.tolist() == [[1, 2, 3]]
    with pytest.raises(UnfitInput, match="4 columns, but the model takes 3"):
        tensors_of({name: np.ones((1, 4))}, {}, to(FLOATS))


def test_numbers_are_widened_but_never_narrowed() -> None:
    matrix = Signature("matrix", (TensorSpec("input", "FP32", (-1, 2)),), OUT)
    assert tensors_of({"input": np.ones((1, 2), dtype="<f2")}, {}, to(matrix)).packed.dtype == np.float32
    with pytest.raises(UnfitInput, match="FP64, but the model takes FP32"):
        tensors_of({"input": np.ones((1, 2))}, {}, to(matrix))


def test_integer_columns_take_whole_floats_of_a_2d_tensor_and_refuse_others() -> None:
    two = Signature("columns", (TensorSpec("n", "INT64", (-1,)), TensorSpec("x", "FP64", (-1,))), OUT)
    assert tensors_of({"m": np.array([[3.0, 0.5]])}, {}, to(two)).tensors["n"].tolist() == [3]
    with pytest.raises(UnfitInput, match="'n' takes INT64"):
        tensors_of({"m": np.array([[3.5, 0.5]])}, {}, to(two))


NULLABLE = Signature(
    "columns",
    (
        TensorSpec("age", "INT64", (-1,), nullable=True),
        TensorSpec("income", "FP64", (-1,), nullable=True),
        TensorSpec("zip", "BYTES", (-1,), nullable=True),
        TensorSpec("rooms", "INT64", (-1,)),
    ),
    OUT,
)


def v2(*inputs: tuple[str, str, list[Any]]) -> Any:
    """Inputs of one axis as V2's JSON, decoded."""
    items = [
        {"name": name, "datatype": datatype, "shape": [len(data)], "data": data} for name, datatype, data in inputs
    ]
    return decode_request(orjson.dumps({"inputs": items}), None)


def test_nulls_of_v2_are_missing_values_of_every_datatype() -> None:
    message = v2(
        ("age", "INT64", [None, 3]),
        ("income", "FP64", [1.5, None]),
        ("zip", "BYTES", ["01", None]),
        ("rooms", "INT64", [2, 3]),
    )
    fitted = tensors_of(message.tensors, message.nulls, to(NULLABLE)).tensors
    assert (fitted["age"].tolist(), fitted["age__missing"].tolist()) == ([0, 3], [True, False])
    assert np.isnan(fitted["income"]).tolist() == [False, True]
    assert (fitted["zip"].tolist(), fitted["zip__missing"].tolist()) == (["01", ""], [False, True])


def test_v2_and_plain_json_give_the_model_the_same_where_values_are_missing() -> None:
    record = {"age": None, "income": None, "zip": None, "rooms": 1}
    plain, _ = values_of(record, to(NULLABLE))
    message = v2(*((spec.name, spec.datatype, [record[spec.name]]) for spec in NULLABLE.inputs))
    fitted = tensors_of(message.tensors, message.nulls, to(NULLABLE))
    assert fitted.tensors.keys() == plain.tensors.keys()
    for name, array in plain.tensors.items():
        assert str(fitted.tensors[name]) == str(array), name


@pytest.mark.parametrize("datatype", ["INT64", "BOOL", "BYTES", "FP64"])
def test_a_null_where_the_model_takes_no_missing_values_is_named(datatype: str) -> None:
    value = {"INT64": 1, "BOOL": True, "BYTES": "a", "FP64": 0.5}[datatype]
    message = v2(("x", datatype, [value, None]), ("y", datatype, [value, value]))
    strict = Signature("columns", (TensorSpec("x", datatype, (-1,)), TensorSpec("y", datatype, (-1,))), OUT)
    with pytest.raises(UnfitInput, match="'x' is null in row 1, and the model takes no missing values"):
        tensors_of(message.tensors, message.nulls, to(strict))


def test_a_null_of_a_table_is_one_of_its_own_column() -> None:
    table = {"name": "t", "datatype": "FP64", "shape": [2, 2], "data": [[None, 1], [2, 3]]}
    two = Signature("columns", (NULLABLE.inputs[0], TensorSpec("rooms", "INT64", (-1,))), OUT)
    message = decode_request(orjson.dumps({"inputs": [table]}), None)
    fitted = tensors_of(message.tensors, message.nulls, to(two)).tensors
    assert (fitted["age"].tolist(), fitted["age__missing"].tolist()) == ([0, 2], [True, False])
    assert fitted["rooms"].tolist() == [1, 3]
    message = decode_request(orjson.dumps({"inputs": [table | {"data": [[0, 1], [2, None]]}]}), None)
    with pytest.raises(UnfitInput, match="'rooms' is null in row 1"):
        tensors_of(message.tensors, message.nulls, to(two))


def test_a_clients_own_mask_and_nulls_go_together() -> None:
    message = v2(("age", "INT64", [None, 3, 4]), ("age__missing", "BOOL", [False, True, False]))
    one = Signature("columns", NULLABLE.inputs[:1], OUT)
    fitted = tensors_of(message.tensors, message.nulls, to(one)).tensors
    assert fitted["age__missing"].tolist() == [True, True, False]


def test_the_nulls_of_a_nameless_tensor_follow_its_name() -> None:
    matrix = Signature("matrix", (TensorSpec("input", "FP64", (-1, 2)),), OUT)
    item = {"name": "input-0", "datatype": "FP64", "shape": [1, 2], "data": [1, None]}
    message = decode_request(orjson.dumps({"inputs": [item]}), None)
    with pytest.raises(UnfitInput, match="'input' is null in row 0"):
        tensors_of(message.tensors, message.nulls, to(matrix))


def test_a_null_that_has_no_row_is_refused_for_its_shape() -> None:
    matrix = Signature("matrix", (TensorSpec("input", "FP64", (-1, 2)),), OUT)
    message = decode_request(b'{"inputs":[{"name":"input","datatype":"FP64","shape":[],"data":[null]}]}', None)
    with pytest.raises(UnfitInput, match="shape"):
        tensors_of(message.tensors, message.nulls, to(matrix))


@pytest.mark.parametrize("value", [{"n": 1 << 70}, "\ud800", {"b": b"\xff"}], ids=["70 bits", "half", "bytes"])
def test_json_that_cannot_be_passed_on_is_refused_with_its_row(value: Any) -> None:
    column = Signature("columns", (TensorSpec("a", "BYTES", (-1,), json=True),), OUT)
    with pytest.raises(UnfitInput, match="'a' in row 1 holds what cannot be passed on"):
        values_of([[1], [value]], to(column))


GROWN = Signature("columns", (*FLOATS.inputs, TensorSpec("d", "FP64", (-1,), nullable=True, optional=True)), OUT)


def _columns_of(fitted: Any) -> Any:
    return {name: array.tolist() for name, array in fitted.tensors.items() if name in "abc"}


def test_rows_of_before_the_model_had_another_optional_column_are_taken_as_they_were() -> None:
    fitted, single = values_of([1.0, 2.0, 3.0], to(GROWN))
    assert single
    assert _columns_of(fitted) == {"a": [1.0], "b": [2.0], "c": [3.0]}
    assert fitted.tensors["d" + MISSING_SUFFIX].tolist() == [LEFT_OUT]
    fitted, _ = values_of([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, None]], to(GROWN))
    assert fitted.tensors["d" + MISSING_SUFFIX].tolist() == [0, 1]
    table: Any = frames.fit_frame(range(3), [[1.0], [2.0], [3.0]], to(GROWN))
    listed: Any = frames.fit_instances([[1.0, 2.0, 3.0]], to(GROWN))
    packed: Any = tensors_of({"x": np.array([[1.0, 2.0, 3.0]])}, {}, to(GROWN))
    for other in (table, listed, packed):
        assert _columns_of(other) == {"a": [1.0], "b": [2.0], "c": [3.0]}
        assert other.tensors["d" + MISSING_SUFFIX].tolist() == [LEFT_OUT]


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[1.0] * 5], [[1.0] * 3, [1.0] * 4], [[1.0] * 4, [1.0] * 3]])
def test_rows_of_other_widths_are_refused(rows: Any) -> None:
    with pytest.raises(UnfitInput, match="values, but the model takes"):
        values_of(rows, to(GROWN))
    with pytest.raises(UnfitInput, match="values, but the model takes"):
        frames.fit_instances(rows, to(GROWN))
    middle = Signature("columns", (GROWN.inputs[3], *FLOATS.inputs), OUT)
    with pytest.raises(UnfitInput, match="but the model takes 4"):
        values_of([1.0, 2.0, 3.0], to(middle))


@pytest.mark.parametrize("width", [2, 5])
def test_a_tensor_of_all_columns_has_those_that_the_model_needs_and_no_more(width: int) -> None:
    with pytest.raises(UnfitInput):
        tensors_of({"x": np.ones((1, width))}, {}, to(GROWN))


OPTIONAL = Signature(
    "columns",
    (TensorSpec("o", "INT64", (-1,), nullable=True, optional=True), TensorSpec("a", "FP64", (-1,))),
    OUT,
)


def test_a_mask_without_its_column_is_refused() -> None:
    tensors = {"a": np.ones(2), "o__missing": np.array([True, False])}
    with pytest.raises(UnfitInput, match=r"'o__missing' says which values of 'o' are missing, and 'o' did not come"):
        tensors_of(tensors, {}, to(OPTIONAL))
    del tensors["o__missing"]
    assert tensors_of(tensors, {}, to(OPTIONAL)).rows == 2


@pytest.mark.parametrize("header", [b"a\n", b"o,a\n"])
def test_csv_of_a_header_alone_has_no_rows(header: bytes) -> None:
    with pytest.raises(UnfitInput, match="send at least one row"):
        fit_csv(header, to(OPTIONAL))
    assert fit_csv(b"a\n1.5\n", to(OPTIONAL)).rows == 1
