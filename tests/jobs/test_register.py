"""The register job with real models, the real inspection process and the real embedded MLflow."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from support.control import ME, container_at
from support.models import Models
from support.registering import finished, gate, queue, register, upload
from support.wait import until
from tidegate.adapters.artifacts.store import DirectoryArtifacts
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.adapters.sandbox import inspection
from tidegate.errors import DiskFull, RegistryUnavailable
from tidegate.jobs import acceleration as acceleration_module
from tidegate.jobs import register as register_module
from tidegate.packaging import read_source
from tidegate.services.models import intake
from tidegate.store.models.models import get_version
from tidegate.wire.replicas.manifest import read_manifest
from tidegate.wire.rest import AliasRequest, RegisterRequest, TrustRequest
from tidegate.wiring import Container

pytestmark = pytest.mark.slow
wrap_module = import_module("tidegate.packaging.wrap")  # the package has a function of that name


def _nothing_is_left(container: Container, name: str) -> None:
    """No row, no registry version, no artifact, no manifest, no scratch, no upload."""
    assert name not in [model.name for model in container.models.page(100)[0] if model.versions]
    assert container.registry.versions(name) == []
    data = container.settings.data_dir
    assert not list((data / "versions" / name).glob("*")) if (data / "versions" / name).exists() else True
    until(lambda: not list((data / "jobs").iterdir()), what="the removal of scratch files")
    until(lambda: not list((data / "uploads").iterdir()), what="the removal of uploads")


def _artifacts(container: Container) -> set[str]:
    root = container.settings.data_dir / "artifacts"
    return {path.name for path in root.iterdir()} if root.exists() else set()


def test_a_model_that_passes_the_gate_is_registered(shared: Container, models: Models) -> None:
    job = register(
        shared,
        "passes",
        models.folder / "forest.joblib",
        allow_pickle=True,
        validation=models.folder / "validation.csv",
        gate=gate(min_score=0.8),
        label="v1.0.0",
        tags={"team": "risk"},
        description="the first",
    )
    assert (job.state, job.result) == ("succeeded", {"model": "passes", "version": "1", "created": True}), job
    version = shared.models.version("passes", "v1.0.0")
    assert version.score is not None
    assert version.score > 0.8
    assert (version.metric, version.framework, version.tags) == ("accuracy", "sklearn", {"team": "risk"})
    assert (version.validation["filename"], version.validation["target"]) == ("v.csv", gate().target)
    assert version.pickle_granted
    manifest_file = shared.manifests.path("passes", "1")
    manifest = read_manifest(manifest_file)
    assert (manifest.package_path(manifest_file) / "MLmodel").is_file()
    assert len(manifest.example) == 30
    entry = shared.registry.get_version("passes", "1")
    assert entry.tags["tidegate.digest"] == version.digest
    assert (entry.tags["tidegate.label"], entry.tags["team"], entry.description) == ("v1.0.0", "risk", "the first")
    assert "loading the model" in " ".join(job.log)
    told = [one for one in shared.audit.page(100).entries if one.subject.name in ("passes", "passes:1")]
    taken_in, asked = [one for one in told if one.action in ("take_in", "register")]
    assert (asked.action, asked.changes["job"], job.asked_by) == ("register", [None, job.id], "me")
    assert (taken_in.action, taken_in.changes["label"]) == ("take_in", [None, "v1.0.0"])
    assert {(one.who.name, one.request_id) for one in told} == {("me", "a-request")}, "the job acts in that name"


def test_the_same_bytes_are_the_same_version_and_take_a_new_label(shared: Container, models: Models) -> None:
    path = models.folder / "logistic.joblib"
    assert register(shared, "same", path, allow_pickle=True).result == {
        "model": "same",
        "version": "1",
        "created": True,
    }
    again = register(shared, "same", path, allow_pickle=True, label="v2", tags={"a": "b"})
    assert again.result == {"model": "same", "version": "1", "created": False}
    assert shared.models.version("same", "v2").tags == {"a": "b"}
    assert shared.registry.get_version("same", "1").tags["tidegate.label"] == "v2"
    assert len(shared.registry.versions("same")) == 1
    refused = register(
        shared,
        "same",
        path,
        allow_pickle=True,
        validation=models.folder / "validation.csv",
        gate=gate(min_score=0.9999),
    )
    assert refused.error is not None
    assert refused.error["code"] == "score_below_gate"


def test_the_same_bytes_under_another_file_name_are_the_same_version(
    shared: Container, models: Models, tmp_path: Path
) -> None:
    path = models.folder / "small.joblib"
    assert register(shared, "renamed", path, allow_pickle=True).result == {
        "model": "renamed",
        "version": "1",
        "created": True,
    }
    other = tmp_path / "final-v2.joblib"
    shutil.copyfile(path, other)
    again = register(shared, "renamed", other, allow_pickle=True)
    assert again.result == {"model": "renamed", "version": "1", "created": False}


def test_a_version_that_an_earlier_release_registered_is_found_by_its_digest(
    shared: Container, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier releases put a file's name into its digest."""
    path = models.folder / "small.joblib"
    with monkeypatch.context() as earlier:
        earlier.setattr(wrap_module, "digest_of", wrap_module.digest_with_name)
        earlier.setattr(register_module, "digest_of", wrap_module.digest_with_name)
        assert register(shared, "earlier", path, allow_pickle=True).result == {
            "model": "earlier",
            "version": "1",
            "created": True,
        }
    before = shared.models.version("earlier", "1").digest
    assert before == wrap_module.digest_with_name(read_source(path))
    again = register(shared, "earlier", path, allow_pickle=True, label="v2")
    assert again.result == {"model": "earlier", "version": "1", "created": False}
    assert shared.models.version("earlier", "v2").digest == before
    assert shared.artifacts.fault(before) is None


def test_the_same_bytes_twice_at_the_same_time_are_one_version(shared: Container, models: Models) -> None:
    path = models.folder / "small.joblib"
    jobs = [queue(shared, "twice", path, allow_pickle=True) for _ in range(2)]
    results = [finished(shared, job).result for job in jobs]
    assert sorted(bool(result and result["created"]) for result in results) == [False, True]
    assert len(shared.registry.versions("twice")) == 1


@pytest.mark.parametrize(
    ("file", "fields", "code"),
    [
        ("forest.joblib", {}, "pickle_not_granted"),
        ("text.joblib", {"allow_pickle": True}, "not_a_model"),
        ("empty-ish.onnx", {}, "not_a_model"),
        ("truncated.joblib", {"allow_pickle": True}, "not_a_model"),
        ("no-library.pkl", {"allow_pickle": True}, "missing_library"),
        ("poor.joblib", {"allow_pickle": True, "gate": gate(min_score=0.8)}, "score_below_gate"),
        (
            "forest.joblib",
            {"allow_pickle": True, "validation": "no-target.csv", "gate": gate()},
            "validation_data_unusable",
        ),
        ("forest.joblib", {"allow_pickle": True, "run_id": "0" * 32}, "invalid_argument"),
    ],
)
def test_what_is_refused_leaves_nothing(
    shared: Container, models: Models, tmp_path: Path, file: str, fields: dict[str, Any], code: str
) -> None:
    name = f"refused-{code}".replace("_", "-")
    path = models.folder / file
    if not path.exists():
        path = tmp_path / file
        path.write_bytes(b"\x08\x07nothing that ONNX would know")
    if "gate" in fields:
        fields = fields | {"validation": models.folder / fields.get("validation", "validation.csv")}
    before = _artifacts(shared)
    job = register(shared, name, path, **fields)
    assert job.error is not None, job
    assert job.error["code"] == code, job.error
    assert job.state == "failed"
    _nothing_is_left(shared, name)
    assert _artifacts(shared) == before


def test_a_label_of_another_version_is_refused_before_the_model_is_loaded(shared: Container, models: Models) -> None:
    register(shared, "labels", models.folder / "logistic.joblib", allow_pickle=True, label="v1")
    job = register(shared, "labels", models.folder / "small.joblib", allow_pickle=True, label="v1")
    assert job.error is not None
    assert job.error["code"] == "conflict"
    assert "loading" not in " ".join(job.log)
    assert [version.version for version in shared.models.get("labels").versions] == ["1"]


def test_a_trusted_name_needs_no_grant_of_its_own_and_the_grant_is_recorded(shared: Container, models: Models) -> None:
    shared.models.trust("trusted", TrustRequest(pickle=True), ME)
    job = register(shared, "trusted", models.folder / "logistic.joblib")
    assert job.state == "succeeded", job.error
    assert shared.models.version("trusted", "1").pickle_granted


def test_a_version_of_the_registry_is_adopted_under_its_number(
    shared: Container, models: Models, tmp_path: Path
) -> None:
    register(shared, "adopt", models.folder / "logistic.joblib", allow_pickle=True)
    shared.models.set_alias("adopt", "champion", AliasRequest("1"), ME)
    assert shared.models.version("adopt", "@champion").aliases == ["champion"]
    other = finished(
        shared,
        shared.jobs.register("adopt-copy", RegisterRequest(uri="models:/adopt@champion", allow_pickle=True), ME).id,
    )
    assert other.result == {"model": "adopt-copy", "version": "1", "created": True}, other.error
    with shared.store.transaction() as tx:  # as if Tidegate had never seen it
        tx.delete(get_version(tx, "adopt", "1"))
    adopted = finished(
        shared, shared.jobs.register("adopt", RegisterRequest(uri="models:/adopt/1", allow_pickle=True), ME).id
    )
    assert adopted.result == {"model": "adopt", "version": "1", "created": True}, adopted.error
    assert len(shared.registry.versions("adopt")) == 1


def test_a_folder_comes_as_a_tar(shared: Container, models: Models, tmp_path: Path) -> None:
    register(shared, "packed", models.folder / "logistic.joblib", allow_pickle=True)
    package = shared.artifacts.path(shared.models.version("packed", "1").digest)
    archive = tmp_path / "model.tar"
    with tarfile.open(archive, "w:") as tar:
        tar.add(package, "model")
    request = RegisterRequest(upload=upload(shared, archive), filename="model", archive=True, allow_pickle=True)
    job = finished(shared, shared.jobs.register("unpacked", request, ME).id)
    assert job.state == "succeeded", job.error


def test_what_the_registry_does_not_have_is_said(shared: Container) -> None:
    job = finished(shared, shared.jobs.register("missing", RegisterRequest(uri="models:/missing/3"), ME).id)
    assert job.error is not None
    assert job.error["code"] == "unknown_version"
    _nothing_is_left(shared, "missing")


_STEPS: list[tuple[Any, str]] = [
    (MlflowRegistry, "_log_package"),
    (MlflowRegistry, "_create"),
    (DirectoryArtifacts, "put"),
    (intake, "found_or_new"),
]


@pytest.mark.parametrize(("owner", "method"), _STEPS)
@pytest.mark.parametrize(("when", "error"), [("before", DiskFull), ("after", RuntimeError)])
def test_a_failure_at_any_step_leaves_nothing(
    shared: Container, models: Models, owner: Any, method: str, when: str, error: type[Exception]
) -> None:
    name = f"fails-{method.strip('_').replace('_', '-')}-{when}"
    path = models.folder / "logistic.joblib"
    digests = _artifacts(shared)
    with pytest.MonkeyPatch.context() as patch:
        original = getattr(owner, method)

        def failing(self: Any, *args: Any) -> Any:
            if when == "after":
                original(self, *args)
            raise error("at this very step")

        patch.setattr(owner, method, failing)
        job = register(shared, name, path, allow_pickle=True)
    assert job.state == "failed"
    _nothing_is_left(shared, name)
    assert _artifacts(shared) == digests


def test_after_a_failure_the_same_request_succeeds(shared: Container, models: Models) -> None:
    path = models.folder / "logistic.joblib"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectoryArtifacts, "put", _full)
        job = register(shared, "second-try", path, allow_pickle=True)
    assert job.error is not None
    assert job.error["code"] == "disk_full"
    again = register(shared, "second-try", path, allow_pickle=True)
    assert again.state == "succeeded", again.error


def _full(*_args: object) -> None:
    raise DiskFull


def test_a_registry_that_is_away_fails_the_job_and_says_so(
    shared: Container, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: MlflowRegistry) -> None:
        raise RegistryUnavailable("it does not answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowRegistry, "_connect", away)
        job = register(shared, "away", models.folder / "logistic.joblib", allow_pickle=True)
    assert job.error is not None
    assert job.error["code"] == "registry_unavailable"
    _nothing_is_left(shared, "away")


def test_a_version_can_be_deployed_while_faster_forms_of_it_are_tried(
    shared: Container, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    original = inspection.run_acceleration

    def looking(*args: Any, **options: Any) -> Any:
        manifest = read_manifest(shared.manifests.path("usable", "1"))
        seen.append({"accelerated": manifest.accelerated, **shared.models.version("usable", "1").acceleration})
        return original(*args, **options)

    monkeypatch.setattr(acceleration_module, "run_acceleration", looking)
    job = register(shared, "usable", models.folder / "logistic.joblib", allow_pickle=True)
    assert job.state == "succeeded", job.error
    assert seen == [
        {
            "accelerated": None,
            "kept": None,
            "state": "pending",
            "job": job.id,
            "reason": f"job {job.id} tries faster forms",
        }
    ]
    version = shared.models.version("usable", "1")
    assert (version.accelerated, version.acceleration["state"]) == ("dense-float64", "done")
    manifest_file = shared.manifests.path("usable", "1")
    manifest = read_manifest(manifest_file)
    assert manifest.accelerated is not None
    assert (manifest.package_path(manifest_file).parent / manifest.accelerated.folder / "form.json").is_file()
    assert manifest.digest == version.digest
    assert "version 1 is registered and can be deployed; trying faster forms" in job.log


def test_registering_again_tries_what_was_switched_off_or_failed_and_can_switch_it_off(
    shared: Container, models: Models
) -> None:
    path = models.folder / "small.joblib"

    def again(**fields: Any) -> Any:
        job = register(shared, "again", path, allow_pickle=True, **fields)
        assert job.state == "succeeded", job.error
        return shared.models.version("again", "1").acceleration

    assert again(accelerate=False)["reason"] == "switched off (--no-accelerate)"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acceleration_module, "ACCELERATION_S_MAX", 0.05)
        failed = again()
        assert (failed["kept"], failed["state"]) == (None, "failed")
        assert "trying ended early" in failed["reason"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectoryArtifacts, "put_form", _full)
        full = again()
        assert (full["kept"], full["state"]) == (None, "failed")
        assert "could not be kept" in full["reason"]
    kept = again()
    assert kept["kept"].startswith("trees-float")
    manifest = read_manifest(shared.manifests.path("again", "1"))
    assert manifest.accelerated is not None
    assert again() == kept, "what is done is not done again"
    assert again(accelerate=False)["state"] == "skipped"
    assert read_manifest(shared.manifests.path("again", "1")).accelerated is None
    assert again()["kept"]
    remade = read_manifest(shared.manifests.path("again", "1")).accelerated
    assert remade is not None
    assert remade.folder != manifest.accelerated.folder, "a damaged form is not taken again"


def test_a_version_deleted_while_faster_forms_are_tried_stays_deleted(
    shared: Container, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = inspection.run_acceleration

    def deleting(*args: Any, **options: Any) -> Any:
        record = original(*args, **options)
        shared.models.delete_version("fleeting", "1", ME)
        return record

    monkeypatch.setattr(acceleration_module, "run_acceleration", deleting)
    job = register(shared, "fleeting", models.folder / "logistic.joblib", allow_pickle=True)
    assert job.state == "succeeded", job.error
    _nothing_is_left(shared, "fleeting")


_KILLED = """
import os, signal, sys
from pathlib import Path
from tidegate.settings import Settings
from tidegate.wiring import build
from tidegate.adapters.artifacts.store import DirectoryArtifacts, ManifestFiles
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.services.models.intake import Intake

owner, method, when = sys.argv[2:]
owner = {"artifacts": DirectoryArtifacts, "manifests": ManifestFiles, "registry": MlflowRegistry,
    "intake": Intake}[owner]
original = getattr(owner, method)

def killing(self, *args):
    if when == "after":
        original(self, *args)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, method, killing)
container = build(Settings.from_env({}, data_dir=Path(sys.argv[1])))
container.leadership.step()
container.take_over()
container.start()
signal.pause()
"""


@pytest.mark.parametrize(
    ("owner", "method", "when"),
    [
        ("registry", "_log_package", "after"),
        ("registry", "create_version", "after"),
        ("artifacts", "put", "after"),
        ("manifests", "write", "after"),
        ("intake", "take_in", "after"),
        ("artifacts", "put_form", "after"),
        ("manifests", "set_accelerated", "after"),
    ],
)
def test_a_control_plane_killed_at_a_step_finishes_the_job_when_it_is_back(
    tmp_path: Path, models: Models, owner: str, method: str, when: str
) -> None:
    data_dir = tmp_path / "data"
    container = container_at(data_dir)
    job = queue(container, "killed", models.folder / "logistic.joblib", allow_pickle=True)
    argv = [sys.executable, "-c", _KILLED, str(data_dir), owner, method, when]
    process = subprocess.Popen(argv, env=os.environ | {"PYTHONPATH": str(Path(register_module.__file__).parents[2])})
    assert process.wait(60) == -signal.SIGKILL
    assert container.jobs.get(job).state == "running"
    container.close()
    container = container_at(data_dir)
    container.take_over()
    container.start()
    done = finished(container, job)
    assert (done.state, done.attempts, done.result) == (
        "succeeded",
        2,
        {"model": "killed", "version": "1", "created": True},
    ), done.error
    assert len(container.registry.versions("killed")) == 1
    assert container.models.version("killed", "1").accelerated == "dense-float64"
    until(lambda: not list((data_dir / "uploads").iterdir()), what="the removal of uploads")
    container.close()
