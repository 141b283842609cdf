"""Files that have none of the names that are looked for are passed over, and none is that has one."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.capture_bed import AT_S, Gateway, batch
from tidegate.capture import names_filter
from tidegate.capture.compact import compact, write_parquet
from tidegate.capture.files import LocalFiles
from tidegate.capture.names_filter import ENTRY, WantedNames, footer_of
from tidegate.capture.store import CaptureStore
from tidegate.wire.journal import FeedbackEvent, FeedbackRecord

DAY_S = 86_400.0


def names(ids: list[str | None], keys: list[str | None] | None = None) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.string()), "key": pa.array(keys or [None] * len(ids), pa.string())})


def test_a_name_that_is_there_is_always_found_and_others_hardly_ever() -> None:
    footer = footer_of(names([f"r{n}" for n in range(5_000)], [f"u{n % 7}" for n in range(5_000)]))
    assert all(WantedNames.of(names([f"r{n}"])).may_be_in(footer) for n in range(0, 5_000, 37))
    assert WantedNames.of(names([None], ["u3"])).may_be_in(footer)
    assert not WantedNames.of(names([f"absent-{n}" for n in range(50_000)])).may_be_in(footer)
    assert not WantedNames.of(names(["u3"], ["r3"])).may_be_in(footer)  # an id is no key


def test_what_does_not_say_what_it_has_is_read() -> None:
    wanted = WantedNames.of(names(["a"]))
    assert wanted.may_be_in(None)
    assert wanted.may_be_in({b"ARROW:schema": b""})
    assert wanted.may_be_in({ENTRY: b"no base64!"})
    assert footer_of(pa.table({"at": [1]})) == {}
    assert not WantedNames.of(names([None])).may_be_in(footer_of(names(["a"])))


def test_too_many_names_are_looked_for_by_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    footer = footer_of(names(["a"]))
    monkeypatch.setattr(names_filter, "WANTED_MAX", 2)
    monkeypatch.setattr(names_filter, "NAMES_MAX", 2)
    assert WantedNames.of(names(["x", "y", "z"])).may_be_in(footer)
    assert footer_of(names(["x", "y", "z"])) == {}


def test_a_late_label_opens_the_files_of_its_names_alone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, now = Gateway(tmp_path / "journal"), AT_S + 40 * DAY_S
    for day in range(30):
        gateway.write(batch(f"r{day}", AT_S + day * DAY_S), AT_S + day * DAY_S)
    at_us = round((AT_S + 29 * DAY_S) * 1e6)
    gateway.write(FeedbackRecord([FeedbackEvent("r0", 0, None, None, at_us, "churn", None, "1", {})], at_us))
    gateway.seal()
    compact(tmp_path / "journal", tmp_path / "capture", lambda: now)
    read: list[Any] = []
    whole = pq.ParquetFile.read_row_groups

    def counted(file: pq.ParquetFile, *given: Any, **more: Any) -> pa.Table:
        read.append(file)
        return whole(file, *given, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", counted)
    store = CaptureStore(tmp_path / "capture", tmp_path / "journal", lambda: now)
    found = store.labelled("churn", AT_S, AT_S + DAY_S / 2, ["id"])
    assert found["label"].to_pylist() == ["1"]
    assert len(read) == 2  # its prediction, and its label; of 29 days since, nothing
    assert found.schema.metadata is None


def test_a_file_keeps_its_filter_for_us_alone(tmp_path: Any) -> None:
    write_parquet(LocalFiles(tmp_path), "a.parquet", names(["a", "b"]))
    body = io.BytesIO((tmp_path / "a.parquet").read_bytes())
    assert pq.read_table(body)["id"].to_pylist() == ["a", "b"]
    told = pq.ParquetFile(tmp_path / "a.parquet").metadata.metadata
    assert WantedNames.of(names(["b"])).may_be_in(told)
    assert not WantedNames.of(names(["c"])).may_be_in(told)
    assert np.frombuffer(told[ENTRY], np.uint8).size < 32
