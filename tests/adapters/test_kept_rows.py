"""What an inspection keeps of rows comes back as it was, and a file that a model's code made up is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tidegate.adapters.sandbox.kept_rows import read_kept_rows
from tidegate.errors import ModelLoadFailed
from tidegate.runtimes.inspection import kept_rows
from tidegate.runtimes.inspection.kept_rows import keep_rows


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    inputs = {
        "age": np.array([1.5, np.nan]),
        "town": np.array(["ä", None], dtype=object),
        "matrix": np.arange(4).reshape(2, 2),
    }
    file = tmp_path / "rows.npz"
    assert (
        keep_rows(file, inputs, {"prediction": np.array([True, False])}, pd.Series(["x", pd.NA], dtype="object")) == 2
    )
    found = read_kept_rows(file)
    assert found is not None
    assert found.rows == 2
    np.testing.assert_array_equal(found.inputs["age"], inputs["age"])
    assert found.inputs["town"].tolist() == ["ä", None]
    assert found.inputs["matrix"].tolist() == [[0, 1], [2, 3]]
    assert found.outputs["prediction"].tolist() == [True, False]
    assert found.labels is not None
    assert found.labels.tolist() == ["x", None]


def test_of_many_rows_some_are_kept_and_the_same_of_each_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_rows, "CELLS_MAX", 30)
    numbers = np.arange(100)
    assert keep_rows(tmp_path / "rows.npz", {"a": numbers}, {"b": numbers * 2}, numbers * 3) == 10
    found = read_kept_rows(tmp_path / "rows.npz")
    assert found is not None
    assert found.labels is not None
    assert (found.inputs["a"] * 2).tolist() == found.outputs["b"].tolist()
    assert (found.inputs["a"] * 3).tolist() == found.labels.tolist()


def test_without_a_file_no_rows_were_kept(tmp_path: Path) -> None:
    assert read_kept_rows(tmp_path / "rows.npz") is None


class Calling:
    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


def _archive(compressed: bool = False, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def _index(**column: Any) -> Any:
    whole = {"part": "input", "name": "a", "json": False, "shape": [1]} | column
    return np.frombuffer(json.dumps({"rows": 1, "columns": [whole]}).encode(), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 and no more",
        pickle.dumps(Calling()),
        _archive(index=np.array([Calling()], dtype=object)),
        _archive(index=_index(), c0=np.array([Calling()], dtype=object)),
        _archive(compressed=True, index=_index(), c0=np.zeros(1)),
        _archive(index=_index(), c0=np.zeros(2)),
        _archive(index=_index(shape=[10**9]), c0=np.zeros(1)),
        _archive(index=_index(part="elsewhere"), c0=np.zeros(1)),
        _archive(index=_index(json=True), c0=np.frombuffer(b'[{"a": 1}]', np.uint8)),
        _archive(index=_index()),
        _archive(index=np.frombuffer(b"[1]", np.uint8)),
    ],
)
def test_what_no_inspection_writes_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.npz").write_bytes(content)
    with pytest.raises(ModelLoadFailed, match="rows that the inspection kept"):
        read_kept_rows(tmp_path / "rows.npz")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(_archive(index=_index(), c0=np.zeros(1)))
    (tmp_path / "rows.npz").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelLoadFailed):
        read_kept_rows(tmp_path / "rows.npz")
