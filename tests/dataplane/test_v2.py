"""V2 bodies: what is encoded for the hop comes back as it was, for every datatype."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tidegate.dataplane.base.tensors import STRINGS_MAX, datatype_of, dtype_of, floats_array, from_raw, to_raw
from tidegate.dataplane.codec.v2 import MISSING, V2Request, decode_request, decode_response, encode_request
from tidegate.dataplane.codec.v2_answers import encode_response
from tidegate.errors import MalformedRequest, TooLarge, UnfitInput

NUMBERS = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)


@pytest.mark.parametrize("datatype", NUMBERS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_numbers_cross_the_hop_unchanged(datatype: Any, data: Any) -> None:
    array = data.draw(arrays.arrays(dtype_of(datatype), SHAPES))
    header, raw = encode_request({"a": array, "b": array}, frozenset({"y"}))
    message = decode_request(b"".join([header, *raw]), len(header))
    assert [output.name for output in message.request.outputs or []] == ["y"]
    for name in "ab":
        assert message.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(message.tensors[name], array)


@settings(max_examples=25, deadline=None)
@given(items=st.lists(st.text() | st.binary() | st.none(), max_size=5))
def test_texts_bytes_and_missing_ones_cross_the_hop(items: Any) -> None:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    body, length = encode_response({}, V2Request([], parameters={"binary_data_output": True}), {"t": array})
    got = decode_response(body, length)["t"].tolist()
    assert [item.encode() if isinstance(item, str) else item for item in got] == [
        item.encode() if isinstance(item, str) else item for item in items
    ]


@pytest.mark.parametrize("places", [[2], [-1], [True], "0", {"0": 1}])
def test_missing_texts_that_are_nowhere_are_refused(places: Any) -> None:
    output = {"name": "t", "shape": [2], "datatype": "BYTES", "data": ["a", "b"], "parameters": {MISSING: places}}
    with pytest.raises(MalformedRequest, match=MISSING):
        decode_response(json.dumps({"outputs": [output]}).encode(), None)


def test_a_foreign_servers_null_is_a_missing_text() -> None:
    output = {"name": "t", "shape": [2], "datatype": "BYTES", "data": ["a", None]}
    assert decode_response(json.dumps({"outputs": [output]}).encode(), None)["t"].tolist() == ["a", None]


def test_bf16_is_held_as_fp32() -> None:
    raw = to_raw(np.array([1.5, -2.0], dtype="<f4"), "BF16")
    assert len(raw) == 4
    assert from_raw(raw, "BF16", (2,), "x").tolist() == [1.5, -2.0]


def test_datatypes_of_arrays() -> None:
    assert datatype_of(np.array(["a"])) == "BYTES"
    assert datatype_of(np.array([1], dtype=">i4")) == "INT32"
    with pytest.raises(UnfitInput):
        datatype_of(np.array([1j]))


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff\xff\xff\xffabc", b"\x00\x00\x00\x00\x00"])
def test_damaged_texts_are_refused(data: Any) -> None:
    with pytest.raises(UnfitInput, match="BYTES"):
        from_raw(data, "BYTES", (1,), "t")


@pytest.mark.parametrize(("length", "says"), [(10**9, "has"), (3, "JSON"), (-1, "has")])
def test_a_header_length_that_disagrees_is_refused(length: Any, says: Any) -> None:
    with pytest.raises(MalformedRequest, match=says):
        decode_request(b'{"inputs": []}', length)


def test_binary_data_nobody_claims_is_refused() -> None:
    header, raw = encode_request({"a": np.ones(2)}, None)
    with pytest.raises(MalformedRequest, match="account for 16"):
        decode_request(b"".join([header, *raw, b"more"]), len(header))


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"\xff\xff\xff\xffab", 1),  # -1, or four gigabytes
        (b"\x00\x00\x00\x80", 1),
        (b"\x03\x00\x00\x00ab", 1),
        (b"\x02\x00\x00\x00abc", 1),
        (b"\x06\x00\x00\x00ab" + b"\x00\x00\x00\x00", 2),  # the first one ends in the middle of the second's length
        (b"\x01\x00\x00\x00a\x01\x00", 2),
        (b"", 1),
        (b"\x00\x00\x00\x00", 1 << 19),
        (b"\x00\x00\x00\x00", 0),
    ],
)
def test_lengths_of_raw_strings_that_disagree_with_the_data_are_refused(data: bytes, count: int) -> None:
    for tail in (b"", "é".encode()):  # both ways of reading
        with pytest.raises(UnfitInput, match="'t'"):
            from_raw(data + tail, "BYTES", (count,), "t")


def test_more_raw_strings_than_the_bound_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="'t'"):
        from_raw(bytes(4 * (STRINGS_MAX + 1)), "BYTES", (STRINGS_MAX + 1,), "t")


@pytest.mark.parametrize("strings", [["a", "", "b" * 127], ["é", "x" * 300], ["a" * 128, b"\xff\xfe", "ü"], []])
def test_raw_strings_come_back_as_they_were(strings: list[Any]) -> None:
    array = np.array(strings, dtype=object)
    assert from_raw(to_raw(array, "BYTES"), "BYTES", array.shape, "t").tolist() == strings


def test_numbers_written_as_text_are_arrays_that_may_be_written_to() -> None:
    """As they were on every way to a model so far: one that works on its input in place is none the worse for it."""
    for datatype in ("FP64", "FP32", "INT64"):
        for data in ([1, 2.5, 3, 4] if datatype != "INT64" else [1, 2, 3, 4], [[1, 2], [3, 4]]):
            tensor = {"name": "x", "shape": [2, 2], "datatype": datatype, "data": data}
            array = decode_request(json.dumps({"inputs": [tensor]}).encode(), None).tensors["x"]
            array *= 2
            assert array.ravel()[-1] == 8


@pytest.mark.parametrize(
    "values", [[], [1], [0.1, -0.0, 1e308, 5e-324], [2**53 + 1, -(2**1023)], [True, 1.5], [[1.0, 2], [3, 4]]]
)
def test_lists_of_floats_are_what_numpy_makes_of_them(values: Any) -> None:
    np.testing.assert_array_equal(floats_array(values), np.array(values, dtype=np.float64), strict=True)


@pytest.mark.parametrize("values", [["a"], [1.0, {}], [[1.0], 2.0], [10**400], [1.0, -(10**400)]])
def test_lists_that_numpy_refuses_are_refused_as_it_does(values: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)) as ours:
        floats_array(values)
    with pytest.raises((ValueError, TypeError, OverflowError)) as numpys:
        np.array(values, dtype=np.float64)
    assert type(ours.value) is type(numpys.value)


@pytest.mark.parametrize("many", [1, 20_000])
def test_bytes_that_are_no_text_have_no_json_and_go_as_they_are(many: int) -> None:
    array = np.empty(many, dtype=object)
    array[:] = [b"\xff\x00"] * many
    with pytest.raises(UnfitInput, match=r"output 't' holds bytes that are no UTF-8.*'binary_data' true"):
        encode_response({}, V2Request([]), {"t": array})
    body, length = encode_response({}, V2Request([], parameters={"binary_data_output": True}), {"t": array})
    assert length is not None
    assert body[length:] == b"\2\0\0\0\xff\x00" * many
