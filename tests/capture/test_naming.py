"""Columns of a matrix by their names, as the version of each row has them."""

from __future__ import annotations

import pyarrow as pa

from tidegate.capture.naming import name_columns

LISTS = pa.large_list(pa.float64())


def table(*rows: tuple[str, list[float] | None]) -> pa.Table:
    versions, values = zip(*rows, strict=True) if rows else ((), ())
    ids = pa.array(range(len(rows)), pa.int64())
    return pa.table(
        {
            "id": ids,
            "version": pa.array(versions, pa.string()),
            "input_input": pa.array(values, LISTS),
            "output_prediction": ids,
        }
    )


def test_each_row_has_its_versions_columns_and_the_matrix_is_gone() -> None:
    made = name_columns(table(("1", [1, 2]), ("2", [3, 4, 5]), ("1", [6, 7])), {"1": ["a", "b"], "2": ["b", "c", "d"]})
    assert made.column_names == ["id", "version", "input_a", "input_b", "input_c", "input_d", "output_prediction"]
    rows = sorted(made.drop_columns(["version", "output_prediction"]).to_pylist(), key=lambda row: row["id"])
    assert rows == [
        {"id": 0, "input_a": 1.0, "input_b": 2.0, "input_c": None, "input_d": None},
        {"id": 1, "input_a": None, "input_b": 3.0, "input_c": 4.0, "input_d": 5.0},
        {"id": 2, "input_a": 6.0, "input_b": 7.0, "input_c": None, "input_d": None},
    ]


def test_rows_of_a_version_without_names_or_of_another_width_keep_it() -> None:
    given = table(("1", [1, 2]), ("3", [1, 2]), ("1", [1]), ("1", None))
    made = name_columns(given, {"1": ["a", "b"], "2": ["x"]})
    assert made.column_names == ["id", "version", "input_a", "input_b", "input_input", "output_prediction"]
    kept = {row["id"]: row["input_input"] for row in made.to_pylist()}
    assert kept == {0: None, 1: [1.0, 2.0], 2: [1.0], 3: None}


def test_without_names_or_without_a_matrix_nothing_changes() -> None:
    given = table(("1", [1, 2]))
    assert name_columns(given, {}) is given
    assert name_columns(given.drop_columns(["input_input"]), {"1": ["a", "b"]}).column_names[-1] == "output_prediction"
    assert len(name_columns(table(), {"1": ["a"]})) == 0


def test_a_version_that_sent_the_column_by_itself_shares_it() -> None:
    given = table(("1", [1, 2]), ("2", None)).append_column("input_a", pa.array([None, 9], pa.int64()))
    made = name_columns(given, {"1": ["a", "b"]})
    found = {row["id"]: row["input_a"] for row in made.to_pylist()}
    assert found == {0: 1.0, 1: 9.0}
