"""Lists page by page, and the platform at a glance: what they show, and how many queries that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from lib.fleets import fill, name_of
from support.control import NewDatabase, container_at
from support.queries import counted
from tidegate.errors import InvalidArgument
from tidegate.services.models import catalog
from tidegate.services.overview import status as status_reports
from tidegate.store.tables import EndpointRow, FollowRow, JobRow
from tidegate.wiring import Container

ENDPOINTS = 7


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    fill(container.store, container.leadership.me.host, ENDPOINTS, 3, 2)
    yield container
    container.close()


def change(platform: Container, number: int, **values: Any) -> None:
    with platform.store.transaction() as tx:
        tx.execute(update(EndpointRow).where(EndpointRow.name == name_of(number)).values(**values))


def paged(read: Callable[[int, str | None], tuple[list[Any], str | None]], rows_max: int) -> list[list[Any]]:
    pages, cursor = [], None
    while True:
        page, cursor = read(rows_max, cursor)
        pages.append(page)
        if cursor is None:
            return pages


def test_every_endpoint_is_on_one_page(platform: Container) -> None:
    pages = paged(platform.endpoints.shown.page, 3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [one for page in pages for one in page] == platform.endpoints.shown.all()
    assert [one.name for page in pages for one in page] == [name_of(number) for number in range(ENDPOINTS)]
    assert platform.endpoints.shown.page(ENDPOINTS)[1] is None
    assert platform.endpoints.shown.all()[4] == platform.endpoints.get(name_of(4))


def test_every_model_is_on_one_page(platform: Container) -> None:
    pages = paged(platform.models.page, 3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [[version.version for version in one.versions] for page in pages for one in page] == [["3", "2", "1"]] * 7


def test_of_each_model_a_list_has_the_newest_versions_and_how_many_there_are(
    platform: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, _ = platform.models.page(100, None, 2)
    assert {tuple(one.version for one in model.versions) for model in listed} == {("3", "2")}
    assert {model.version_count for model in listed} == {3}
    whole = platform.models.get(listed[0].name)
    assert whole.versions[:2] == listed[0].versions
    assert whole.version_count == 3
    monkeypatch.setattr(catalog, "VERSIONS_OF_A_PAGE_MAX", 5)
    assert [len(page) for page in paged(platform.models.page, 100)] == [1] * 7
    shorter = paged(lambda rows, cursor: platform.models.page(rows, cursor, 2), 100)
    assert [len(page) for page in shorter] == [2, 2, 2, 1]


def test_in_short_versions_come_without_what_is_large_of_them(platform: Container) -> None:
    ((model, *_), _), whole = platform.models.page(100, in_short=True), platform.models.get(name_of(0))
    short = model.versions[0]
    assert (short.signature, short.validation, short.acceleration, short.example) == ({}, {}, {}, None)
    large: dict[str, Any] = {"signature": {}, "validation": {}, "acceleration": {}, "example": None}
    assert model.versions == [replace(one, **large) for one in whole.versions]
    assert platform.models.get(model.name, in_short=True) == model
    assert short.score == whole.versions[0].score is not None


def test_every_job_is_on_one_page_also_those_of_one_moment(platform: Container) -> None:
    with platform.store.transaction() as tx:
        for number, at in enumerate((3.0, 1.1, 1.1, 1.1, 0.1 + 0.2)):
            state = "failed" if number == 1 else "succeeded"
            tx.add(JobRow(id=f"j{number}", kind="build", subject="x", payload={}, state=state, log=[], created_at=at))
    pages = paged(lambda rows_max, cursor: platform.jobs.find(None, None, rows_max, cursor), 2)
    assert [[job.id for job in page] for page in pages] == [["j0", "j1"], ["j2", "j3"], ["j4"]]
    of_state = paged(lambda rows_max, cursor: platform.jobs.find("succeeded", "x", rows_max, cursor), 3)
    assert [[job.id for job in page] for page in of_state] == [["j0", "j2", "j3"], ["j4"]]
    with pytest.raises(InvalidArgument, match="cursor 'x' is none"):
        platform.jobs.find(None, None, 2, "x")


def test_a_page_takes_as_many_queries_however_long_it_is(platform: Container) -> None:
    taken = []
    for rows_max in (1, ENDPOINTS):
        with counted(platform.store) as asked:
            platform.endpoints.shown.page(rows_max)
        taken.append(len(asked))
    assert taken == [8, 8]  # endpoints, what they follow, two of automations, variants, replicas, labels, examples


def test_a_small_platform_is_shown_whole(platform: Container) -> None:
    change(platform, 3, status="failed")
    status = platform.status.get()
    assert [one.name for one in status.endpoints] == [name_of(number) for number in range(ENDPOINTS)]
    assert status.endpoints_by_status == {"ready": ENDPOINTS - 1, "failed": 1}


def test_of_a_large_one_what_needs_a_look_is_shown_the_worst_first(
    platform: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_reports, "ENDPOINTS_SHOWN_MAX", 4)
    change(platform, 0, deleted_at=1.0)
    change(platform, 1, generation=2)
    change(platform, 2, status="failed")
    change(platform, 3, status="degraded")
    with platform.store.transaction() as tx:
        behind = FollowRow(endpoint=name_of(4), alias="champion", options={}, reason="refused", changed_at=1.0)
        tx.add(behind)
    with counted(platform.store) as asked:
        status = platform.status.get()
    told = [(one.name, one.status) for one in status.endpoints]
    assert told == [
        (name_of(2), "failed"),
        (name_of(3), "degraded"),
        (name_of(1), "deploying"),
        (name_of(0), "deleting"),
    ]
    assert status.endpoints_by_status == {"ready": 3, "failed": 1, "degraded": 1, "deploying": 1, "deleting": 1}
    assert len(asked) == 13  # four counts, the canaries, and a page
    monkeypatch.setattr(status_reports, "ENDPOINTS_SHOWN_MAX", 6)
    assert [one.name for one in platform.status.get().endpoints][4:] == [name_of(4)]


def test_the_metrics_tell_of_every_endpoint_all_the_same(platform: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_reports, "ENDPOINTS_SHOWN_MAX", 1)
    monkeypatch.setattr("tidegate.services.reading.shown_endpoints.PAGE_ROWS", 2)
    measured = platform.measures.get()
    assert [one.name for one in measured.endpoints] == [name_of(number) for number in range(ENDPOINTS)]
    assert len(measured.scores or ()) == ENDPOINTS * 2
