"""What forms make of what was filled in: values for the API, or a sentence that says what is wrong. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.console import deploying, words
from tidegate.console.fields import form_of
from tidegate.errors import InvalidArgument


def row(datatype: str, value: str) -> Any:
    signature = {"kind": "columns", "inputs": [{"name": "a", "datatype": datatype, "shape": [-1]}]}
    return form_of(signature, {"a": None}).filled({"f0": value}).row()["a"]


@pytest.mark.parametrize(
    ("datatype", "value", "found"),
    [
        ("INT64", "-3", -3),
        ("INT64", "9" * 400, int("9" * 400)),  # what the model takes of it, the gateway says
        ("FP64", " 1e3 ", 1000.0),
        ("FP64", "", None),
        ("BOOL", "false", False),
        ("BOOL", "", None),
        ("BYTES", "", ""),
        ("BYTES", "<b>\u00fc", "<b>\u00fc"),
    ],
)
def test_a_field_is_a_value_of_its_kind(datatype: str, value: str, found: object) -> None:
    assert row(datatype, value) == found


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT64", "1.5"),
        ("INT64", "1_000"),
        ("INT64", "9" * 5000),
        ("FP64", "1_000.0"),
        ("FP64", "nan"),
        ("FP64", "-inf"),
        ("FP64", "much"),
        ("BOOL", "maybe"),
    ],
)
def test_what_is_none_of_its_kind_is_refused_by_name(datatype: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^a: "):
        row(datatype, value)


@pytest.mark.parametrize("text", ["[1e999]", "[NaN]", "[-Infinity]", "[", "[" * 100_000, "9" * 5000])
def test_a_row_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="the row is no JSON"):
        form_of({"kind": "tensors"}, None).filled({"row": text}).row()


def test_a_wide_row_is_written_as_json() -> None:
    inputs = [{"name": f"c{n}", "datatype": "FP64", "shape": [-1]} for n in range(200)]
    form = form_of({"kind": "columns", "inputs": inputs}, {f"c{n}": n for n in range(200)})
    assert not form.fields
    assert form.row()["c199"] == 199


@pytest.mark.parametrize("memory_mib", ["1e305", "1e999", "nan", "much"])
def test_memory_that_is_no_number_is_refused(memory_mib: str) -> None:
    with pytest.raises(InvalidArgument, match="memory"):
        deploying.filled({"memory_mib": memory_mib}).asked()


def test_memory_is_in_what_the_command_counts_in() -> None:
    assert deploying.filled({"memory_mib": "512.5"}).asked()["memory_bytes"] == 537_395_200


@pytest.mark.parametrize(
    ("rows", "shown"),
    [([0.25], "0.25"), (["<b>ü"], "<b>ü"), ([None], "null"), ([True], "true"), ([[1, "a"]], '[1, "a"]'), ([], "[]")],
)
def test_a_prediction_is_shown_as_json_and_a_text_as_it_is(rows: list[Any], shown: str) -> None:
    assert words.predicted(rows) == shown


def test_a_long_prediction_is_cut() -> None:
    shown = words.predicted([[0.5] * 100_000])
    assert len(shown) < words.PREDICTED_CHARS_MAX + 50
    assert shown.endswith("characters more")
