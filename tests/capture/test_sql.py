"""SQL over captured rows: what it selects, and what it refuses whoever asks."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.capture_bed import AT_S, Gateway, batch
from tidegate.capture import sql
from tidegate.capture.compact import compact
from tidegate.capture.sql import answer, plain
from tidegate.capture.store import CaptureStore
from tidegate.errors import QueryRefused, QueryTooLarge
from tidegate.wire.capture.capture import CaptureSelection
from tidegate.wire.journal import FeedbackEvent, FeedbackRecord

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> CaptureStore:
    made = CaptureStore(tmp_path / "capture", tmp_path / "journal", lambda: AT_S + 3600)
    gateway = Gateway(tmp_path / "journal")
    gateway.write(batch("a", rows=3))
    gateway.seal()
    compact(tmp_path / "journal", tmp_path / "capture", lambda: AT_S + 3600)
    gateway.write(batch("b", AT_S + 1, version="8"))
    gateway.write(batch("s", role="shadow"))
    return made


def ask(store: CaptureStore, text: str, **more: Any) -> list[dict[str, Any]]:
    fields: dict[str, Any] = {"since_s": AT_S, "until_s": AT_S + 60} | more
    found: list[dict[str, Any]] = answer(store, CaptureSelection("churn", text, **fields))[0].to_pylist()
    return found


def test_compacted_and_open_rows_are_one_table(store: CaptureStore) -> None:
    found = ask(store, "SELECT version, count(*) AS n, max(input_age) AS oldest FROM Predictions GROUP BY 1 ORDER BY 1")
    assert found == [{"version": "7", "n": 3, "oldest": 2.0}, {"version": "8", "n": 1, "oldest": 0.0}]
    assert ask(store, "SELECT id FROM shadow_predictions") == [{"id": "s"}]
    assert ask(store, "SELECT count(*) AS n FROM predictions", version="8") == [{"n": 1}]
    assert ask(store, "SELECT count(*) AS n FROM predictions", until_s=AT_S + 1) == [{"n": 3}]
    assert ask(store, "WITH p AS (SELECT * FROM predictions) SELECT count(*) AS n FROM p, failures") == [{"n": 0}]


def test_labels_stand_beside_their_predictions_and_feedback_is_a_table(store: CaptureStore, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "journal", name="gateway-1")
    at_us = round((AT_S + 5) * 1e6)
    named = FeedbackEvent("a", 1, None, None, at_us, "churn", None, "1", {"paid": 2.5})
    unnamed = FeedbackEvent("b", None, None, None, at_us, None, None, '"yes"')
    gateway.write(FeedbackRecord([named, unnamed], at_us))
    found = ask(store, "SELECT id, row, label, labelled_at IS NULL AS open FROM labelled ORDER BY id, row")
    assert [tuple(one.values()) for one in found] == [
        ("a", 0, None, True), ("a", 1, "1", False), ("a", 2, None, True), ("b", 0, '"yes"', False),
    ]  # fmt: skip
    found = ask(store, "SELECT id, endpoint, label, metrics['paid'] AS paid FROM feedback ORDER BY id")
    assert [tuple(one.values()) for one in found] == [("a", "churn", "1", 2.5), ("b", None, '"yes"', None)]
    assert ask(store, "SELECT count(label) AS n FROM labelled", version="8") == [{"n": 1}]
    gateway.write(FeedbackRecord([FeedbackEvent("gone", None, None, None, at_us, "churn", None, "1")], at_us))
    assert ask(store, "SELECT id FROM feedback WHERE id NOT IN (SELECT id FROM predictions)") == [{"id": "gone"}]


def test_no_more_rows_than_were_asked_for_and_it_says_that_there_are_more(store: CaptureStore) -> None:
    made, truncated = answer(store, CaptureSelection("churn", "FROM range(10000)", AT_S, AT_S + 1, rows_max=3000))
    assert (len(made), truncated) == (3000, True)
    made, truncated = answer(store, CaptureSelection("churn", "FROM range(3000)", AT_S, AT_S + 1, rows_max=3000))
    assert (len(made), truncated) == (3000, False)


REFUSED = (
    "DELETE FROM predictions",
    "UPDATE predictions SET id = 'x'",
    "INSERT INTO predictions SELECT * FROM predictions",
    "DROP VIEW predictions",
    "CREATE TABLE mine AS SELECT * FROM predictions",
    "COPY predictions TO '/tmp/stolen.csv'",
    "COPY (SELECT 1) TO '/tmp/stolen.parquet'",
    "EXPORT DATABASE '/tmp/stolen'",
    "ATTACH '/tmp/other.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "SELECT 1; SELECT 2",
    "",
    "no SQL",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_parquet('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM 'https://example.com/a.parquet'",
    "SELECT * FROM sqlite_scan('/etc/passwd', 'x')",
    "SELECT * FROM store",
    "SELECT * FROM query",
    "SELECT getenv('PATH')",
    "SELECT nothing FROM predictions",
    "SELECT CAST(id AS INTEGER) FROM predictions",
)


@pytest.mark.parametrize("text", REFUSED)
def test_what_writes_or_reads_anything_else_is_refused(store: CaptureStore, text: str) -> None:
    with pytest.raises(QueryRefused) as told:
        ask(store, text)
    assert told.value.message


def test_no_file_of_this_machine_is_told_of(store: CaptureStore) -> None:
    """Tables of the engine's own settings and files exist, and have nothing that is not known anyway."""
    settings = {one["name"]: one["value"] for one in ask(store, "SELECT name, value FROM duckdb_settings()")}
    assert settings["enable_external_access"] == "false"
    assert settings["lock_configuration"] == "true"
    assert settings["temp_directory"] == ""


def test_values_are_as_json_has_them(store: CaptureStore) -> None:
    found = ask(
        store,
        "SELECT 'nan'::DOUBLE AS a, 1.5::DECIMAL(4,2) AS b, \"at\" AS c, [1, NULL] AS d, "
        "{'x': DATE '2026-01-01'} AS e, "
        "'\\x00\\xFF'::BLOB AS f, INTERVAL 90 SECOND AS g FROM predictions WHERE id = 'a' LIMIT 1",
    )
    assert plain(found[0]) == {
        "a": None,
        "b": 1.5,
        "c": "2026-11-29T01:59:59Z",
        "d": [1, None],
        "e": {"x": "2026-01-01"},
        "f": "\x00\\xff",
        "g": plain(found[0]["g"]),
    }


def test_every_setting_that_keeps_it_apart_is_one_of_this_engine(store: CaptureStore) -> None:
    known = {one["name"] for one in ask(store, "SELECT name FROM duckdb_settings()")}
    assert set(sql.SETTINGS) <= known


def test_labels_and_feedback_are_tables_too(store: CaptureStore, tmp_path: Path) -> None:
    assert [one["label"] for one in ask(store, "SELECT label, labelled_at FROM labelled")] == [None] * 4
    assert ask(store, "SELECT count(*) AS n FROM feedback") == [{"n": 0}]


def test_an_answer_as_json_is_bounded_and_what_json_cannot_hold_is_said(
    store: CaptureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = answer(store, CaptureSelection("churn", "SELECT range AS n FROM range(5000)", 0, 1))[0]
    assert msgspec.json.decode(sql._body(table, "json", truncated=False))["rows"][4999] == {"n": 4999}
    monkeypatch.setattr(sql, "ANSWER_BYTES_MAX", 1000)
    with pytest.raises(QueryTooLarge, match="as JSON"):
        sql._body(table, "json", truncated=False)
    table = answer(store, CaptureSelection("churn", "SELECT 'infinity'::TIMESTAMP AS late", 0, 1))[0]
    with pytest.raises(QueryRefused, match="VARCHAR"):
        sql._body(table, "json", truncated=False)


def test_a_query_whose_owner_was_killed_ends_by_itself(tmp_path: Path) -> None:
    begin = "import sys; from tidegate.capture import sql; sql.ALONE_S = 1; sys.exit(sql.main(sys.argv[1:]))"
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t"
    query = msgspec.json.encode(CaptureSelection("churn", endless, 0, 1))
    ended = subprocess.run([sys.executable, "-c", begin, str(tmp_path), str(tmp_path)], input=query, check=False)
    assert ended.returncode == -signal.SIGALRM


def documented() -> list[str]:
    """Every SELECT that the documentation and the help show."""
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "src/tidegate/cli/capture").glob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in pages]
    return sorted({one[1] for text in texts for one in re.finditer(r"""--sql ["'](SELECT [^"']*)["']""", text)})


@pytest.mark.parametrize("text", documented())
def test_what_the_documentation_selects_is_answered(store: CaptureStore, text: str) -> None:
    assert len(documented()) >= 3
    ask(store, text)


def test_a_column_that_is_a_word_of_sql_is_told_how_to_write(store: CaptureStore) -> None:
    with pytest.raises(QueryRefused, match='write "at"'):
        ask(store, "SELECT id, at, label FROM feedback")
    assert ask(store, 'SELECT "at" FROM feedback') == []
    with pytest.raises(QueryRefused) as other:
        ask(store, "SELECT id,, label FROM feedback")
    assert "words of SQL" not in str(other.value)
