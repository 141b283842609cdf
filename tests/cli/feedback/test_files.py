"""Rows of files of labels: what each says, and what is wrong with those that say nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tidegate.cli.feedback.files import Columns, read_lines
from tidegate.errors import InvalidArgument

NOW_S = datetime(2026, 2, 1, tzinfo=UTC).timestamp()


def read(path: Path, columns: Columns | None = None) -> list[tuple[int, Any]]:
    """Each row's number, with its event or the reason."""
    lines = read_lines(path, columns or Columns(), "churn", NOW_S)
    found = [(one.number, one.reason if one.event is None else json.loads(one.event), one.share) for one in lines]
    assert [share for _, _, share in found] == sorted(share for _, _, share in found)
    return [(number, said) for number, said, _ in found]


def event(**fields: Any) -> dict[str, Any]:
    return fields | {"endpoint": "churn"}


def test_a_csv_has_its_columns_by_name(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(
        "\ufeffid,key,label,at,row,event,note\n"
        'a,,1,2026-01-31T12:00:00Z,,e1,"two\nlines"\n'
        "b,ignored,yes,2026-01-31 12:00:00,2,,x\n"
        "\n"
        ",u,0.5,2026-01-31 12:00:00.5+02:00,,,x\n"
        'c,,"[0, 1]",,,,x\n'
    )
    assert read(path) == [
        (3, event(id="a", label=1, at="2026-01-31T12:00:00+00:00", event="e1")),
        (4, event(id="b", label="yes", at="2026-01-31T12:00:00+00:00", row=2)),
        (6, event(key="u", label=0.5, at="2026-01-31T12:00:00.500000+02:00")),
        (7, event(id="c", label=[0, 1])),
    ]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("1", 1),
        ("-3", -3),
        ("0.25", 0.25),
        ("1.0", "1.0"),
        ("007", "007"),
        ("1e3", "1e3"),
        ("True", "True"),
    ],
)
def test_a_label_is_a_number_only_where_that_loses_nothing(tmp_path: Path, text: str, label: Any) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f"id,label\na,{text}\n")
    assert read(path) == [(2, event(id="a", label=label))]


def test_rows_that_are_no_event_are_told_with_line_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(
        "id,label,at,row,paid\na,,,,\n,1,,,\nb,1,yesterday,,\nc,1,2027-01-01,,\nd,1,,x,\nn,nan,,,\ne,1\nf,1,,,many\ng,1,,,2\n"
    )
    found = read(path, Columns(metrics=("paid",)))
    assert [number for number, _ in found] == list(range(2, 11))
    said = [one for _, one in found]
    for reason, part in zip(
        said,
        [
            "nothing to record",
            "give 'id'",
            "RFC 3339",
            "ahead",
            "'x' is no number",
            "nothing to record",
            "2 cells",
            "'many' is no",
        ],
        strict=False,
    ):
        assert part in reason
    assert said[-1] == event(id="g", label=1, metrics={"paid": 2})


def test_json_lines_parquet_and_json_hold_the_same(tmp_path: Path) -> None:
    records = [{"user": f"u{n}", "y": n % 2, "when": "2026-01-31T12:00:00Z"} for n in range(3)]
    columns = Columns(key="user", label="y", at="when")
    (tmp_path / "f.json").write_text(json.dumps(records))
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records) + "{\n[1]\n")
    frame = pd.DataFrame(records)
    frame["when"] = pd.to_datetime(frame["when"])
    frame.to_parquet(tmp_path / "f.parquet")
    expected = [event(key=f"u{n}", label=n % 2, at="2026-01-31T12:00:00+00:00") for n in range(3)]
    assert [one for _, one in read(tmp_path / "f.json", columns)] == expected
    assert [one for _, one in read(tmp_path / "f.parquet", columns)] == expected
    found = read(tmp_path / "f.jsonl", columns)
    assert [one for _, one in found[:3]] == expected
    assert [(number, said.partition(":")[0]) for number, said in found[3:]] == [
        (4, "not JSON"),
        (5, "not an object with the event's fields"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("f.csv", "x,label\n1,2\n", Columns(), "neither 'id' nor 'key', and has: x, label"),
        ("f.csv", "id,y\n1,2\n", Columns(), "--label-column"),
        ("f.csv", "id,label\n1,2\n", Columns(at="t", given=frozenset({"t"})), "has no column 't'"),
        ("f.csv", b"id,label\n\xff,2\n", Columns(), "not a CSV file in UTF-8, at line 2"),
        ("f.parquet", "PAR1", Columns(), "not a Parquet file"),
        ("f.json", "{", Columns(), "is not JSON"),
        ("f.txt", "", Columns(), "none of .csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(
    tmp_path: Path, name: str, content: str | bytes, columns: Columns, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidArgument, match=said):
        read(path, columns)
