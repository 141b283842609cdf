"""Captured rows over the API: SQL in a process of its own, with bounds, by a permission of its own, in the audit."""

from __future__ import annotations

from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from support.capture_bed import Gateway, batch
from support.control import add_version
from tidegate import clock
from tidegate.adapters.capture.queries import SqlProcesses
from tidegate.errors import Overloaded, QueryTooLarge
from tidegate.wire.capture.capture import ARROW_TYPE, CaptureSelection, ForgetRequest
from tidegate.wire.decoding import decode_json
from tidegate.wire.signature import Signature, TensorSpec
from tidegate.wiring import Container

AGE, EMAIL = TensorSpec("age", "FP64", (-1,)), TensorSpec("email", "BYTES", (-1,))
SCORE = TensorSpec("score", "FP64", (-1,))
PATH = "/api/v1/endpoints/captured/capture/query"


@pytest.fixture(autouse=True, scope="module")
def captured(container: Container) -> None:
    gateway = Gateway(container.settings.data_dir / "journal")
    gateway.write(batch("a", clock.now() - 10, rows=3, endpoint="captured"))
    gateway.write(batch("b", clock.now() - 7200, endpoint="captured"))
    (container.settings.data_dir / "capture" / "predictions" / "endpoint=captured").mkdir(parents=True)


def test_rows_of_the_last_seconds_come_as_json_and_as_arrow(api: httpx.Client) -> None:
    answer = api.post(PATH, json={"sql": 'SELECT id, "row", input_age FROM predictions ORDER BY "row"', "rows_max": 2})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "columns": ["id", "row", "input_age"],
        "rows": [{"id": "a", "row": 0, "input_age": 0.0}, {"id": "a", "row": 1, "input_age": 1.0}],
        "truncated": True,
    }
    arrow = api.post(PATH, json={"since": 0}, headers={"accept": ARROW_TYPE})
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert table["id"].to_pylist() == ["b", "a", "a", "a"]


def test_what_is_wrong_is_said_and_nothing_else_is_done(api: httpx.Client) -> None:
    for sql in ("DROP TABLE predictions", "SELECT * FROM read_text('/etc/passwd')", "SELEC"):
        answer = api.post(PATH, json={"sql": sql})
        assert (answer.status_code, answer.json()["code"]) == (422, "query_refused"), sql
    for wrong in ('{"since": 2, "until": 1}', '{"rows_max": 0}', '{"rows_max": -5}', '{"rows_max": 1000001}'):
        answer = api.post(PATH, content=wrong, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_argument"), wrong
    for wrong in ('{"since": NaN}', '{"until": Infinity}'):
        answer = api.post(PATH, content=wrong, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), wrong
    answer = api.post(PATH, json={"sql": "SELECT count(*) AS n FROM predictions", "since": -1e300, "until": 1e300})
    assert answer.json()["rows"] == [{"n": 4}]
    answer = api.post("/api/v1/endpoints/nowhere/capture/query", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_endpoint")


def test_who_read_rows_is_in_the_audit_with_the_query(api: httpx.Client) -> None:
    api.post(PATH, json={"sql": "SELECT 1"})
    entry = api.get("/api/v1/audit", params={"endpoint": "captured"}).json()["entries"][0]
    assert (entry["action"], entry["note"], entry["who"]["kind"]) == ("query_capture", "SELECT 1", "token")


def test_a_unit_of_an_endpoint_that_is_deleted_can_be_forgotten(api: httpx.Client, container: Container) -> None:
    folder = container.settings.data_dir / "capture" / "forget"
    before = set(folder.glob("*.json"))  # of other tests, which ask too
    answer = api.post("/api/v1/endpoints/captured/capture/forget", json={"key": "anna"})
    assert (answer.status_code, answer.json()) == (202, {"endpoint": "captured", "status": "asked"})
    (path,) = set(folder.glob("*.json")) - before
    assert decode_json(path.read_bytes(), ForgetRequest).keys == ["anna"]
    path.unlink()
    answer = api.post("/api/v1/endpoints/nowhere/capture/forget", json={"key": "anna"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_endpoint")


def test_columns_that_no_version_has_are_not_taken_for_settings(api: httpx.Client, container: Container) -> None:
    add_version(container, "private", "1", signature=Signature("columns", (AGE, EMAIL), (SCORE,)))
    assert api.put("/api/v1/endpoints/private", json={"model": "private", "version": "1"}).is_success
    path = "/api/v1/endpoints/private/capture/settings"
    answer = api.put(path, json={"drop": ["emial"]})
    assert answer.status_code == 422
    assert answer.json()["error"] == "'emial' is no input or output of private, which has: age, email, score"
    assert api.get(path).json()["drop"] == []
    answer = api.put(path, json={"drop": ["email"], "hash": ["age", "score"]})
    assert (answer.status_code, answer.json()["drop"], answer.json()["hash"]) == (200, ["email"], ["age", "score"])


def test_a_query_that_goes_on_for_ever_is_ended(tmp_path: Path) -> None:
    processes = SqlProcesses(tmp_path, timeout_s=3.0)
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t"
    with pytest.raises(QueryTooLarge, match="longer than 3 s"):
        processes.run(CaptureSelection("churn", endless, 0, 1))


def test_a_query_that_takes_all_memory_is_ended_alone(tmp_path: Path) -> None:
    greedy = "SELECT list(repeat('x', 10000) || i) AS xs FROM range(100000000) t(i)"
    with pytest.raises(QueryTooLarge):
        SqlProcesses(tmp_path).run(CaptureSelection("churn", greedy, 0, 1))


def test_so_many_at_a_time(tmp_path: Path) -> None:
    processes = SqlProcesses(tmp_path)
    for _ in range(2):
        assert processes._room.acquire(blocking=False)
    with pytest.raises(Overloaded):
        processes.run(CaptureSelection("churn", "SELECT 1", 0, 1))
