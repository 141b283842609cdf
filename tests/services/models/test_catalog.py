from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control import ME, NewDatabase, add_version, container_at, digest_for
from tidegate.errors import Conflict, InUse, InvalidArgument, RegistryUnavailable, UnknownModel, UnknownVersion
from tidegate.services.models.intake import Intake
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.wire.replicas.manifest import read_manifest
from tidegate.wire.rest import DeployRequest, RegisterRequest, TrustRequest
from tidegate.wiring import Container


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, migrated_database: NewDatabase) -> Iterator[Container]:
    """One for the module: each test has models of its own."""
    container = container_at(tmp_path_factory.mktemp("models") / "data", database_url=migrated_database())
    yield container
    container.close()


def _files(platform: Container, digest: str) -> Path:
    return platform.artifacts.path(digest)


def test_a_version_taken_in_can_be_served_from_files_alone(platform: Container) -> None:
    digest = add_version(platform, "served", "1", label="v1")
    manifest_file = platform.manifests.path("served", "1")
    manifest = read_manifest(manifest_file)
    assert (manifest.name, manifest.version, manifest.label) == ("served", "1", "v1")
    assert manifest.package_path(manifest_file) == _files(platform, digest).resolve()
    assert (_files(platform, digest) / "MLmodel").is_file()


def test_versions_are_listed_newest_first_with_their_score(platform: Container) -> None:
    for number in ("1", "2", "10"):
        add_version(platform, "listed", number)
    model = platform.models.get("listed")
    assert [version.version for version in model.versions] == ["10", "2", "1"]
    assert (model.versions[0].score, model.versions[0].metric, model.versions[0].status) == (0.9, "accuracy", "ready")
    assert model in platform.models.page(100)[0]


def test_an_unknown_model_and_version_are_named(platform: Container) -> None:
    with pytest.raises(UnknownModel, match="'nope'"):
        platform.models.get("nope")
    add_version(platform, "known", "1")
    with pytest.raises(UnknownVersion, match="'7'"):
        platform.models.version("known", "7")


def test_a_name_can_be_trusted_before_it_has_versions(platform: Container) -> None:
    assert platform.models.trust("early", TrustRequest(pickle=True), ME).pickle_trusted
    assert platform.models.pickle_trusted("early")
    assert not platform.models.trust("early", TrustRequest(pickle=False), ME).pickle_trusted
    with pytest.raises(InvalidArgument):
        platform.models.trust("Not A Name", TrustRequest(pickle=True), ME)


def test_a_label_names_one_version(platform: Container) -> None:
    add_version(platform, "labelled", "1", label="v1")
    with pytest.raises(Conflict, match="already names version 1"):
        add_version(platform, "labelled", "2", label="v1")
    assert [version.version for version in platform.models.get("labelled").versions] == ["1"]


def test_label_and_tags_of_a_version_registered_again_reach_row_and_manifest(platform: Container) -> None:
    add_version(platform, "amended", "1")
    Intake(platform.models).amend("amended", "1", RegisterRequest(label="v9", tags={"team": "risk"}), None, ME)
    version = platform.models.version("amended", "v9")
    assert (version.tags, version.validation["score"]) == ({"team": "risk"}, 0.9)
    assert read_manifest(platform.manifests.path("amended", "1")).label == "v9"


def test_deleting_a_version_removes_its_files_but_not_what_another_model_shares(platform: Container) -> None:
    shared = add_version(platform, "one", "1")
    add_version(platform, "two", "1", digest=shared)
    platform.models.delete_version("one", "1", ME)
    assert _files(platform, shared).is_dir()
    assert not platform.manifests.path("one", "1").exists()
    platform.models.delete("two", ME)
    assert not _files(platform, shared).exists()
    with pytest.raises(UnknownModel):
        platform.models.get("two")
    assert platform.models.get("one").versions == []


def test_what_an_endpoint_uses_stays(platform: Container) -> None:
    digest = add_version(platform, "used", "1")
    add_version(platform, "used", "2")
    platform.endpoints.deploy("front", DeployRequest("used", "1"), ME)
    with pytest.raises(InUse, match="endpoint front"):
        platform.models.delete_version("used", "1", ME)
    with pytest.raises(InUse, match="tidegate delete front"):
        platform.models.delete("used", ME)
    platform.models.delete_version("used", "2", ME)
    assert _files(platform, digest).is_dir()


def test_a_version_that_is_still_routed_counts_as_used(platform: Container) -> None:
    add_version(platform, "routed", "1")
    add_version(platform, "routed", "2")
    platform.endpoints.deploy("way", DeployRequest("routed", "2"), ME)
    with platform.store.transaction() as tx:
        row = get_endpoint(tx, "way")
        assert row is not None
        row.routed = {"1": 100.0}
    with pytest.raises(InUse):
        platform.models.delete_version("routed", "1", ME)


def test_a_version_that_cannot_be_taken_in_leaves_no_file(platform: Container) -> None:
    add_version(platform, "clean", "1", label="v1")
    digest = digest_for("clean 2")
    with pytest.raises(Conflict):
        add_version(platform, "clean", "2", label="v1")
    assert not _files(platform, digest).exists()
    assert not platform.manifests.path("clean", "2").exists()


def test_discarding_leaves_alone_what_a_row_speaks_of(platform: Container) -> None:
    digest = add_version(platform, "solid", "1")
    Intake(platform.models).discard("solid", "1", digest)
    assert _files(platform, digest).is_dir()
    assert platform.manifests.path("solid", "1").is_file()


def test_a_version_that_the_registry_does_not_let_go_stays_here_too(
    platform: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(platform, "kept", "1", label="v1")

    def down(*_: object) -> None:
        raise RegistryUnavailable

    for what in ("delete_version", "delete_model"):
        monkeypatch.setattr(type(platform.registry), what, down)
    with pytest.raises(RegistryUnavailable):
        platform.models.delete_version("kept", "1", ME)
    with pytest.raises(RegistryUnavailable):
        platform.models.delete("kept", ME)
    assert platform.models.version("kept", "v1").version == "1"
    assert platform.manifests.path("kept", "1").is_file()
    monkeypatch.undo()
    platform.models.delete("kept", ME)
    with pytest.raises(UnknownModel):
        platform.models.get("kept")


def test_a_version_in_use_is_not_removed_from_the_registry(
    platform: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(platform, "busy", "1")
    platform.endpoints.deploy("busy", DeployRequest("busy", "1"), ME)
    removed: list[object] = []
    for what in ("delete_version", "delete_model"):
        monkeypatch.setattr(type(platform.registry), what, lambda *args: removed.append(args))
    with pytest.raises(InUse):
        platform.models.delete_version("busy", "1", ME)
    with pytest.raises(InUse):
        platform.models.delete("busy", ME)
    assert removed == []


def test_a_label_that_cannot_reach_the_manifest_reaches_nothing(platform: Container) -> None:
    add_version(platform, "halfway", "1")
    platform.manifests.path("halfway", "1").write_text("no manifest")
    with pytest.raises(Conflict, match="cannot be read"):
        Intake(platform.models).amend("halfway", "1", RegisterRequest(label="v9", run_id="r"), None, ME)
    version = platform.models.version("halfway", "1")
    assert (version.label, version.run_id) == (None, None)
