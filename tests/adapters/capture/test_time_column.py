"""The column of times is taken out of a table; what the model is asked stays as it was."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tidegate.adapters.capture.time_column import without_times
from tidegate.errors import InvalidArgument

FRAME = pd.DataFrame(
    {
        "age": [31, 42, 53],
        "at": ["2026-03-01T12:00:00+01:00", "2026-03-01 13:30:00", "2026-07-01 12:00:00"],
        "town": ["Köln, am Rhein", "", "null"],
    }
)
SECONDS = [1772362800.0, 1772368200.0, 1782900000.0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_times_are_read_and_the_other_columns_stay_as_they_are(tmp_path: Path, suffix: str) -> None:
    path, into = tmp_path / f"rows{suffix}", tmp_path / f"less{suffix}"
    if suffix == ".csv":
        FRAME.to_csv(path, index=False)
    else:
        FRAME.to_parquet(path, index=False)
    found = without_times(path, path.name, "at", "Europe/Berlin", into)
    assert found.tolist() == SECONDS
    read = pd.read_csv(into) if suffix == ".csv" else pd.read_parquet(into)
    before = pd.read_csv(path) if suffix == ".csv" else FRAME
    pd.testing.assert_frame_equal(read, before.drop(columns="at"))


def test_a_row_without_a_time_is_named(tmp_path: Path) -> None:
    path, into = tmp_path / "rows.csv", tmp_path / "less.csv"
    path.write_text("at,x\n2026-01-01,1\nsoon,2\n,3\n")
    with pytest.raises(InvalidArgument, match=r"row 2 of rows.csv has no time in column 'at' \(2 such rows\)"):
        without_times(path, path.name, "at", "UTC", into)
    with pytest.raises(InvalidArgument, match="there is no column 'when': there are at, x"):
        without_times(path, path.name, "when", "UTC", into)
    path.write_text("")
    with pytest.raises(InvalidArgument, match="there is no column"):
        without_times(path, path.name, "at", "UTC", into)
    with pytest.raises(InvalidArgument, match=r"rows\.parquet cannot be read"):
        without_times(path, "rows.parquet", "at", "UTC", into)


def test_seconds_are_times_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"x": [1.0, 2.0], "at": [1772362800, 1772362801]}).to_parquet(path)
    found = without_times(path, path.name, "at", "UTC", tmp_path / "less.parquet")
    assert np.diff(found).tolist() == [1.0]
