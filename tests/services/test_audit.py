"""Each change is in the audit with who made it, in its own transaction, and stays when its subject is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import inspect

from support.control import ME, NewDatabase, add_version, container_at, digest_for
from tidegate.core.access import Principal
from tidegate.errors import ChangedMeanwhile, InvalidArgument, RegistryUnavailable, StoreUnavailable
from tidegate.services import audit as service
from tidegate.services.jobs.queue import forget_old
from tidegate.services.models.intake import Intake
from tidegate.services.reading.pages import PAGE_ROWS_MAX
from tidegate.store import audit as rows
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.jobs import jobs as job_rows
from tidegate.store.tables import AuditRow, UploadRow
from tidegate.wire.audit import AuditEntry
from tidegate.wire.rest import (
    AliasRequest,
    BuildRequest,
    DeployRequest,
    RegisterRequest,
    RollbackRequest,
    ScaleRequest,
    TrafficRequest,
    TrustRequest,
)
from tidegate.wiring import Container


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    add_version(container, "churn", "1", label="v1.0.0")
    add_version(container, "churn", "2")
    yield container
    container.close()


def _newest(platform: Container) -> AuditEntry:
    return platform.audit.page(1).entries[0]


def test_what_people_do_with_an_endpoint_is_told_with_before_and_after(platform: Container) -> None:
    endpoints = platform.endpoints
    endpoints.deploy("churn", DeployRequest("churn", "1", rate_limit_per_s=5.0), ME)
    made = _newest(platform)
    assert (made.who.kind, made.who.name, made.request_id) == ("token", "me", "a-request")
    assert (made.action, made.subject.kind, made.subject.name, made.outcome) == ("deploy", "endpoint", "churn", "done")
    assert made.changes["traffic"] == [None, {"1": 100.0}]
    assert made.changes["rate_limit_per_s"] == [None, 5.0]
    endpoints.set_traffic("churn", TrafficRequest({"1": 90, "2": 10}), ME)
    assert _newest(platform).changes == {"revision": [1, 2], "traffic": [{"1": 100.0}, {"1": 90, "2": 10}]}
    endpoints.scale("churn", ScaleRequest(3), replace(ME, name="another"))
    assert (_newest(platform).who.name, _newest(platform).changes["replicas"]) == ("another", [1, 3])
    endpoints.scale("churn", ScaleRequest(max=5, target="rps=9"), ME)
    by_load = {"min_replicas": 1, "max_replicas": 5, "metric": "rps", "target": 9.0}
    assert _newest(platform).changes == {"revision": [3, 4], "scaling": [None, by_load]}
    endpoints.rollback("churn", RollbackRequest(), ME)
    assert _newest(platform).changes["traffic"] == [{"1": 90, "2": 10}, {"1": 100.0}]
    endpoints.delete("churn", ME)
    assert (_newest(platform).action, _newest(platform).changes) == (
        "delete",
        {"revision": [5, 6], "deleting": [None, True]},
    )
    actions = [entry.action for entry in platform.audit.page(10, endpoint="churn").entries]
    assert actions == ["delete", "rollback", "scale", "scale", "traffic", "deploy"]


def test_what_changes_nothing_leaves_no_entry(platform: Container) -> None:
    platform.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    platform.models.trust("churn", TrustRequest(pickle=True), ME)
    before = _newest(platform)
    with platform.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        row.status = "ready"
    platform.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    platform.models.trust("churn", TrustRequest(pickle=True), ME)
    with pytest.raises(ChangedMeanwhile):
        platform.endpoints.only_if("churn", '"old"').scale("churn", ScaleRequest(2), ME)
    with pytest.raises(InvalidArgument):
        platform.endpoints.set_traffic("churn", TrafficRequest({"1": 80}), ME)
    assert _newest(platform) == before


def test_a_change_that_cannot_be_audited_is_not_made(platform: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)

    def full(*_given: object) -> None:
        raise StoreUnavailable("no room for the audit")

    monkeypatch.setattr(rows, "record", full)
    with pytest.raises(StoreUnavailable):
        platform.endpoints.scale("churn", ScaleRequest(9), ME)
    with pytest.raises(StoreUnavailable):
        platform.models.trust("churn", TrustRequest(pickle=True), ME)
    with pytest.raises(StoreUnavailable):
        platform.images.build("churn", "1", BuildRequest(), ME)
    monkeypatch.undo()
    assert platform.endpoints.get("churn").revision == 1
    assert not platform.models.pickle_trusted("churn")
    assert platform.jobs.find(None, None, 10)[0] == []


def test_what_becomes_of_models_and_versions_outlives_them(
    platform: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = platform.models
    monkeypatch.setattr(type(platform.registry), "delete_version", lambda *_given: None)
    monkeypatch.setattr(type(platform.registry), "delete_model", lambda *_given: None)
    models.trust("churn", TrustRequest(pickle=True), ME)
    assert _newest(platform).changes == {"pickle": [False, True]}
    Intake(models).amend("churn", "1", RegisterRequest(label="v9", tags={"team": "risk"}), None, ME)
    assert _newest(platform).changes == {"label": ["v1.0.0", "v9"], "tags": [None, {"team": "risk"}]}
    models.delete_version("churn", "1", ME)
    assert _newest(platform).changes["label"] == ["v9", None]
    models.delete("churn", ME)
    told = [(entry.action, entry.subject.name) for entry in platform.audit.page(10).entries]
    assert told == [
        ("delete", "churn"),
        ("delete", "churn:1"),
        ("amend", "churn:1"),
        ("trust", "churn"),
        ("take_in", "churn:2"),
        ("take_in", "churn:1"),
    ]


def test_the_audit_refers_to_no_table(platform: Container) -> None:
    with platform.store.reading() as tx:
        assert inspect(tx.connection()).get_foreign_keys(AuditRow.__tablename__) == []


def test_what_the_registry_has_to_do_is_told_before_and_after(
    platform: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = type(platform.registry)
    monkeypatch.setattr(registry, "versions", lambda *_given: [])
    monkeypatch.setattr(registry, "set_alias", lambda *_given: None)
    platform.models.set_alias("churn", "champion", AliasRequest("2"), ME)
    done, started, *_ = platform.audit.page(5).entries
    assert (started.action, started.outcome, done.outcome) == ("alias", "started", "done")
    assert done.changes == {"@champion": [None, "2"]}

    def away(*_given: object) -> None:
        raise RegistryUnavailable("away")

    monkeypatch.setattr(registry, "set_alias", away)
    monkeypatch.setattr(registry, "delete_version", away)
    with pytest.raises(RegistryUnavailable):
        platform.models.set_alias("churn", "champion", AliasRequest("1"), ME)
    assert _newest(platform).outcome == "failed"
    with pytest.raises(RegistryUnavailable):
        platform.models.delete_version("churn", "1", ME)
    put_back, deleted, *_ = platform.audit.page(5).entries
    assert (deleted.outcome, put_back.outcome, put_back.note) == ("done", "failed", "put back")


def test_a_job_carries_who_asked_for_it(platform: Container) -> None:
    with platform.store.transaction() as tx:
        tx.add(UploadRow(id="u", size_bytes=1, sha256="", created_at=0.0, expires_at=2e9))
    request = RegisterRequest(upload="u", filename="m.onnx", allow_pickle=True)
    jobs = [
        platform.jobs.register("churn", request, ME),
        platform.images.build("churn", "1", BuildRequest(), Principal("session", "browser-1f2e3d4c")),
    ]
    assert [job.asked_by for job in jobs] == ["me", "browser-1f2e3d4c"]
    with platform.store.reading() as tx:
        row = job_rows.get_job(tx, jobs[0].id)
        assert row is not None
        assert job_rows.asked_by(row) == Principal("token", "me", request_id="a-request")
    built, asked, *_ = platform.audit.page(5).entries
    assert asked.changes == {"job": [None, jobs[0].id], "filename": [None, "m.onnx"], "allow_pickle": [None, True]}
    assert (built.who.kind, built.subject.name) == ("session", "churn:1")


def test_the_audit_is_read_page_by_page_and_by_time(platform: Container) -> None:
    whole = platform.audit.page(1000)
    for replicas in range(2, 9):
        platform.models.trust("churn", TrustRequest(pickle=replicas % 2 == 0), ME)
    entries, before = [], None
    while True:
        page = platform.audit.page(4, before)
        entries += page.entries
        before = page.next
        if before is None:
            break
        assert len(page.entries) == 4
    assert entries == platform.audit.page(1000).entries
    assert len(entries) == len(whole.entries) + 7
    assert [entry.id for entry in entries] == sorted((entry.id for entry in entries), reverse=True)
    later = service.Audit(platform.store, lambda: platform.clock() + 1000.0)
    assert later.page(10, since_s=900.0).entries == []
    assert len(later.page(100, since_s=1100.0).entries) == len(entries)
    assert platform.audit.page(10, endpoint="another").entries == []
    for wrong in (0, -1, PAGE_ROWS_MAX + 1):
        with pytest.raises(InvalidArgument):
            platform.audit.page(wrong)


def test_the_oldest_entries_go_when_there_are_too_many(platform: Container) -> None:
    for number in range(30):
        platform.models.trust("churn", TrustRequest(pickle=number % 2 == 0), ME)
    newest = platform.audit.page(10).entries
    forget_old(platform.store, platform.uploads, 10)
    assert platform.audit.page(1000).entries == newest
    forget_old(platform.store, platform.uploads, 10)
    assert platform.audit.page(1000).entries == newest


def test_an_entry_is_bounded_and_can_be_read_whatever_is_recorded(platform: Container) -> None:
    long = RegisterRequest(description="d" * 900_000, tags={f"key-{number}": "v" * 500 for number in range(50)})
    Intake(platform.models).amend("churn", "1", long, None, ME)
    changes = _newest(platform).changes
    assert changes["description"] == [None, "d" * 1000 + "… (900000 characters)"]
    assert changes["tags"][1].startswith('{"key-0": "vvv')
    assert changes["tags"][1].endswith(" characters)")
    assert len(json.dumps(changes)) < 5_000
    odd = {"text\ud800": ("a\0b", {"k\udfff": ["\ud800"]}), "number": (1, None)}
    who = replace(ME, name="w\ud800")
    with platform.store.transaction() as tx:
        rows.record(tx, who, 1.0, rows.AuditedChange("odd", "model", "s\ud800", odd, "n\0"))
    entry = _newest(platform)
    assert (entry.who.name, entry.subject.name, entry.note) == ("w\ufffd", "s\ufffd", "n\ufffd")
    assert entry.changes == {"text\ufffd": ["a\ufffdb", {"k\ufffd": ["\ufffd"]}], "number": [1, None]}


def test_endpoints_that_start_again_because_files_are_whole_are_told(platform: Container) -> None:
    platform.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    Intake(platform.models).try_again(digest_for("churn 2"), "its copy was damaged", ME)
    assert _newest(platform).action == "deploy", "it serves another version"
    Intake(platform.models).try_again(digest_for("churn 1"), "its copy was damaged", replace(ME, name="ann"))
    told = _newest(platform)
    assert (told.action, told.subject.name, told.who.name) == ("repair", "churn", "ann")
    assert (told.note, told.changes) == ("1: its copy was damaged", {})
