"""Each server's check against what can be there: the server itself, a closed port, another program, wrong keys."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest

from support.answering import answering, closed_port, greeting
from support.services.postgres import Postgres
from support.services.redis import RedisServer
from tidegate.doctor import servers, watchers
from tidegate.doctor.findings import Check, DoctorFacts, FindingState, Verdict
from tidegate.errors import EngineUnavailable, MissingExtra, PartUnavailable, StoreUnavailable
from tidegate.settings import Settings
from tidegate.store.database.engine import open_store

MLFLOW_ROOT = "/api/2.0/mlflow/experiments/get"
ADMIN = "Basic " + base64.b64encode(b"admin:right").decode()

PARTS: dict[str, tuple[Check, str, str]] = {
    "mlflow": (servers.mlflow, "MLFLOW_TRACKING_URI", "http://127.0.0.1:{port}"),
    "s3": (servers.s3, "MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:{port}"),
    "rabbitmq": (servers.rabbitmq, "CELERY_BROKER_URL", "amqp://user:hush@127.0.0.1:{port}/"),
    "redis": (servers.redis, "REDIS_URL", "redis://:hush@127.0.0.1:{port}/0"),
    "prometheus": (watchers.prometheus, "PROMETHEUS_URL", "http://127.0.0.1:{port}"),
    "grafana": (watchers.grafana, "GRAFANA_URL", "http://admin:hush@127.0.0.1:{port}"),
}


def facts(tmp_path: Path, **env: str) -> DoctorFacts:
    return DoctorFacts(Settings.from_env(env, data_dir=tmp_path), env)


def refusal(check: Callable[[], Verdict]) -> str:
    with pytest.raises(PartUnavailable) as caught:
        check()
    assert "hush" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("part", PARTS)
def test_a_closed_port_an_unknown_host_and_another_program_are_told_apart(part: str, tmp_path: Path) -> None:
    check, setting, url = PARTS[part]
    with closed_port() as port:
        said = refusal(lambda: check(facts(tmp_path, **{setting: url.format(port=port)})))
        assert f"at 127.0.0.1:{port} refuses connections: start it, or correct {setting}" in said
    nowhere = url.format(port=1).replace("127.0.0.1", "nowhere.invalid")
    said = refusal(lambda: check(facts(tmp_path, **{setting: nowhere})))
    assert "there is no host 'nowhere.invalid'" in said
    assert f"correct {setting}" in said
    with greeting(b"220 mail.example ESMTP\r\n") as port:
        said = refusal(lambda: check(facts(tmp_path, **{setting: url.format(port=port)})))
        assert f"at 127.0.0.1:{port}" in said
        assert "answers, but" in said
        assert setting in said


@pytest.mark.parametrize("part", ["mlflow", "prometheus", "grafana"])
def test_another_web_server_is_not_taken_for_it(part: str, tmp_path: Path) -> None:
    check, setting, _ = PARTS[part]
    with answering({}) as url:
        said = refusal(lambda: check(facts(tmp_path, **{setting: url})))
        assert "is no " in said
        assert "404" in said
        assert f"correct {setting}" in said
    with answering({}, login="Basic something") as url:
        assert "refuses user or password (401)" in refusal(lambda: check(facts(tmp_path, **{setting: url})))


def test_nothing_configured_is_no_fault(tmp_path: Path) -> None:
    found = {part: check(facts(tmp_path))[0] for part, (check, _, _) in PARTS.items()}
    assert set(found.values()) == {FindingState.OFF}


def test_postgresql_from_a_wrong_password_to_a_newer_schema(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    with pytest.raises(StoreUnavailable, match="correct user and password"):
        servers.database(facts(tmp_path, DATABASE_URL=postgres.url("postgres", password="wrong")))
    with pytest.raises(StoreUnavailable, match=r"createdb.*or correct DATABASE_URL"):
        servers.database(facts(tmp_path, DATABASE_URL=postgres.url("nobody_made_it")))
    with closed_port() as port, pytest.raises(StoreUnavailable, match="does not answer"):
        servers.database(facts(tmp_path, DATABASE_URL=f"postgresql://u:p@127.0.0.1:{port}/x"))
    state, said = servers.database(facts(tmp_path, DATABASE_URL=url))
    assert (state, "no tables of Tidegate" in said) == (FindingState.NOTE, True)
    with closing(open_store(url)) as store:
        store.migrate()
    assert servers.database(facts(tmp_path, DATABASE_URL=url))[0] is FindingState.OK
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match="written by a newer release"):
        servers.database(facts(tmp_path, DATABASE_URL=url))


def test_mlflow_that_does_not_reach_its_artifacts(tmp_path: Path) -> None:
    root = {"experiment": {"artifact_location": "mlflow-artifacts:/0"}}
    pages: dict[str, tuple[int, object]] = {MLFLOW_ROOT: (200, root), "/version": (200, "3.9.0")}
    listing = "/api/2.0/mlflow-artifacts/artifacts"
    with answering({**pages, listing: (200, {"files": []})}, login=ADMIN) as url:
        login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "right"}
        state, said = servers.mlflow(facts(tmp_path, MLFLOW_TRACKING_URI=url, **login))
        assert (state, "MLflow 3.9.0 at" in said) == (FindingState.OK, True)
        said = refusal(lambda: servers.mlflow(facts(tmp_path, MLFLOW_TRACKING_URI=url)))
        assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said
    with answering({**pages, listing: (500, "NoSuchBucket")}) as url:
        state, said = servers.mlflow(facts(tmp_path, MLFLOW_TRACKING_URI=url))
        assert state is FindingState.WRONG
        assert "does not reach its artifacts (500: NoSuchBucket)" in said
    with answering({MLFLOW_ROOT: (403, "Invalid Host header")}) as url:
        assert "--allowed-hosts" in refusal(lambda: servers.mlflow(facts(tmp_path, MLFLOW_TRACKING_URI=url)))
    with answering({MLFLOW_ROOT: (500, "OperationalError")}) as url:
        assert "is its database up?" in refusal(lambda: servers.mlflow(facts(tmp_path, MLFLOW_TRACKING_URI=url)))


def test_an_address_that_mlflow_does_not_know_is_no_address(tmp_path: Path) -> None:
    for known in (
        "sqlite:////tmp/m.db",
        "postgresql+psycopg://u@h/m",
        "file:///tmp/runs",
        "databricks://team",
        "/srv/runs",
    ):
        assert servers.mlflow(facts(tmp_path, MLFLOW_TRACKING_URI=known))[0] is FindingState.OK
    for other in ("ftp://mlflow.example", "mlflow.example:5000", "htp://mlflow.example"):
        said = refusal(lambda: servers.mlflow(facts(tmp_path, MLFLOW_TRACKING_URI=other)))  # noqa: B023
        assert "give http://host:5000 as MLFLOW_TRACKING_URI" in said


def test_prometheus_whose_targets_are_down(tmp_path: Path) -> None:
    series = [{"metric": {"instance": f"gateway:{port}"}, "value": [0, up]} for port, up in ((8000, "1"), (8800, "0"))]
    found = {"status": "success", "data": {"resultType": "vector", "result": series}}
    with answering({"/api/v1/query": (200, found)}) as url:
        state, said = watchers.prometheus(facts(tmp_path, PROMETHEUS_URL=url))
    assert state is FindingState.NOTE
    assert "1 of 2 targets are down: gateway:8800" in said


def test_grafana_with_its_database_and_password(tmp_path: Path) -> None:
    pages: dict[str, tuple[int, object]] = {"/api/health": (200, {"database": "ok", "version": "12.0.0"})}
    with answering({**pages, "/api/org": (200, {"id": 1})}) as url:
        state, said = watchers.grafana(facts(tmp_path, GRAFANA_URL=url))
        assert (state, "Grafana 12.0.0 at" in said) == (FindingState.OK, True)
    with answering({"/api/health": (503, {"database": "failing"})}) as url:
        state, said = watchers.grafana(facts(tmp_path, GRAFANA_URL=url))
        assert (state, "its database does not (failing)" in said) == (FindingState.WRONG, True)


def test_a_missing_client_library_is_told_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.doctor.servers.find_spec", lambda name: None)
    for part, extra in (("redis", "tidegate[redis]"), ("rabbitmq", "tidegate[celery]")):
        check, setting, url = PARTS[part]
        with pytest.raises(MissingExtra, match="pip install") as caught:
            check(facts(tmp_path, **{setting: url.format(port=1)}))
        assert extra in caught.value.message


def test_redis_from_a_wrong_password_to_an_answer(redis_server: RedisServer, tmp_path: Path) -> None:
    state, said = servers.redis(facts(tmp_path, REDIS_URL=redis_server.url))
    assert state is FindingState.OK
    assert said.startswith("Redis ")
    assert said.endswith(f"at 127.0.0.1:{redis_server.port} answers")
    for login in (":hush@", ""):
        wrong = facts(tmp_path, REDIS_URL=f"redis://{login}127.0.0.1:{redis_server.port}")
        said = refusal(partial(servers.redis, wrong))
        assert "refuses user or password" in said
        assert "correct them in REDIS_URL" in said


def test_a_name_server_that_is_silent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr("tidegate.doctor.asking.RESOLVE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("tidegate.doctor.asking._lookup", lambda _: held.wait(30))
    for part in ("redis", "rabbitmq", "grafana"):
        check, setting, url = PARTS[part]
        said = refusal(partial(check, facts(tmp_path, **{setting: url.format(port=1)})))
        assert "no name server says within 0.1 s where the host '127.0.0.1' is" in said
    held.set()


def test_an_engine_is_asked_for_only_where_replicas_need_one(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path)}
    assert servers.docker(facts(tmp_path, **env))[0] is FindingState.OFF
    with pytest.raises(EngineUnavailable, match="the command 'docker' is not installed"):
        servers.docker(facts(tmp_path, TIDEGATE_BACKEND="docker", **env))
