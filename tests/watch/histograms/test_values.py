"""Values in one form each, however they were written."""

import datetime as dt
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.values import (
    canonical,
    canonicals,
    column,
    datatype_of,
    is_missing,
    numbers,
    tally,
    text_lengths,
)


@pytest.mark.parametrize("datatype", ["INT64", "UINT8", "FP64", "FP32", "BYTES"])
@pytest.mark.parametrize("value", [1, "1", 1.0, True, np.int8(1), np.float32(1), np.bool_(True), np.str_("1")])
def test_one_is_one_however_it_is_written(value: Any, datatype: str) -> None:
    assert canonical(value, datatype) == "1"


@pytest.mark.parametrize("value", [1, "1", 1.0, True, "true", "True", "1.0", np.bool_(True)])
def test_a_boolean_is_true_however_it_is_written(value: Any) -> None:
    assert canonical(value, "BOOL") == "true"


@pytest.mark.parametrize(
    ("value", "datatype", "text"),
    [
        (-0.0, "FP64", "0"),
        (0.1, "FP64", "0.1"),
        (np.float32(0.1), "FP32", canonical(0.1, "FP32")),
        ("0.1", "FP32", canonical(np.float32(0.1), "FP32")),
        (2**63 - 1, "INT64", "9223372036854775807"),
        ("9223372036854775807", "INT64", "9223372036854775807"),
        ("1.0", "BYTES", "1.0"),
        ("007", "BYTES", "007"),
        (b"caf\xc3\xa9", "BYTES", "café"),
        (dt.date(2026, 11, 29), "BYTES", "2026-11-29"),
        (math.inf, "FP64", "inf"),
    ],
)
def test_values_have_one_text(value: Any, datatype: str, text: str) -> None:
    assert canonical(value, datatype) == text


@pytest.mark.parametrize(
    ("value", "datatype"),
    [(1.5, "INT64"), ("abc", "INT64"), ("abc", "FP64"), (2, "BOOL"), ("yes!", "BOOL"), ([1], "BYTES"), ({}, "FP64")],
)
def test_values_of_another_type_are_told(value: Any, datatype: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical(value, datatype)


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")])
def test_what_is_missing_is_missing(value: Any) -> None:
    assert is_missing(value)
    assert tally(column([value, "a"]), "BYTES").missing == 1
    assert canonicals(column([value, 1]), "INT64") == [None, "1"]


def test_numbers_are_found_in_columns_of_any_make() -> None:
    mixed = numbers(column([1, "2.5", None, math.nan, "", "abc", True, [1], math.inf]))
    assert mixed.values.tolist() == [1, 2.5, 1, math.inf]
    assert (mixed.missing, mixed.invalid) == (3, 2)
    assert numbers(column(pd.Series([1, None, 3], dtype="Int64"))).missing == 1
    assert numbers(np.array([1, 2], dtype=np.uint8)).values.tolist() == [1, 2]
    masked = np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[False, True, False])
    assert numbers(column(masked)).values.tolist() == [1, 3]
    times = numbers(column(pd.Series([pd.Timestamp("1970-01-01 00:00:01.5"), pd.NaT], dtype="datetime64[us]")))
    assert times.values.tolist() == [1.5]
    assert times.missing == 1


def test_texts_are_tallied_in_columns_of_any_make() -> None:
    assert tally(column([1, "1", 1.0, True, None, {}]), "INT64").counts == {"1": 4}
    assert tally(column([1, "1", 1.0, True, None, {}]), "INT64").invalid == 1
    assert tally(column(pd.Series(["a", "b", None, "a"], dtype="category")), "BYTES").counts == {"a": 2, "b": 1}
    assert tally(column(pd.Series(["a", "b", None, "a"])), "BYTES").missing == 1
    assert tally(np.array([1, 1, 2]), "INT64").counts == {"1": 2, "2": 1}
    assert tally(np.array([1.0, np.nan]), "FP64").missing == 1
    assert text_lengths(column(["abc", "", None, [1]])).values.tolist() == [3, 0]


def test_a_columns_datatype_is_read_off_its_values() -> None:
    assert datatype_of(column([True, None, False])) == "BOOL"
    assert datatype_of(column([1, True, None])) == "INT64"
    assert datatype_of(column([1, 2.5, None])) == "FP64"
    assert datatype_of(column(["1", 2])) == "BYTES"
    assert datatype_of(column([None, math.nan])) == "FP64"
    assert datatype_of(np.array([True])) == "BOOL"
    assert datatype_of(np.array(["a"])) == "BYTES"


def test_what_is_no_column_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"income must be one column of values, and has the shape \(2, 2\)"):
        column(np.zeros((2, 2)), "income")
    with pytest.raises(InvalidArgument, match="is one text"):
        column("abc")
    assert column(np.zeros((3, 1))).shape == (3,)
