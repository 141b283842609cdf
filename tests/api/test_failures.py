import asyncio
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from support.control import NewDatabase, container_at, served
from tidegate.wiring import Container


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"{", 400, "no JSON"),
        (b"[" * 100_000, 400, "nested"),
        (b'{"model": ' + b'{"a":' * 100_000, 400, "nested"),
        (b"{}", 422, "model"),
        (b'{"model": 7}', 422, "model"),
        (b'{"model": "m", "replica": 2}', 422, "replica"),
        (b'{"model": "m", "replicas": "many"}', 422, "replicas"),
        (b"[]", 422, "body"),
        (b"\xff\xfe", 400, "JSON"),
        (b"", 422, "body"),
        (b'{"model": "\\ud800"}', 422, "model: a text has a NUL or a lone surrogate"),
        (b'{"model": "\\u0000"}', 422, "model: a text has a NUL or a lone surrogate"),
        (b'\xef\xbb\xbf{"model": "\\ud800"}', 422, "model: a text has"),
        (b'{"model": "m", "follow": {"gate": {"target": "\\udfff"}}}', 422, "follow.gate.target: a text has"),
        (b'{"\\ud800": 1}', 422, "\\ud800: a text has"),
        (b'[["\\ud800"]]', 422, "0.0: a text has"),
        (b'{"model": "\xed\xa0\x80"}', 400, "not UTF-8"),
        ('{"model": "m"}'.encode("utf-16-le"), 400, "UTF-8"),
        (b'{"model": "\\ud83d\\ude00"}', 422, "model"),
    ],
)
def test_a_body_that_does_not_fit_is_told_where(api: httpx.Client, body: bytes, status: int, told: str) -> None:
    answer = api.put("/api/v1/endpoints/bad", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert told in answer.json()["error"]


@pytest.mark.parametrize(("length", "on_loop"), [(16_000, True), (17_000, False)])
def test_the_texts_of_a_large_body_are_not_checked_on_the_loop(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, length: int, on_loop: bool
) -> None:
    seen: list[bool] = []

    def check(body: bytes) -> None:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            seen.append(True)
            return
        seen.append(False)

    monkeypatch.setattr("tidegate.api.guard.check_texts", check)
    body = b'{"model": "' + b"x" * length + b'"}'
    answer = api.put("/api/v1/endpoints/bad", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (404, 422)
    assert seen == [on_loop]


def test_ten_megabytes_of_json_are_too_large_announced_or_not(api: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    big = b'{"model": "' + b"x" * (10 << 20) + b'"}'
    assert api.put("/api/v1/endpoints/bad", content=big, headers=headers).status_code == 413
    chunks = (big[at : at + 65536] for at in range(0, len(big), 65536))
    answer = api.put("/api/v1/endpoints/bad", content=chunks, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_content_types_are_refused(api: httpx.Client, content_type: str) -> None:
    answer = api.put("/api/v1/endpoints/bad", content=b'{"model":"m"}', headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (415, "wrong_content_type")


def test_weights_that_do_not_add_up_are_told_with_their_sum(api: httpx.Client) -> None:
    answer = api.put("/api/v1/endpoints/none/traffic", json={"traffic": {"1": 90, "2": 20}})
    assert answer.status_code == 404  # the endpoint's absence comes first
    assert answer.json()["code"] == "unknown_endpoint"


def test_a_method_that_a_path_does_not_take_is_told_the_ones_it_takes(api: httpx.Client) -> None:
    answer = api.patch("/api/v1/models")
    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "method_not_allowed", "GET")


def test_a_failure_that_nobody_foresaw_has_an_id_and_no_traceback(
    container: Container, api: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def burst(_self: object, *_page: object, **_shown: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("tidegate.services.models.catalog.Models.page", burst)
    answer = api.get("/api/v1/models")
    assert answer.status_code == 500
    body = answer.json()
    assert "secret detail" not in answer.text
    assert body["details"]["id"] in caplog.text
    assert "secret detail" in caplog.text


def test_query_parameters_are_checked(api: httpx.Client) -> None:
    assert api.get("/api/v1/jobs", params={"limit": 0}).json()["details"]["field"] == "limit"
    assert api.get("/api/v1/jobs", params={"state": "done"}).status_code == 422
    assert api.get("/internal/v1/snapshot").json()["details"]["field"] == "gateway"


def test_no_address_with_a_nul_is_looked_for(tmp_path: Path, migrated_database: NewDatabase) -> None:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    places = ("endpoints/a%00b", "endpoints/%00/history", "models/a%00b/versions/1", "jobs/%00")
    queries = ("endpoints?name=%00", "jobs?kind=%00", "audit?endpoint=churn%00", "models?%00=1")
    try:
        with served(container) as api:
            found = {path: api.get(f"/api/v1/{path}") for path in (*places, *queries)}
    finally:
        container.close()
    assert {path: answer.status_code for path, answer in found.items()} == {
        **dict.fromkeys(places, 404),
        **dict.fromkeys(queries, 422),
    }
    assert "a text has a NUL" in found["jobs?kind=%00"].json()["error"]
