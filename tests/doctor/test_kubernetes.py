"""The check of a cluster: off, well, and each thing that keeps the platform from running replicas there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.kubernetes import rest
from support.kubernetes.cluster import FakeCluster, running_cluster
from tidegate.adapters.kubernetes.rights import RIGHTS
from tidegate.doctor import kubernetes
from tidegate.doctor.findings import DoctorFacts, FindingState
from tidegate.errors import EngineDenied, EngineRefused, EngineUnavailable
from tidegate.settings import Settings


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    with running_cluster(tmp_path / "cluster", kubelet=False) as running:
        yield running


def facts(tmp_path: Path, **env: str) -> DoctorFacts:
    return DoctorFacts(Settings.from_env(env, data_dir=tmp_path), env)


def rules(*without: tuple[str, str]) -> list[dict[str, list[str]]]:
    """All that is needed, but for these verbs and resources."""
    return [
        {"apiGroups": [right.kind.group], "resources": [right.resource], "verbs": [right.verb]}
        for right in RIGHTS
        if (right.verb, right.resource) not in without
    ]


def test_a_cluster_that_nobody_named_is_not_asked(tmp_path: Path) -> None:
    state, said = kubernetes.cluster(facts(tmp_path))
    assert state is FindingState.OFF
    assert "KUBECONFIG_PATH names a cluster" in said
    with pytest.raises(EngineDenied, match="Set KUBECONFIG_PATH"):
        kubernetes.cluster(facts(tmp_path, TIDEGATE_BACKEND="kubernetes", HOME=str(tmp_path)))


def test_a_cluster_that_allows_all_that_is_needed_is_well(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.policies.rules = rules()
    given = facts(tmp_path, KUBECONFIG_PATH=str(cluster.kubeconfig()))
    state, said = kubernetes.cluster(given)
    assert state is FindingState.OK
    where = f"Kubernetes v1.36.2 at {cluster.server.url}"
    assert said == f"{where} answers, namespace 'default', all rights that are needed"
    assert cluster.store.version == 1000  # nothing was written


def test_every_right_that_is_missing_is_listed_with_its_rule(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.policies.rules = rules(("patch", "deployments"), ("delete", "deployments"), ("get", "pods/log"))
    with pytest.raises(EngineDenied) as caught:
        kubernetes.cluster(facts(tmp_path, KUBECONFIG_PATH=str(cluster.kubeconfig())))
    assert '{apiGroups: ["apps"], resources: ["deployments"], verbs: ["patch", "delete"]}' in caught.value.message
    assert '{apiGroups: [""], resources: ["pods/log"], verbs: ["get"]}' in caught.value.message
    assert "secrets" not in caught.value.message


def test_the_role_that_the_documentation_gives_is_the_one_that_is_needed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "engines" / "kubernetes.md").read_text()
    role = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    given = {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert given == {(right.verb, right.kind.group, right.resource) for right in RIGHTS}


def test_a_missing_namespace_and_an_old_server_are_told(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = facts(tmp_path, KUBECONFIG_PATH=str(cluster.kubeconfig()), NAMESPACE="team")
    with pytest.raises(EngineDenied, match="there is no namespace 'team'"):
        kubernetes.cluster(named)
    monkeypatch.setattr(rest, "VERSION", {"gitVersion": "v1.27.3-gke.1"})
    with pytest.raises(EngineRefused, match=r"is v1\.27\.3-gke\.1, and 1\.30 or newer is needed"):
        kubernetes.cluster(named)
    with cluster.away(), pytest.raises(EngineUnavailable, match="does not answer"):
        kubernetes.cluster(named)
