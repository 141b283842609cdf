"""A version's source is named by whoever may write to the registry: only the registry's own stores are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from support.control import digest_for
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.adapters.mlflow.sources import Stores, folder_of_experiments
from tidegate.core.ports import NewRegistryVersion
from tidegate.errors import InvalidArgument

NOBODY: Any = cast("Any", None)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> MlflowRegistry:
    return MlflowRegistry.embedded(tmp_path_factory.mktemp("registry") / "made")


@pytest.fixture(scope="module", autouse=True)
def first(registry: MlflowRegistry, tmp_path_factory: pytest.TempPathFactory) -> None:
    package = tmp_path_factory.mktemp("package")
    (package / "MLmodel").write_text("flavors: {}\n")
    Path(registry._uri.removeprefix("sqlite:///")).parent.mkdir(exist_ok=True)
    registry.create_version(NewRegistryVersion("mine", digest_for("mine"), package))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "secret").write_text("hush")
    return folder


def fetch(registry: MlflowRegistry, uri: str, into: Path) -> list[str]:
    into.mkdir()
    registry.fetch(uri, into)
    return sorted(path.name for path in into.rglob("*"))


def test_what_the_registry_keeps_is_read(registry: MlflowRegistry, tmp_path: Path) -> None:
    assert fetch(registry, "models:/mine/1", tmp_path / "into") == ["MLmodel"]


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/../elsewhere"])
def test_a_version_whose_source_is_a_folder_of_this_machine_is_refused(
    registry: MlflowRegistry, elsewhere: Path, tmp_path: Path, form: str
) -> None:
    with registry._client() as client:
        made = client.create_model_version("mine", source=form.format(elsewhere))
    into = tmp_path / "into"
    with pytest.raises(InvalidArgument, match="not in the registry's own store"):
        fetch(registry, f"models:/mine/{made.version}", into)
    assert list(into.iterdir()) == []


def test_the_data_directory_around_the_embedded_store_is_no_part_of_it(
    registry: MlflowRegistry, tmp_path: Path
) -> None:
    with registry._client() as client:
        made = client.create_model_version("mine", source=str(Path(registry._uri.removeprefix("sqlite:///")).parent))
    with pytest.raises(InvalidArgument, match="not in the registry's own store"):
        fetch(registry, f"models:/mine/{made.version}", tmp_path / "into")


def test_a_run_of_an_experiment_that_keeps_its_files_there_is_refused(
    registry: MlflowRegistry, elsewhere: Path, tmp_path: Path
) -> None:
    with registry._client() as client:
        made = client.create_experiment(f"of {elsewhere}", artifact_location=elsewhere.parent.as_uri())
        run = client.create_run(made)
        (elsewhere.parent / run.info.run_id / "artifacts").mkdir(parents=True)
        elsewhere.rename(elsewhere.parent / run.info.run_id / "artifacts" / "model")
    with pytest.raises(InvalidArgument, match="not in the registry's own store"):
        fetch(registry, f"runs:/{run.info.run_id}/model", tmp_path / "into")


def test_a_link_that_leads_out_of_the_store_is_refused(
    registry: MlflowRegistry, elsewhere: Path, tmp_path: Path
) -> None:
    with registry._client() as client:
        run = client.create_run(registry._experiment(client))
        folder = Path(run.info.artifact_uri.removeprefix("file://")) / "model"
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {}\n")
        (folder / "link").symlink_to(elsewhere / "secret")
    with pytest.raises(InvalidArgument, match="not in the registry's own store"):
        fetch(registry, f"runs:/{run.info.run_id}/model", tmp_path / "into")


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("s3://models/7/abc/artifacts/model", True),
        ("s3://other/7/abc/artifacts/model", False),
        ("gs://models/7", False),
        ("mlflow-artifacts:/7/abc", True),
        ("mlflow-artifacts://mlflow:5000/7/abc", True),
        ("mlflow-artifacts://elsewhere:5000/7/abc", False),
        ("http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts/7", True),
        ("http://169.254.169.254/latest", False),
        ("ftp://h/x", False),
        ("/etc", False),
        ("file:///etc", False),
        ("file://mlflow:5000/etc", False),
    ],
)
def test_stores_of_a_server_that_keeps_artifacts_in_s3(place: str, allowed: bool) -> None:
    stores = Stores("http://mlflow:5000", folder_of_experiments("s3://models/0"))
    if allowed:
        assert stores.check(NOBODY, place, "models:/m/1") == place
    else:
        with pytest.raises(InvalidArgument):
            stores.check(NOBODY, place, "models:/m/1")


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("s3://shared/mlflow/prod/7/abc/artifacts/model", True),
        ("s3://shared/backups/model", False),
        ("s3://shared/mlflow/production/7", False),
        ("s3://shared/mlflow/prod/../../backups/model", False),
        ("s3://shared/mlflow/prod/%2e%2e/staging/model", False),
        ("s3://shared/mlflow", False),
        ("s3://shared", False),
    ],
)
def test_of_a_bucket_that_others_use_too_only_the_folder_of_the_experiments_is_read(place: str, allowed: bool) -> None:
    stores = Stores("http://mlflow:5000", folder_of_experiments("s3://shared/mlflow/prod/0"))
    if allowed:
        assert stores.check(NOBODY, place, "models:/m/1") == place
    else:
        with pytest.raises(InvalidArgument, match="not in the registry's own store"):
            stores.check(NOBODY, place, "models:/m/1")


def test_stores_of_a_server_that_keeps_artifacts_in_a_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlruns" / "7").mkdir(parents=True)
    stores = Stores("http://mlflow:5000", folder_of_experiments(f"{tmp_path}/mlruns/0"))
    assert stores.check(NOBODY, f"file://{tmp_path}/mlruns/7", "models:/m/1")
    monkeypatch.delattr(os, "walk")  # what lies elsewhere is not looked through: it may be the whole disk
    for outside in (f"{tmp_path}/other", f"{tmp_path}/mlruns/../other", "/etc", "/"):
        with pytest.raises(InvalidArgument):
            stores.check(NOBODY, outside, "models:/m/1")
    with pytest.raises(InvalidArgument):
        Stores("http://mlflow:5000", folder_of_experiments("/0")).check(NOBODY, "/etc", "models:/m/1")
