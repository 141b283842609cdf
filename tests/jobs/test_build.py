"""Builds where there is nothing to build with: the job says so, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from support.control import ME, add_version, container_at, served
from support.registering import finished
from tidegate.store.tables import JobRow
from tidegate.wire.rest import BuildRequest


def test_a_build_without_an_engine_says_which_address_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the docker command itself is missing."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    container = container_at(tmp_path / "data")
    try:
        container.take_over()
        container.start()
        add_version(container, "churn", "1")
        job = finished(container, container.images.build("churn", "latest", BuildRequest(), ME).id)
    finally:
        container.close()
    assert (job.kind, job.subject, job.state) == ("build", "churn", "failed")
    assert job.error is not None
    assert job.error["code"] == "engine_unavailable"
    assert "no-engine.sock" in job.error["error"] or "'docker' is not installed" in job.error["error"]
    assert list((tmp_path / "data" / "jobs").iterdir()) == []


def test_the_routes_of_images(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data", image_base="example/base:1")
    try:
        add_version(container, "churn", "1", label="v1.0.0")
        with served(container) as api:
            _ask(api)
    finally:
        container.close()


def test_a_push_without_a_name_goes_to_the_platforms_registry(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data", image_registry="registry.example.com/team/")
    try:
        add_version(container, "churn", "1")
        job = container.images.build("churn", "latest", BuildRequest(push=True, platform="linux/arm64"), ME)
        with container.store.reading() as tx:
            row = tx.get(JobRow, job.id)
            assert row is not None
            request = row.payload["request"]
    finally:
        container.close()
    assert (request["tag"], request["platform"]) == ("registry.example.com/team/churn:1", "linux/arm64")


def _ask(api: httpx.Client) -> None:
    image = "/api/v1/models/churn/versions/v1.0.0/image"
    shown = api.get(f"{image}/dockerfile").json()
    assert (shown["version"], shown["base"]) == ("1", "example/base:1")
    assert "ARG BASE=example/base:1" in shown["dockerfile"]
    assert api.get(f"{image}/dockerfile", params={"base": "other:2"}).json()["base"] == "other:2"
    assert api.get(f"{image}/dockerfile", params={"base": "--no"}).status_code == 422
    assert (api.get(image).status_code, api.get(image).json()["code"]) == (404, "unknown_image")
    assert api.post("/api/v1/models/churn/versions/7/image").json()["code"] == "unknown_version"
    nowhere = api.post(image, json={"push": True}).json()
    assert (nowhere["code"], "TIDEGATE_IMAGE_REGISTRY" in nowhere["error"]) == ("invalid_argument", True)
    assert api.post(image, json={"platform": "windows/amd64"}).json()["code"] == "invalid_argument"
    assert api.post(image, json={"tag": "Not A Name"}).status_code == 422
    queued = api.post(image, json={"tag": "example/churn:1"})
    assert (queued.status_code, queued.json()["kind"], queued.json()["state"]) == (202, "build", "queued")
    assert api.post(image).status_code == 202  # nothing need be said
