"""Predictions with their labels, as the store reads them, whatever holds either now and however late labels come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest

from tidegate.capture.compact import compact
from tidegate.capture.labels import AgeCoverage, coverage, outcomes
from tidegate.capture.store import CaptureStore
from tidegate.gateway.capture.segments import Segments
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import BatchRecord, CapturedRequest, FeedbackEvent, FeedbackRecord

AT_S = 1_790_000_000.0
DAY_S = 86_400.0
NOW_S = AT_S + 40 * DAY_S


class Journal:
    """Writes what a gateway would, and compacts it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.capture = folder / "journal", folder / "capture"
        self.segments = Segments(self.folder, "gateway-0", 1 << 30)
        self.store = CaptureStore(self.capture, self.folder, lambda: NOW_S)

    def predict(self, name: str, at_s: float = AT_S, rows: int = 1, endpoint: str = "churn", **more: Any) -> None:
        version = more.get("version", "7")
        request = CapturedRequest(name, more.get("key"), 0, at_s, 0.25, rows, 200)
        answers: Any = ("INT64", (rows,), np.arange(rows).tobytes())
        decision = Decision(version, version, version)
        self.write(BatchRecord(endpoint, version, [decision], [request], {}, {"prediction": answers}), at_s)

    def feedback(self, at_s: float, *events: dict[str, Any], received_s: float | None = None) -> None:
        nothing: dict[str, Any] = {"id": None, "row": None, "key": None, "event": None, "at_us": round(at_s * 1e6)}
        made = [FeedbackEvent(**nothing | one) for one in events]
        self.write(FeedbackRecord(made, round((received_s or at_s) * 1e6)), at_s)

    def write(self, record: Any, at_s: float) -> None:
        if self.segments.is_full(0, at_s):
            self.segments.settle(self.segments.end())
        self.segments.append(msgspec.msgpack.encode(record), at_s)

    def compact(self) -> None:
        self.segments.settle(self.segments.end())
        compact(self.folder, self.capture, lambda: NOW_S)

    def labels(self, since_s: float = AT_S - DAY_S, until_s: float = NOW_S, **more: Any) -> dict[Any, Any]:
        made = self.store.labelled("churn", since_s, until_s, ["id", "row"], **more)
        assert made.column_names == ["id", "row", "label", "labelled_at"]
        return {(one["id"], one["row"]): one["label"] for one in made.to_pylist()}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    yield made
    made.segments.settle(made.segments.end())


@pytest.mark.parametrize("order", ["prediction first", "label first", "both in one go", "neither"])
def test_a_label_finds_its_prediction_before_and_after_compaction(journal: Journal, order: str) -> None:
    def predict() -> None:
        journal.predict("a", rows=2)
        journal.predict("b", AT_S + 1, key="u")
        journal.predict("c", AT_S + 2)

    def label() -> None:
        known = {"endpoint": "churn", "label": "1"}
        journal.feedback(AT_S + 60, {"id": "a", "label": "[0,1]"}, known | {"key": "u"})
        journal.feedback(AT_S + 61, known | {"id": "c", "label": '"x"'}, known | {"id": "nobody"})

    first, second = (label, predict) if order == "label first" else (predict, label)
    first()
    if order in ("prediction first", "label first"):
        journal.compact()
    second()
    if order == "both in one go":
        journal.compact()
    assert journal.labels() == {("a", 0): "0", ("a", 1): "1", ("b", 0): "1", ("c", 0): '"x"'}
    assert outcomes(journal.store, "churn", (AT_S, NOW_S)) == {
        "matched": 2, "no_prediction": 1, "no_row": 0, "rows_differ": 0, "repeated": 0,
    }  # fmt: skip


def test_a_label_that_comes_weeks_late_is_found_from_the_window_of_its_prediction(journal: Journal) -> None:
    journal.predict("a")
    journal.predict("b", AT_S + 10)
    journal.compact()
    for day in range(1, 36):
        journal.predict(f"later-{day}", AT_S + day * DAY_S)
    journal.feedback(AT_S + 36 * DAY_S, {"id": "a", "label": "1", "endpoint": "churn"})
    journal.compact()
    made = journal.store.labelled("churn", AT_S, AT_S + 3600)
    assert made["label"].to_pylist() == ["1", None]
    assert made["labelled_at"].to_pylist()[0] == pd.Timestamp(AT_S + 36 * DAY_S, unit="s", tz="UTC")
    assert {"output_prediction", "version", "label", "labelled_at"} <= set(made.column_names)


def test_a_unit_that_came_again_after_the_window_takes_its_later_label_along(journal: Journal) -> None:
    journal.predict("old", key="u")
    journal.predict("new", AT_S + 7200, key="u")
    journal.predict("kept", AT_S + 1, key="v")
    known = {"endpoint": "churn", "label": "1"}
    journal.feedback(AT_S + 9000, known | {"key": "u"}, known | {"key": "v"})
    assert journal.labels(AT_S, AT_S + 3600) == {("old", 0): None, ("kept", 0): "1"}
    assert journal.labels(AT_S + 3600) == {("new", 0): "1"}


def test_a_repetition_that_says_no_time_labels_nothing_else(journal: Journal) -> None:
    journal.predict("old", key="u")
    journal.predict("new", AT_S + 7200, key="u")
    event = {"endpoint": "churn", "label": "1", "key": "u", "event": "e"}
    journal.feedback(AT_S + 60, event)
    journal.feedback(AT_S + 7300, event)
    assert journal.labels() == {("old", 0): "1", ("new", 0): None}
    assert journal.labels(AT_S + 3600) == {("new", 0): None}


def test_a_label_of_another_endpoint_is_not_taken(journal: Journal) -> None:
    journal.predict("a")
    journal.predict("a", endpoint="other")
    journal.feedback(AT_S + 1, {"id": "a", "label": "1", "endpoint": "other"})
    assert journal.labels() == {("a", 0): None}


def test_one_version_is_labelled_by_what_all_of_them_answered(journal: Journal) -> None:
    journal.predict("a", version="1")
    journal.predict("a", AT_S + 10, version="2")
    journal.feedback(AT_S + 20, {"id": "a", "label": "1"})
    assert journal.labels(version="1") == {("a", 0): None}
    assert journal.labels(version="2") == {("a", 0): "1"}


def test_without_predictions_or_labels_there_is_a_table_all_the_same(journal: Journal) -> None:
    assert journal.store.labelled("churn", AT_S, NOW_S).num_rows == 0
    journal.feedback(AT_S, {"id": "a", "label": "1", "endpoint": "churn"})
    assert journal.labels() == {}
    journal.predict("a", AT_S + 1)
    assert journal.labels() == {("a", 0): None}


def test_coverage_is_told_by_the_age_of_predictions(journal: Journal) -> None:
    for hours, name in ((0.5, "young"), (2, "older"), (3, "labelled"), (50 * 24, "ancient")):
        journal.predict(name, NOW_S - hours * 3600)
    journal.feedback(NOW_S, {"id": "labelled", "label": "1"}, {"id": "ancient", "label": "1"})
    found = coverage(journal.store, "churn", (0.0, NOW_S), NOW_S, ages_s=(3600.0, 4 * 3600.0))
    assert found == [
        AgeCoverage(0.0, 3600.0, 1, 0),
        AgeCoverage(3600.0, 14400.0, 2, 1),
        AgeCoverage(14400.0, None, 1, 1),
    ]
    assert [one.share for one in found] == [0.0, 0.5, 1.0]


def test_feedback_is_a_table_that_any_reader_reads(journal: Journal) -> None:
    journal.feedback(
        AT_S, {"id": "a", "row": 1, "event": "e", "label": "1", "endpoint": "churn", "metrics": {"m": 2.5}}
    )
    journal.feedback(AT_S + 1, {"key": "u", "experiment": "x", "metrics": {"paid": 1.0}}, received_s=AT_S + 5)
    journal.compact()
    table = ds.dataset(journal.capture / "feedback", partitioning="hive").to_table().to_pandas().sort_values("at")
    first, second = table.iloc[0], table.iloc[1]
    assert (first["id"], first["row"], first["event"], first["label"], first["endpoint"]) == ("a", 1, "e", "1", "churn")
    assert list(first["metrics"]) == [("m", 2.5)]
    assert (second["key"], second["experiment"], pd.isna(second["endpoint"])) == ("u", "x", True)
    assert second["received_at"] - second["at"] == pd.Timedelta(seconds=4)


def test_events_of_a_folder_that_is_none_are_not_written(journal: Journal) -> None:
    journal.feedback(AT_S, {"id": "a", "label": "1", "endpoint": "../../x"})
    journal.feedback(AT_S, {"id": "b", "label": "1", "endpoint": "churn"})
    journal.compact()
    assert pd.read_parquet(journal.capture / "feedback")["id"].tolist() == ["b"]


def test_a_request_in_parts_whose_clocks_were_read_apart_is_one(journal: Journal) -> None:
    for first, at_s in ((0, AT_S + 5e-6), (2, AT_S)):
        request = CapturedRequest("a", None, 0, at_s, 0.25, 2, 200, (first, 4))
        answers: Any = ("INT64", (2,), np.arange(2).tobytes())
        journal.write(
            BatchRecord("churn", "7", [Decision("7", "7", "7")], [request], {}, {"prediction": answers}), at_s
        )
    events = [{"id": "a", "row": row, "label": str(row), "endpoint": "churn"} for row in range(4)]
    journal.feedback(AT_S + 60, *events)
    assert journal.labels() == {("a", row): str(row) for row in range(4)}
    journal.compact()
    assert journal.labels() == {("a", row): str(row) for row in range(4)}
