"""The check of Cloud Run: off, well, and each thing that keeps the platform from running replicas there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.cloudrun.server import FakeServer, fake_cloud_run
from tidegate.adapters.cloudrun.rights import ACT_AS, RIGHTS, role
from tidegate.doctor import cloudrun
from tidegate.doctor.findings import DoctorFacts, FindingState
from tidegate.errors import EngineDenied, EngineUnavailable, InvalidArgument
from tidegate.settings import Settings

ROLE = Path(__file__).parents[2] / "deploy" / "cloudrun" / "role.yaml"


@pytest.fixture
def google(tmp_path: Path) -> Iterator[FakeServer]:
    with fake_cloud_run(tmp_path / "google") as server:
        yield server


def facts(tmp_path: Path, env: dict[str, str] | None = None) -> DoctorFacts:
    env = dict(os.environ) if env is None else env
    return DoctorFacts(Settings.from_env(env, data_dir=tmp_path), env)


def test_a_project_that_nobody_named_is_not_asked(tmp_path: Path) -> None:
    state, said = cloudrun.cloudrun(facts(tmp_path, {}))
    assert state is FindingState.OFF
    assert "TIDEGATE_CLOUDRUN_PROJECT" in said
    with pytest.raises(InvalidArgument, match="needs TIDEGATE_CLOUDRUN_PROJECT and TIDEGATE_CLOUDRUN_REGION and"):
        cloudrun.cloudrun(facts(tmp_path, {"TIDEGATE_BACKEND": "cloudrun"}))


def test_a_project_that_allows_all_that_is_needed_is_well(google: FakeServer, tmp_path: Path) -> None:
    state, said = cloudrun.cloudrun(facts(tmp_path))
    assert state is FindingState.OK
    assert said == (
        f"Cloud Run in europe-west1 of demo-project answers (0 services), all {len(RIGHTS) + 1} rights that are needed"
    )
    assert not google.fake.services


def test_what_is_missing_is_named_with_what_to_type(google: FakeServer, tmp_path: Path) -> None:
    google.fake.denied = {"run.services.delete", "logging.logEntries.list"}
    with pytest.raises(EngineDenied) as caught:
        cloudrun.cloudrun(facts(tmp_path))
    assert "lack run.services.delete, logging.logEntries.list: give" in caught.value.message
    assert "gcloud iam roles create tidegate --project demo-project --file deploy/cloudrun/role.yaml" in str(
        caught.value
    )
    env = dict(os.environ) | {"TIDEGATE_CLOUDRUN_SECRETS": "true"}
    google.fake.denied = {"secretmanager.secrets.delete"}
    assert cloudrun.cloudrun(facts(tmp_path))[0] is FindingState.OK, "keys are in no secrets"
    with pytest.raises(EngineDenied, match=r"update tidegate .*--add-permissions secretmanager\.secrets\.delete'"):
        cloudrun.cloudrun(facts(tmp_path, env))
    google.fake.denied = {ACT_AS}
    with pytest.raises(EngineDenied, match=r"may not start replicas as replicas@.*roles/iam\.serviceAccountUser"):
        cloudrun.cloudrun(facts(tmp_path))
    google.fake.denied = set()
    env = dict(os.environ) | {"TIDEGATE_CLOUDRUN_SERVICE_ACCOUNT": "nobody@demo-project.iam.gserviceaccount.com"}
    with pytest.raises(EngineDenied, match="gcloud iam service-accounts create nobody --project demo-project"):
        cloudrun.cloudrun(facts(tmp_path, env))
    google.fake.disabled = True
    with pytest.raises(EngineDenied, match=r"gcloud services enable run\.googleapis\.com"):
        cloudrun.cloudrun(facts(tmp_path))
    with google.away(), pytest.raises(EngineUnavailable):
        cloudrun.cloudrun(facts(tmp_path))


def test_the_role_that_is_handed_out_has_these_rights_and_no_others() -> None:
    assert yaml.safe_load(ROLE.read_text()) == role()
