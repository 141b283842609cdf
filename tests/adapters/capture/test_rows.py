"""Captured rows as numpy columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from tidegate.adapters.capture.rows import StoredRows, numpy_columns


def test_each_type_has_one_form_and_what_is_missing_is_nan_or_none() -> None:
    at = pa.array([1_500_000, None], pa.timestamp("us", tz="UTC"))
    made = numpy_columns(
        pa.table(
            {
                "at": at,
                "number": pa.array([1, None]),
                "whole": pa.array([1, 2]),
                "part": pa.array([0.5, None]),
                "yes": pa.array([True, False]),
                "maybe": pa.array([True, None]),
                "text": pa.array(["a", None]),
                "none": pa.nulls(2),
                "vector": pa.array([[1.0, 2.0], None], pa.large_list(pa.float64())),
            }
        )
    )
    vectors = made.pop("vector")
    assert vectors[0].tolist() == [1.0, 2.0]
    assert vectors[1] is None
    expected = {
        "at": [1.5, np.nan],
        "number": [1.0, np.nan],
        "whole": [1, 2],
        "part": [0.5, np.nan],
        "yes": [True, False],
        "maybe": [True, None],
        "text": ["a", None],
        "none": [None, None],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(made[name], np.array(values))


def test_without_any_row_the_columns_are_there(tmp_path: Path) -> None:
    made = StoredRows(tmp_path).rows("predictions", "churn", 0.0, 1.0, ["at", "input_age"])
    assert {name: len(values) for name, values in made.items()} == {"at": 0, "input_age": 0}
