import subprocess
import sys
from pathlib import Path

import pytest

from support.control import digest_for
from support.wait import free_ports
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.core.ports import NewRegistryVersion
from tidegate.errors import InvalidArgument, RegistryUnavailable


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def registry(data_dir: Path) -> MlflowRegistry:
    return MlflowRegistry.embedded(data_dir)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "MLmodel").write_text("flavors: {}\n")
    return tmp_path / "package"


def _files(data_dir: Path) -> set[Path]:
    return {path for path in (data_dir / "mlflow-artifacts").rglob("*") if path.is_file()}


def test_importing_the_adapter_does_not_import_mlflow() -> None:
    code = "import sys, tidegate.wiring; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_everything_lies_in_the_data_directory_and_goes_with_the_version(
    registry: MlflowRegistry, data_dir: Path, package: Path
) -> None:
    before = _files(data_dir) if (data_dir / "mlflow-artifacts").exists() else set()
    entry = registry.create_version(NewRegistryVersion("space", digest_for("a"), package))
    assert (data_dir / "mlflow.db").is_file()
    assert [path.name for path in _files(data_dir) - before] == ["MLmodel"]
    registry.delete_version("space", entry.version)
    assert _files(data_dir) == before


def test_a_run_that_is_named_gets_the_package_and_outlives_the_version(registry: MlflowRegistry, package: Path) -> None:
    with registry._client() as client:
        run = client.create_run(registry._experiment(client))
        client.log_metric(run.info.run_id, "auc", 0.9)
        entry = registry.create_version(
            NewRegistryVersion("with-run", digest_for("a"), package, run_id=run.info.run_id)
        )
        assert entry.run_id == run.info.run_id
        registry.delete_version("with-run", entry.version)
        assert client.get_run(run.info.run_id).info.lifecycle_stage == "active"


def test_a_failure_half_way_leaves_no_model_version_run_or_file(
    registry: MlflowRegistry, data_dir: Path, package: Path
) -> None:
    with registry._client() as client:
        before = _files(data_dir) if (data_dir / "mlflow-artifacts").exists() else set()
        runs = len(client.search_runs([registry._experiment(client)]))

        def failing(*args: object, **kwargs: object) -> None:
            raise ConnectionError("the line is cut")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client, "create_model_version", failing)
            with pytest.raises(RegistryUnavailable, match="the line is cut"):
                registry.create_version(NewRegistryVersion("half", digest_for("a"), package))
        assert client.search_registered_models("name = 'half'") == []
        assert len(client.search_runs([registry._experiment(client)])) == runs
    assert _files(data_dir) == before


def test_a_model_that_tidegate_did_not_make_stays_without_versions(registry: MlflowRegistry, package: Path) -> None:
    with registry._client() as client:
        client.create_registered_model("theirs")
        entry = registry.create_version(NewRegistryVersion("theirs", digest_for("a"), package))
        registry.delete_version("theirs", entry.version)
        assert client.get_registered_model("theirs").name == "theirs"


def test_a_name_cannot_smuggle_a_filter_into_a_search(registry: MlflowRegistry, package: Path) -> None:
    registry.create_version(NewRegistryVersion("plain", digest_for("a"), package))
    with pytest.raises(InvalidArgument):
        registry.versions("x' OR name LIKE '%")


def test_a_server_that_is_not_there_is_said_within_a_bound() -> None:
    (port,) = free_ports(1)
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        MlflowRegistry.remote(f"http://127.0.0.1:{port}").versions("churn")


def test_a_database_that_is_damaged_is_said(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("a poem, not a database, and longer than a header\n" * 50)
    with pytest.raises(RegistryUnavailable):
        MlflowRegistry.embedded(tmp_path).versions("churn")
