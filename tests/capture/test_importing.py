"""Rows that were predicted elsewhere, in the capture store: each once, with their times; bad ones are told."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidegate.capture.imports.importing import ImportColumns, Imported, ImportTarget, import_file
from tidegate.capture.imports.rules import ImportRules
from tidegate.capture.retention import Keep, expire
from tidegate.capture.store import CaptureStore
from tidegate.errors import InvalidArgument
from tidegate.gateway.capture.privacy import EndpointPrivacy
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.gateways.snapshot import CaptureRules
from tidegate.wire.journal import BatchRecord, CapturedRequest
from tidegate.wire.journal.records import hashed_number, recorded_unit

NOW_S = 1_400_000_000.0
JULY_S = 1_372_636_800.0  # 2013-07-01T00:00Z
COLUMNS = ImportColumns(
    "at", "id", {"x": "x", "carrier": "carrier"}, {"late": "prediction"}, label="truth", label_time="landed"
)
TARGET = ImportTarget("flights", "3")
CSV = """at,id,x,carrier,late,truth,landed
2013-07-01T00:10:00Z,a,1.5,UA,1,true,2013-07-01T03:00:00Z
2013-07-01T01:20:00+02:00,b,,DL,0,false,2013-07-01T04:00:00Z
2013-07-01 02:30,c,3,,1,,
"""


def imported(store: Path, text: str, columns: ImportColumns = COLUMNS, **more: Any) -> Imported:
    path = store.parent / "rows.csv"
    path.write_text(text)
    return import_file(path, "csv", columns, more.get("target", TARGET), store, NOW_S)


def rows(store: Path, table: Any = "predictions", endpoint: str = "flights") -> list[dict[str, Any]]:
    store.parent.joinpath("journal").mkdir(exist_ok=True)
    read = CaptureStore(store, store.parent / "journal").rows(table, endpoint, 0.0, NOW_S)
    return sorted(read.to_pylist(), key=lambda row: str(row["id"]))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "capture"


def test_what_the_endpoint_drops_or_hashes_is_dropped_and_hashed_as_gateways_do(store: Path) -> None:
    rules = CaptureRules(drop=("x",), hash=("carrier", "prediction"), hash_keys=True)
    target = ImportTarget("flights", "3", rules=ImportRules(rules, "salt"))
    imported(store, CSV, replace(COLUMNS, key="carrier"), target=target)
    privacy = EndpointPrivacy(rules, "salt")
    record = BatchRecord(
        "flights", "3", [Decision("3", "3", "3")], [CapturedRequest("a", "UA", 0, 0.0, 1.0, 2, 200)],
        {"carrier": ("BYTES", (2,), ["UA", "DL"])},
        {"prediction": ("INT64", (2,), np.array([1, 0]).tobytes())},
    )  # fmt: skip
    live = privacy.batch(record)
    assert live is not None
    numbers = np.frombuffer(live.outputs["prediction"][2], "<f8").tolist()
    found = rows(store)
    assert "input_x" not in found[0]
    assert [row["input_carrier"] for row in found] == [*live.inputs["carrier"][2], None]
    assert [row["output_prediction"] for row in found] == [*numbers, numbers[0]]
    assert found[0]["key"] == live.requests[0].unit != "UA"
    assert "UA" not in str(found)


def test_values_of_a_list_are_hashed_one_by_one() -> None:
    rules = ImportRules(CaptureRules(hash=("v",)), "salt")
    made = rules.column("v", pa.array([[1.0, 2.0], None, [2.0, math.nan], []])).to_pylist()
    assert made[1] is None
    assert made[3] == []
    assert made[0][1] == made[2][0] == rules.column("v", pa.array([2])).to_pylist()[0]
    assert math.isnan(made[2][1])


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()])
def test_whole_numbers_past_what_a_float_holds_are_hashed_as_gateways_do(kind: pa.DataType) -> None:
    rules, large = ImportRules(CaptureRules(hash=("v",)), "salt"), 2**60 + 1
    assert rules.column("v", pa.array([large, None], kind)).to_pylist() == [hashed_number(float(large), "salt"), None]


def test_values_of_lists_of_one_length_are_hashed_one_by_one() -> None:
    rules, pairs = ImportRules(CaptureRules(hash=("v",)), "salt"), [[1.0, 2.0], None, [3.0, 4.0]]
    found = rules.column("v", pa.array(pairs, pa.list_(pa.float64(), 2))).to_pylist()
    assert found == [one and [hashed_number(value, "salt") for value in one] for one in pairs]


def test_rows_of_a_csv_are_predictions_at_their_times_with_their_labels(store: Path) -> None:
    done = imported(store, CSV)
    assert (done.rows, done.labels, done.refused) == (3, 2, 0)
    assert (done.first_at_s, done.last_at_s) == (JULY_S - 2_400, JULY_S + 9_000)
    found = rows(store)
    assert [row["id"] for row in found] == ["a", "b", "c"]
    assert [row["at"].timestamp() - JULY_S for row in found] == [600, -2_400, 9_000]
    assert [row["input_x"] for row in found] == [1.5, None, 3.0]
    assert [row["input_carrier"] for row in found] == ["UA", "DL", None]
    assert [row["output_prediction"] for row in found] == [1, 0, 1]
    assert {(row["version"], row["endpoint"], row["row"], row["code"]) for row in found} == {("3", "flights", 0, 200)}
    hours = sorted(path.name for path in (store / "predictions/endpoint=flights").iterdir())
    assert hours == ["hour=2013-06-30T23", "hour=2013-07-01T00", "hour=2013-07-01T02"]
    labels = pq.read_table(store / "feedback" / "endpoint=flights").to_pylist()
    assert {(row["id"], row["label"], row["at"].timestamp() - JULY_S) for row in labels} == {
        ("a", "true", 10_800),
        ("b", "false", 14_400),
    }


def test_importing_again_changes_nothing_and_other_options_take_the_place(store: Path) -> None:
    imported(store, CSV)
    before = {path: path.read_bytes() for path in store.rglob("*.parquet")}
    imported(store, CSV)
    assert {path: path.read_bytes() for path in store.rglob("*.parquet")} == before
    moved = ImportColumns("at", "id", {"x": "x"}, {"late": "prediction"}, timezone="America/New_York")
    done = imported(store, CSV, moved)
    assert (done.rows, done.labels) == (3, 0)
    assert [row["at"].timestamp() - JULY_S for row in rows(store)] == [600, -2_400, 9_000 + 4 * 3_600]
    assert not list((store / "feedback").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("soon,d,1,UA,1,,", "'soon' in 'at' is no time"),
        ("2013-02-31 10:00,d,1,UA,1,,", "'2013-02-31 10:00' in 'at' is no time"),
        (",d,1,UA,1,,", "no time in 'at'"),
        ("2013-07-01,,1,UA,1,,", "no id in 'id'"),
        ("2013-07-01,a,1,UA,1,,", "the id 'a' is that of an earlier row"),
        ("2033-07-01,d,1,UA,1,,", "its time 2033-07-01 is in the future"),
        ("2013-07-01,d,1,UA,1", "5 values where the header has 7"),
        ("2013-07-01,d,many,UA,1,,", "'many' in 'x' is no FP64"),
    ],
)
def test_a_bad_row_is_left_out_and_told(store: Path, line: str, reason: str) -> None:
    columns = ImportColumns("at", "id", {"x": "x", "carrier": "carrier"}, {"late": "prediction"}, {"x": "FP64"})
    done = imported(store, f"{CSV}{line}\n2013-07-01,e,2,UA,0,,\n", columns)
    assert (done.rows, done.refused) == (4, 1)
    assert [(bad.line, bad.reason) for bad in done.bad] == [(5, reason)]
    assert [row["id"] for row in rows(store)] == ["a", "b", "c", "e"]


def test_rows_of_parquet_keep_their_types(store: Path, tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([JULY_S, JULY_S + 3_600.5, None]),
            "number": [7, 8, 9],
            "vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
            "label": pa.array([float("nan"), 2.0, 3.0]),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    columns = ImportColumns("when", "number", {"vector": "vector", "kind": "kind"}, label="label")
    done = import_file(tmp_path / "rows.parquet", "parquet", columns, TARGET, store, NOW_S)
    assert (done.rows, done.labels, done.refused) == (2, 1, 1)
    assert [(bad.line, bad.reason) for bad in done.bad] == [(3, "no time in 'when'")]
    found = rows(store)
    assert [(row["id"], row["input_vector"], row["input_kind"]) for row in found] == [
        ("7", [1.0, 2.0], "a"),
        ("8", [3.0, 4.0], "b"),
    ]


def test_rows_that_are_left_out_are_told_in_the_order_of_their_lines(store: Path) -> None:
    lines = CSV.splitlines()
    values = lines[1].split(",")
    torn, timeless = values[0], ",".join(["", *values[1:]])
    done = imported(store, "\n".join([lines[0], timeless, torn, *lines[1:]]) + "\n")
    assert [bad.line for bad in done.bad] == [2, 3]


def test_long_keys_are_kept_as_those_of_predictions_so_that_labels_find_them(store: Path) -> None:
    keys = ["u" * 300 + end for end in ("a", "b")]
    text = "at,id,x,who\n" + "".join(f"2013-07-01,{place},1,{key}\n" for place, key in enumerate(keys))
    imported(store, text, ImportColumns("at", "id", {"x": "x"}, key="who"))
    assert [row["key"] for row in rows(store)] == [recorded_unit(key) for key in keys]


def test_two_files_and_two_endpoints_stand_beside_each_other(store: Path) -> None:
    imported(store, CSV)
    imported(store, CSV.replace(",a,", ",z,"))
    imported(store, CSV, target=ImportTarget("other", "1"))
    assert len(rows(store)) == 6
    assert len(rows(store, endpoint="other")) == 3


def test_imported_rows_age_from_when_they_were_imported(store: Path) -> None:
    imported(store, CSV)
    month_s = 30 * 86_400.0
    imported_at_s = max(path.stat().st_mtime for path in store.rglob("*.parquet"))

    def kept(now_s: float) -> int:
        expire(store, store.parent / "journal", now_s, Keep(month_s, 1 << 40), {})
        return len(rows(store))

    assert kept(imported_at_s + month_s - 60) == 3
    assert kept(imported_at_s + month_s + 60) == 0


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("rows.csv", b"id,x\n1,2\n", "rows.csv has no column 'at'; it has id, x"),
        ("rows.csv", b"", "rows.csv cannot be read as csv"),
        ("rows.parquet", b"PAR1 it is not", "rows.parquet cannot be read as parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(store: Path, tmp_path: Path, name: str, data: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidArgument, match=told):
        import_file(tmp_path / name, name.partition(".")[2], COLUMNS, TARGET, store, NOW_S)  # type: ignore[arg-type]
    assert not store.exists()
