"""Which build a replica in a container waits for, and what becomes of it when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.control import add_version, container_at
from tidegate.core.ports import ReplicaSpec
from tidegate.errors import ImageBuildFailed, ImagePending
from tidegate.services.images.replica_images import AGAIN_S, ReplicaImages
from tidegate.store.tables import JobRow
from tidegate.wire import rest
from tidegate.wiring import Container

SPEC = ReplicaSpec("r-1", "churn", "churn", "1", Path("unused"))


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = container_at(tmp_path / "data")
    add_version(made, "churn", "1")
    yield made
    made.close()


def waits(images: ReplicaImages, spec: ReplicaSpec = SPEC) -> str:
    with pytest.raises(ImagePending) as pending:
        images.make(spec)
    return pending.value.message


def builds(container: Container) -> list[rest.Job]:
    return [job for job in container.jobs.find(None, "churn", 10)[0] if job.kind == "build"]


def end(container: Container, state: str, error: dict[str, Any] | None = None) -> None:
    """What the job pool writes."""
    with container.store.transaction() as tx:
        row = tx.get(JobRow, builds(container)[0].id)
        assert row is not None
        row.state, row.error = state, error


def test_replicas_of_a_version_wait_for_one_build_and_go_on_once_it_succeeded(container: Container) -> None:
    images = ReplicaImages(container.jobs)
    told = waits(images)
    (job,) = builds(container)
    assert f"tidegate jobs {job.id}" in told
    assert waits(images) == told
    assert waits(images, replace(SPEC, id="r-2")) == told
    assert waits(ReplicaImages(container.jobs)) == told, "a restarted control plane finds it"
    end(container, "succeeded")
    images.make(SPEC)
    assert len(builds(container)) == 1


def test_a_build_that_failed_is_the_reason_of_all_that_waited_and_the_next_replica_asks_anew(
    container: Container,
) -> None:
    images = ReplicaImages(container.jobs)
    second = replace(SPEC, id="r-2")
    waits(images)
    waits(images, second)
    end(container, "failed", {"error": "the base image is missing", "code": "image_build_failed"})
    for spec in (SPEC, second):
        with pytest.raises(ImageBuildFailed, match="the base image is missing"):
            images.make(spec)
    assert len(builds(container)) == 1
    waits(images, replace(SPEC, id="r-3"))
    assert len(builds(container)) == 2


def test_an_engine_that_went_away_meanwhile_is_no_fault_of_the_version(container: Container) -> None:
    now = 100.0
    images = ReplicaImages(container.jobs, lambda: now)
    waits(images)
    end(container, "failed", {"error": "no container engine answers", "code": "engine_unavailable"})
    assert "built again in a moment" in waits(images)
    assert "no container engine answers" in waits(images)
    assert len(builds(container)) == 1
    now += AGAIN_S
    assert "job" in waits(images)
    assert len(builds(container)) == 2
