"""What every `Registry` must do: embedded MLflow, and MLflow servers on PostgreSQL with their artifacts in S3.

One server lets its clients fetch artifacts from S3 themselves, the other (Compose's) passes them on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.control import digest_for
from support.services.mlflow import Mlflow, PassingMlflow
from support.services.s3 import S3
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.core.ports import NewRegistryVersion, Registry
from tidegate.errors import InvalidArgument, UnknownVersion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # servers are slow to start


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return MlflowRegistry.embedded(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def server(mlflow_server: Mlflow, s3: S3) -> Iterator[Registry]:
    with _environment({**mlflow_server.wait().env, **s3.env}):
        yield MlflowRegistry.remote(mlflow_server.url, s3.url)


@pytest.fixture(scope="module")
def passing_server(passing_mlflow: PassingMlflow) -> Iterator[Registry]:
    with _environment(passing_mlflow.wait().env):
        yield MlflowRegistry.remote(passing_mlflow.url)


@contextmanager
def _environment(env: dict[str, str]) -> Iterator[None]:
    """Where MLflow's client looks for its user, its password and S3's keys, of which nothing else is left."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in env.items():
            patch.setenv(name, value)
        yield


SERVERS = [pytest.param(name, marks=pytest.mark.long) for name in ("server", "passing_server")]


@pytest.fixture(scope="module", params=["embedded", *SERVERS])
def registry(request: pytest.FixtureRequest) -> Registry:
    """One of each kind for the module: each test has models of its own."""
    found: Registry = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "package"
    (package / "code").mkdir(parents=True)
    (package / "MLmodel").write_text("flavors: {}\n")
    (package / "code" / "helper.py").write_text("X = 1\n")
    return package


def _new(name: str, package: Path, text: str = "a", **fields: object) -> NewRegistryVersion:
    return NewRegistryVersion(name=name, digest=digest_for(text), package_dir=package, **fields)  # type: ignore[arg-type]


def test_versions_are_numbered_from_one_and_the_same_bytes_are_the_same_version(
    registry: Registry, package: Path
) -> None:
    first = registry.create_version(_new("numbers", package, label="v1", tags={"a": "b"}, description="told"))
    second = registry.create_version(_new("numbers", package, "other"))
    again = registry.create_version(_new("numbers", package))
    assert [entry.version for entry in (first, second, again)] == ["1", "2", "1"]
    assert [entry.version for entry in registry.versions("numbers")] == ["2", "1"]
    found = registry.get_version("numbers", "1")
    assert (found.tags["tidegate.digest"], found.tags["tidegate.label"]) == (digest_for("a"), "v1")
    assert (found.tags["a"], found.description) == ("b", "told")
    assert found.run_id


def test_what_is_not_there_is_said(registry: Registry, package: Path) -> None:
    registry.create_version(_new("there", package))
    assert registry.versions("not-there") == []
    for name, version in (("there", "9"), ("there", "nine"), ("not-there", "1")):
        with pytest.raises(UnknownVersion, match=version):
            registry.get_version(name, version)
    with pytest.raises(UnknownVersion, match="'tidegate models alias there champion VERSION' sets it"):
        registry.version_of_alias("there", "champion")
    with pytest.raises(InvalidArgument, match="no run"):
        registry.create_version(_new("there", package, "x", run_id="f" * 32))


def test_an_alias_points_where_it_was_moved_last(registry: Registry, package: Path) -> None:
    registry.create_version(_new("aliased", package, "1"))
    registry.create_version(_new("aliased", package, "2"))
    registry.set_alias("aliased", "champion", "1")
    registry.set_alias("aliased", "champion", "2")
    registry.set_alias("aliased", "challenger", "1")
    assert registry.version_of_alias("aliased", "champion").version == "2"
    assert {entry.version: entry.aliases for entry in registry.versions("aliased")} == {
        "1": ("challenger",),
        "2": ("champion",),
    }
    with pytest.raises(UnknownVersion, match="challenger, champion"):
        registry.version_of_alias("aliased", "nope")
    with pytest.raises(InvalidArgument, match="alias"):
        registry.set_alias("aliased", "v1", "1")


def test_tags_can_be_set_later(registry: Registry, package: Path) -> None:
    registry.create_version(_new("tagged", package))
    registry.set_tags("tagged", "1", {"stage": "prod"})
    assert registry.get_version("tagged", "1").tags["stage"] == "prod"


@pytest.mark.parametrize("uri", ["models:/fetched/1", "models:/fetched@best", "runs:/{run}/model"])
def test_a_package_comes_back_as_it_went_in(registry: Registry, package: Path, tmp_path: Path, uri: str) -> None:
    entry = registry.create_version(_new("fetched", package))
    registry.set_alias("fetched", "best", entry.version)
    into = tmp_path / "into"
    into.mkdir()
    got = registry.fetch(uri.format(run=entry.run_id), into)
    assert (got.version if got else None) == (None if uri.startswith("runs") else "1")
    files = sorted(str(path.relative_to(into)) for path in into.rglob("*") if path.is_file())
    assert files == ["MLmodel", "code/helper.py"]


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("file:///etc", InvalidArgument),
        ("http://elsewhere/x", InvalidArgument),
        ("models:/fetched", InvalidArgument),
        ("models:/", InvalidArgument),
        ("models:/fetched/x", InvalidArgument),
        ("runs:/abc", InvalidArgument),
        ("models:/nobody/1", UnknownVersion),
        ("models:/nobody@best", UnknownVersion),
        ("runs:/" + "0" * 32 + "/model", UnknownVersion),
    ],
)
def test_a_uri_that_leads_nowhere_is_refused(
    registry: Registry, tmp_path: Path, uri: str, error: type[Exception]
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(error):
        registry.fetch(uri, into)
    assert list(into.iterdir()) == []
    assert list(tmp_path.iterdir()) == [into]


def test_deleting_can_be_repeated_and_the_next_version_has_a_new_number(registry: Registry, package: Path) -> None:
    registry.create_version(_new("gone", package, "1"))
    registry.create_version(_new("gone", package, "2"))
    for _ in range(2):
        registry.delete_version("gone", "2")
    assert registry.create_version(_new("gone", package, "2")).version != "2"
    for _ in range(2):
        registry.delete_model("gone")
    assert registry.versions("gone") == []
    registry.delete_version("gone", "1")
